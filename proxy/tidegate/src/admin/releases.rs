//! Releases at the admin address: where each is, and, where the configuration allows it, pause, promote and rollback.

use http::{Response, StatusCode};
use serde_json::{Value, json};
use tidegate_proxy::{ArmUse, ReleaseOrder, ReleaseState, ReleaseUse, SteerError};

use super::Shown;
use super::answer::{AdminBody, json_body, respond, text};

/// Where they are; then an id, a slash and an order.
const PATH: &str = "/releases/";

/// All of them.
pub(super) fn all(shown: &Shown) -> Value {
    json!({ "releases": shown.gateway.releases().iter().map(release).collect::<Vec<_>>() })
}

/// Steers one: an id, a slash and an order below [`PATH`].
pub(super) fn steer(path: &str, shown: &Shown) -> Response<AdminBody> {
    let path = path.strip_prefix(PATH).unwrap_or_default();
    let (id, word) = path.rsplit_once('/').unwrap_or((path, ""));
    let Some(order) = ReleaseOrder::ALL.into_iter().find(|order| order.word() == word) else {
        return text(
            StatusCode::NOT_FOUND,
            "/releases/ID/ORDER: pause, resume, promote, rollback or restart\n",
        );
    };
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

fn refused(status: StatusCode, why: &SteerError) -> Response<AdminBody> {
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
    } else if !release.loaded {
        shown["why"] = "its module is not loaded, all requests pass the plugin itself".into();
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
    fn escapes_of_ids() {
        assert_eq!(unescaped("route/a%20b/%C3%A4").as_deref(), Some("route/a b/ä"));
        assert_eq!(unescaped("a%2"), None);
        assert_eq!(unescaped("a%zz"), None);
        assert_eq!(unescaped("%ff"), None);
    }
}
