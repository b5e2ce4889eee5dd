//! The answers of the admin API.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tidegate_config::Problem;

use super::{Shown, metrics};
use crate::assets;
use crate::fetch::{Library, Wanted};
use crate::status::{Behind, PluginState};

/// Answers a request; its body, if any, is not looked at.
pub(crate) fn answer<B>(request: &Request<B>, shown: &Shown) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "the admin API only shows: GET or HEAD\n");
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/" => text(StatusCode::OK, PATHS),
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" if shown.status.is_ready() => text(StatusCode::OK, "ready\n"),
        "/readyz" if shown.status.draining.get() => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "no configuration is served by all workers yet\n"),
        "/metrics" => {
            let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
            let (form, kind) = metrics::form(accept);
            respond(StatusCode::OK, kind, metrics::page(shown, form).into_text())
        }
        "/config" => json_body(&config(shown)),
        "/ledger" => json_body(&ledger(shown)),
        _ => text(StatusCode::NOT_FOUND, PATHS),
    }
}

fn config(shown: &Shown) -> Value {
    let (status, library) = (&shown.status, &shown.workshop.library);
    let rejected = status.rejected.borrow();
    let rejected = rejected.as_ref().map(|rejected| {
        json!({
            "since": seconds(rejected.since),
            "problems": rejected.problems.iter().map(problem).collect::<Vec<_>>(),
        })
    });
    let current = status.current.borrow();
    let current = current.as_ref().map(|current| {
        let plugins: BTreeMap<_, _> =
            current.plugins.iter().map(|(key, state)| (key, plugin(state, library))).collect();
        json!({
            "generation": current.generation,
            "served": status.served.get(),
            "since": seconds(current.since),
            "addresses": addresses(shown, &current.document),
            "plugins": plugins,
            "warnings": current.warnings.iter().map(problem).collect::<Vec<_>>(),
            "document": current.document,
        })
    });
    let mut shown = current.unwrap_or_else(|| json!({ "generation": 0 }));
    shown["rejected"] = rejected.into();
    shown
}

/// Where the listeners are bound, by name.
fn addresses(shown: &Shown, document: &Value) -> Value {
    let listeners = document["listeners"].as_array().into_iter().flatten();
    let names = listeners.filter_map(|listener| listener["name"].as_str());
    let bound = |name: &str| {
        let addresses = shown.gateway.addresses(name);
        (name.to_owned(), addresses.iter().map(ToString::to_string).collect::<Vec<_>>().into())
    };
    Value::Object(names.map(bound).collect())
}

fn plugin(state: &PluginState, library: &Library) -> Value {
    let waiting = |wanted: &Wanted| match library.trouble(wanted) {
        Some(why) => why,
        None => format!("{wanted} is being fetched"),
    };
    match state {
        PluginState::Running { digest, behind } => {
            let mut shown = json!({ "state": "running", "sha256": assets::hex(digest) });
            match behind {
                None => {}
                Some(Behind::Loading(wanted)) => shown["newer"] = waiting(wanted).into(),
                Some(Behind::Failed(why)) => shown["newer"] = why.as_str().into(),
            }
            shown
        }
        PluginState::Loading(wanted) => json!({ "state": "loading", "why": waiting(wanted) }),
        PluginState::Failed { why } => json!({ "state": "failed", "why": why }),
    }
}

fn problem(problem: &Problem) -> Value {
    json!({
        "source": problem.source,
        "line": problem.line,
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    })
}

/// What is still held: generations by workers and requests, versions of plugins by instances and requests.
fn ledger(shown: &Shown) -> Value {
    let generation = |held: &tidegate_proxy::GenerationUse| {
        json!({
            "generation": held.generation,
            "workers": held.workers,
            "requests": held.requests,
            "since": held.since.as_secs_f64(),
        })
    };
    let module = |held: &tidegate_proxy::ModuleUse| {
        json!({
            "plugin": held.plugin,
            "version": held.version(),
            "sha256": held.sha256,
            "requests": held.seen.streams,
            "instances": held.seen.instances,
            "memoryBytes": held.seen.memory,
            "openCalls": held.seen.open_calls,
            "since": held.since.as_secs_f64(),
        })
    };
    let gateway = &shown.gateway;
    json!({
        "generations": gateway.generations().iter().map(generation).collect::<Vec<_>>(),
        "modules": gateway.modules().iter().map(module).collect::<Vec<_>>(),
    })
}

pub(super) fn json_body(value: &Value) -> Response<Full<Bytes>> {
    respond(StatusCode::OK, "application/json", format!("{value:#}\n"))
}

pub(crate) fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", body)
}

pub(crate) fn respond(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Seconds since the Unix epoch.
pub(crate) fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

const PATHS: &str = "\
/healthz      the process lives
/readyz       a configuration is served by all workers, and the end has not begun
/metrics      Prometheus, or OpenMetrics for those who accept it
/config       the running configuration, and why a later one was refused
/shared-data  PLUGIN/KEY: a value that plugins share, where admin.sharedData allows it; GET, PUT
/releases     new versions on their way; POST ID/ORDER steers one, where admin.steerReleases allows it
/ledger       which configurations and versions of plugins are still held, and by what
";
