//! Shared data of plugins at the admin address: the one thing that it can change, and only where the configuration says so.

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use http_body_util::{BodyExt, Collected, Limited};
use hyper::body::Body;
use tracing::info;

use super::Shown;
use super::answer::{AdminBody, respond, text};

/// Where the values are: this, then the plugin's name or VM id, a slash, and the key.
const PATH: &str = "/shared-data/";

/// Bytes of a value that is set.
const LARGEST: usize = 64 << 10;

/// Shows a value (GET, HEAD) or sets it to the request's body (PUT). Browsers send a PUT to another site only when that
/// allows it, which this one never does.
pub(super) async fn answer<B: Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static>>(
    head: &Parts,
    body: B,
    shown: &Shown,
) -> Response<AdminBody> {
    let (owner, key) =
        head.uri.path().strip_prefix(PATH).and_then(|rest| rest.split_once('/')).unwrap_or_default();
    if owner.is_empty() || key.is_empty() || key.contains('%') {
        return text(StatusCode::NOT_FOUND, "/shared-data/PLUGIN/KEY, the key without escapes\n");
    }
    let open = shown
        .status
        .current
        .borrow()
        .as_ref()
        .is_some_and(|current| current.shared_data.iter().any(|known| known == owner));
    if !open {
        return text(StatusCode::FORBIDDEN, "admin.sharedData does not name this plugin\n");
    }
    let shared = &shown.workshop.shared;
    match head.method {
        Method::GET | Method::HEAD => match shared.value(owner, key.as_bytes()) {
            Some(value) => respond(StatusCode::OK, "application/octet-stream", value),
            None => text(StatusCode::NOT_FOUND, "the key has no value\n"),
        },
        Method::PUT => match Limited::new(body, LARGEST).collect().await.map(Collected::to_bytes) {
            Ok(value) if shared.set_value(owner, key.as_bytes(), &value) => {
                info!(plugin = owner, key, "shared data set by the admin API");
                shown.status.shared_data_sets.set(shown.status.shared_data_sets.get() + 1);
                respond(StatusCode::NO_CONTENT, "text/plain; charset=utf-8", "")
            }
            Ok(_) => text(StatusCode::INSUFFICIENT_STORAGE, "the plugin's shared data is full\n"),
            Err(_) => text(StatusCode::PAYLOAD_TOO_LARGE, "a value has 64 KiB at most\n"),
        },
        // The API's table lets no others come here.
        _ => text(StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD or PUT\n"),
    }
}
