//! Envoy's rate limit service as a client asks it: `envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit`.

use std::time::Duration;

use tidegate_sdk::{Request, grpc, log};

use crate::config::Service;
use crate::protobuf::{Value, fields, put_bytes};

/// What the service says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// It refuses.
    pub(crate) refusal: Option<Refusal>,
    /// Headers for the answer, whichever it is.
    pub(crate) response_headers: Vec<(String, Vec<u8>)>,
}

/// How it refuses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Seconds after which to try again.
    pub(crate) retry_after: Option<u64>,
    /// In place of the configured body.
    pub(crate) body: Option<Vec<u8>>,
}

type HeaderList = Vec<(String, Vec<u8>)>;

const NAME: &str = "envoy.service.ratelimit.v3.RateLimitService";
const OVER_LIMIT: u64 = 2;

impl Service {
    /// Asks about a request, to which headers may be added. None: there is no answer. A request without any descriptor is
    /// not asked about.
    pub(crate) async fn ask<S>(&self, request: &Request<S>) -> Option<Decision> {
        let Some(message) = self.question(request) else { return Some(Decision::default()) };
        let timeout = self.timeout.map_or(Duration::from_millis(100), |span| span.0);
        let call = grpc::call(NAME, "ShouldRateLimit").to(&self.upstream).message(message).timeout(timeout);
        match call.await {
            Ok(answer) => {
                let (decision, request_headers) = read(&answer.into_message());
                for (name, value) in request_headers {
                    if let Err(error) = request.headers().try_set(&name, value) {
                        log::debug!("a header of the rate limit service was dropped: {error}");
                    }
                }
                Some(decision)
            }
            Err(error) => {
                log::warn!("the rate limit service at {} gives no answer: {error}", self.upstream);
                None
            }
        }
    }

    fn question<S>(&self, request: &Request<S>) -> Option<Vec<u8>> {
        let mut message = Vec::with_capacity(128);
        put_bytes(1, self.domain.as_bytes(), &mut message);
        let mut any = false;
        for descriptor in &self.descriptors {
            let mut entries = Vec::new();
            let whole = descriptor.iter().all(|entry| {
                let Some(value) = entry.value.text(request) else { return false };
                let mut bytes = Vec::new();
                put_bytes(1, entry.key.as_bytes(), &mut bytes);
                put_bytes(2, value.as_bytes(), &mut bytes);
                put_bytes(1, &bytes, &mut entries);
                true
            });
            if whole && !entries.is_empty() {
                put_bytes(2, &entries, &mut message);
                any = true;
            }
        }
        any.then_some(message)
    }
}

/// The answer, and headers for the request.
fn read(message: &[u8]) -> (Decision, HeaderList) {
    let (mut decision, mut request_headers) = (Decision::default(), Vec::new());
    let (mut over, mut refusal) = (false, Refusal::default());
    for (number, value) in fields(message) {
        match (number, value) {
            (1, Value::Number(code)) => over = code == OVER_LIMIT,
            (2, Value::Bytes(status)) => refusal.retry_after = refusal.retry_after.max(reset(status)),
            (3, Value::Bytes(bytes)) => decision.response_headers.extend(header(bytes)),
            (4, Value::Bytes(bytes)) => request_headers.extend(header(bytes)),
            (5, Value::Bytes(body)) if !body.is_empty() => refusal.body = Some(body.to_vec()),
            _ => {}
        }
    }
    decision.refusal = over.then_some(refusal);
    (decision, request_headers)
}

/// Seconds until the limit of a descriptor that is over it begins anew.
fn reset(status: &[u8]) -> Option<u64> {
    let over = fields(status).any(|field| field == (1, Value::Number(OVER_LIMIT)));
    let find = |wanted| fields(status).find_map(|(number, value)| (number == wanted).then_some(value));
    match find(4).filter(|_| over)? {
        Value::Bytes(duration) => {
            let part = |wanted| {
                fields(duration).find_map(|(number, value)| match value {
                    Value::Number(part) if number == wanted => Some(part),
                    _ => None,
                })
            };
            let more = u64::from(part(2).is_some_and(|nanoseconds| nanoseconds > 0));
            Some(part(1).unwrap_or(0).saturating_add(more))
        }
        Value::Number(_) => None,
    }
}

fn header(bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    let (mut name, mut text) = (None, None);
    for (number, value) in fields(bytes) {
        match (number, value) {
            (1, Value::Bytes(bytes)) => name = String::from_utf8(bytes.to_vec()).ok(),
            (2 | 3, Value::Bytes(bytes)) => text = Some(bytes.to_vec()),
            _ => {}
        }
    }
    Some((name?.to_ascii_lowercase(), text.unwrap_or_default()))
}
