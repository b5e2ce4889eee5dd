//! Releases at the admin address: where each is, and, where the configuration allows it, pause, promote and rollback.

use bytes::Bytes;
use http::header::{ALLOW, HeaderValue, ORIGIN};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tidegate_proxy::{ArmUse, ReleaseOrder, ReleaseState, ReleaseUse, SteerError};

use super::Shown;
use super::answer::{json_body, respond, text};

/// Where they are; then an id, a slash and an order.
const PATH: &str = "/releases";

/// Whether a path leads here.
pub(super) fn has(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Shows all of them (GET, HEAD), or steers one (POST).
pub(super) fn answer<B>(request: &Request<B>, shown: &Shown) -> Response<Full<Bytes>> {
    let rest = request.uri().path().strip_prefix(PATH).unwrap_or_default();
    match (rest.strip_prefix('/').unwrap_or_default(), request.method()) {
        ("", &Method::GET | &Method::HEAD) => json_body(&json!({
            "releases": shown.gateway.releases().iter().map(release).collect::<Vec<_>>(),
        })),
        ("", _) => not_allowed("GET, HEAD", "GET or HEAD; POST /releases/ID/ORDER steers one\n"),
        (order, &Method::POST) => steer(order, request, shown),
        _ => not_allowed("POST", "POST steers a release; GET /releases shows all\n"),
    }
}

fn not_allowed(allowed: &'static str, why: &'static str) -> Response<Full<Bytes>> {
    let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, why);
    refused.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refused
}

fn steer<B>(path: &str, request: &Request<B>, shown: &Shown) -> Response<Full<Bytes>> {
    let (id, word) = path.rsplit_once('/').unwrap_or((path, ""));
    let Some(order) = ReleaseOrder::ALL.into_iter().find(|order| order.word() == word) else {
        return text(
            StatusCode::NOT_FOUND,
            "/releases/ID/ORDER: pause, resume, promote, rollback or restart\n",
        );
    };
    // Pages of other sites can make a browser send a POST, which then says where it comes from.
    if request.headers().contains_key(ORIGIN) {
        return text(StatusCode::FORBIDDEN, "releases are not steered by pages of a browser\n");
    }
    if !shown.status.current.borrow().as_ref().is_some_and(|current| current.steers) {
        return text(StatusCode::FORBIDDEN, "admin.steerReleases is not set\n");
    }
    let now = shown.status.started.elapsed();
    let steered = unescaped(id).map(|id| (shown.gateway.steer_release(&id, order, now), id));
    match steered {
        Some((Ok(()), id)) => {
            let releases = shown.gateway.releases();
            let steered = releases.iter().find(|release| release.id == id).map(release);
            json_body(&steered.unwrap_or_default())
        }
        Some((Err(error @ SteerError::Unknown(_)), _)) => refused(StatusCode::NOT_FOUND, &error),
        Some((Err(error @ SteerError::State(_)), _)) => refused(StatusCode::CONFLICT, &error),
        None => text(StatusCode::NOT_FOUND, "the release's id has an escape that is none\n"),
    }
}

fn refused(status: StatusCode, why: &SteerError) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", format!("{why}\n"))
}

/// Names may have characters that a path cannot have as they are.
fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    String::from_utf8(bytes).ok()
}

fn release(release: &ReleaseUse) -> Value {
    let mut shown = json!({
        "id": release.id,
        "state": release.state.word(),
        "percent": release.percent,
        "step": release.step,
        "steps": release.steps,
        "inStep": { "old": arm(&release.old), "new": arm(&release.new) },
    });
    if let ReleaseState::RolledBack(why) = &release.state {
        shown["why"] = why.as_str().into();
    }
    shown
}

fn arm(arm: &ArmUse) -> Value {
    json!({
        "requests": arm.requests,
        "errors": arm.errors,
        "failures": arm.failures,
        "p99Seconds": arm.p99.map(|time| time.as_secs_f64()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_escapes() {
        assert!(has("/releases") && has("/releases/") && has("/releases/route/a/b/pause"));
        assert!(!has("/releasesx"));
        assert_eq!(unescaped("route/a%20b/%C3%A4").as_deref(), Some("route/a b/ä"));
        assert_eq!(unescaped("a%2"), None);
        assert_eq!(unescaped("a%zz"), None);
        assert_eq!(unescaped("%ff"), None);
    }
}
