//! What most answers of the admin API are made of.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{Either, Full};
use serde::Serialize;
use serde_json::{Value, json};
use tidegate_config::Problem;

use super::tap::Lines;
use super::{Levels, Shown};
use crate::assets;
use crate::fetch::{Library, Wanted};
use crate::status::{Behind, PluginState, Status};

/// The body of an answer.
pub(super) type AdminBody = Either<Full<Bytes>, Lines>;

/// Why a request is not done.
#[derive(Debug)]
pub(super) struct AdminError {
    status: StatusCode,
    why: String,
}

impl AdminError {
    /// `why` says what would be right.
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    /// As a client gets it.
    pub(super) fn into_response(self) -> Response<AdminBody> {
        text(self.status, self.why + "\n")
    }
}

/// Whether clients should be sent here.
pub(super) fn ready(status: &Status) -> Response<AdminBody> {
    match (status.is_ready(), status.draining.get()) {
        (true, _) => text(StatusCode::OK, "ready\n"),
        (_, true) => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        _ if status.served.get() > 0 => {
            text(StatusCode::SERVICE_UNAVAILABLE, "sources of servers have not answered yet\n")
        }
        _ => text(StatusCode::SERVICE_UNAVAILABLE, "no configuration is served by all workers yet\n"),
    }
}

/// The levels of the gateway's own log.
pub(super) fn levels() -> String {
    Levels::now().unwrap_or_default() + "\n"
}

/// Takes other levels.
pub(super) fn set_levels(text: &[u8]) -> Result<Response<AdminBody>, AdminError> {
    let levels = std::str::from_utf8(text)
        .map_err(|error| AdminError::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    if levels.trim().is_empty() {
        let why = "levels are wanted, such as info or info,tidegate_proxy=debug";
        return Err(AdminError::new(StatusCode::BAD_REQUEST, why));
    }
    Levels::set(levels.trim()).map_err(|why| AdminError::new(StatusCode::BAD_REQUEST, why))?;
    tracing::warn!(levels = levels.trim(), "log levels set by the admin API");
    Ok(respond(StatusCode::NO_CONTENT, "text/plain", ""))
}

/// The running configuration, and the one that was refused after it.
pub(super) fn config(shown: &Shown) -> Value {
    let status = &shown.status;
    let rejected = status.rejected.borrow();
    let rejected = rejected.as_ref().map(|rejected| {
        json!({
            "since": seconds(rejected.since),
            "problems": rejected.problems.iter().map(problem).collect::<Vec<_>>(),
        })
    });
    let current = status.current.borrow();
    let current = current.as_ref().map(|current| {
        json!({
            "generation": current.generation,
            "served": status.served.get(),
            "since": seconds(current.since),
            "addresses": addresses(shown, &current.document),
            "plugins": plugin_states(shown),
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

/// What became of each plugin, by its key.
pub(super) fn plugin_states(shown: &Shown) -> BTreeMap<String, Value> {
    let current = shown.status.current.borrow();
    let states = current.iter().flat_map(|current| &current.plugins);
    states.map(|(key, state)| (key.clone(), plugin(state, &shown.workshop.library))).collect()
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

/// A problem with its place and its hint.
pub(super) fn problem(problem: &Problem) -> Value {
    json!({
        "source": problem.source,
        "line": problem.line,
        "path": problem.path,
        "message": problem.message,
        "hint": problem.hint,
    })
}

/// What is still held: generations by workers and requests, versions of plugins by instances and requests.
pub(super) fn ledger(shown: &Shown) -> Value {
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

/// JSON, a key a line.
pub(super) fn json_body(value: &impl Serialize) -> Response<AdminBody> {
    match serde_json::to_string_pretty(value) {
        Ok(body) => respond(StatusCode::OK, "application/json", body + "\n"),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// JSON without a space, for programs that ask often.
pub(super) fn compact(value: &impl Serialize) -> Response<AdminBody> {
    match serde_json::to_string(value) {
        Ok(body) => respond(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

/// Text for people.
pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<AdminBody> {
    respond(status, "text/plain; charset=utf-8", body)
}

/// An answer that nobody keeps.
pub(super) fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<AdminBody> {
    let mut response = Response::new(AdminBody::Left(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Seconds since the Unix epoch.
pub(crate) fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
