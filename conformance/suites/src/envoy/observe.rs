//! What one exchange looked like from outside and from inside the guest.

use tidegate_testkit::{Fields, Received, State};

/// Everything that is compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Observation {
    /// What the client got.
    pub(crate) client: Outcome,
    /// What the upstream got, in order of targets.
    pub(crate) upstream: Vec<String>,
    /// What the guests logged, in order.
    pub(crate) lines: Vec<String>,
    /// The proxy's process ended.
    pub(crate) crashed: bool,
}

/// What a client got.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Status; none: no answer.
    pub(crate) status: Option<u16>,
    /// Fields that are compared.
    pub(crate) headers: Vec<String>,
    pub(crate) body: String,
    pub(crate) trailers: Vec<String>,
    /// The answer did not come to its end.
    pub(crate) broken: bool,
}

/// Fields that the test, the guest or the gateway's contract put there; everything else is a proxy's own business.
pub(crate) fn compared(fields: &[(String, String)]) -> Vec<String> {
    let mut kept: Vec<String> = fields
        .iter()
        .filter(|(name, _)| {
            name.starts_with("x-t-")
                || name.starts_with("access-control-")
                || OF_FILTERS.contains(&name.as_str())
        })
        .map(|(name, value)| format!("{name}: {}", without_time(name, value)))
        .collect();
    kept.sort();
    kept
}

/// Further fields that only servers and filters write.
const OF_FILTERS: [&str; 13] = [
    "allow",
    "cache-control",
    "cache-status",
    "content-range",
    "content-type",
    "etag",
    "grpc-status",
    "location",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "vary",
    "www-authenticate",
];

/// A value without how many seconds are left.
fn without_time(name: &str, value: &str) -> String {
    let cut = match name {
        "retry-after" => return "...".to_owned(),
        "ratelimit" => ";t=",
        "cache-status" => "ttl=",
        _ => return value.to_owned(),
    };
    let mut parts = value.split(cut);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        text + cut + "..." + part.trim_start_matches(|c: char| c == '-' || c.is_ascii_digit())
    })
}

/// A request as the upstream got it, in one line.
pub(crate) fn received(request: &Received) -> String {
    let Some(head) = &request.head else { return format!("no head: {:?}", request.state) };
    let state = match &request.state {
        State::Complete => String::new(),
        State::Started | State::CutOff => " (not to its end)".to_owned(),
        other => format!(" ({other:?})"),
    };
    let Fields(trailers) = &request.trailers;
    format!(
        "{} {} {:?} body={:?} trailers={:?}{state}",
        head.method,
        head.target,
        compared(&head.headers.0),
        String::from_utf8_lossy(&request.body),
        compared(trailers)
    )
}
