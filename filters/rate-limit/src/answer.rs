//! What clients are told of their limits: headers of responses, and refusals.

use tidegate_sdk::limit::Verdict;
use tidegate_sdk::{Headers, Reply};

use crate::config::{Config, Rule};

/// What was decided, of the limits that clients may know of.
#[derive(Default)]
pub(crate) struct Shown(Vec<Item>);

struct Item {
    /// The limit's number.
    at: usize,
    concurrent: bool,
    verdict: Verdict,
}

impl Shown {
    pub(crate) fn add(&mut self, at: usize, rule: &Rule, verdict: Verdict) {
        self.0.push(Item { at, concurrent: rule.is_concurrent(), verdict });
    }

    /// What is left after a cost was settled.
    pub(crate) fn settled(&mut self, at: usize, verdict: Option<Verdict>) {
        let item = self.0.iter_mut().find(|item| item.at == at);
        if let (Some(item), Some(verdict)) = (item, verdict) {
            item.verdict = verdict;
        }
    }

    /// `RateLimit` (draft-ietf-httpapi-ratelimit-headers): a list of names with what remains and when it is all there.
    fn standard(&self, config: &Config) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() * 32);
        for item in &self.0 {
            let Some(rule) = config.limits.get(item.at) else { continue };
            if !out.is_empty() {
                out.extend_from_slice(b", ");
            }
            out.push(b'"');
            out.extend_from_slice(rule.name.as_bytes());
            out.extend_from_slice(b"\";r=");
            number(item.verdict.remaining, &mut out);
            if !item.concurrent {
                out.extend_from_slice(b";t=");
                number(seconds(item.verdict.reset), &mut out);
            }
        }
        out
    }

    /// The one with the least left.
    fn scarcest(&self) -> Option<&Item> {
        self.0.iter().filter(|item| !item.concurrent).min_by_key(|item| item.verdict.remaining)
    }

    /// Hands each header to `put`.
    fn headers(&self, config: &Config, mut put: impl FnMut(&str, &[u8])) {
        if self.0.is_empty() {
            return;
        }
        if config.headers.standard() {
            put("ratelimit", &self.standard(config));
            put("ratelimit-policy", config.policy.as_bytes());
        }
        if let (true, Some(item)) = (config.headers.legacy(), self.scarcest()) {
            let units = config.limits.get(item.at).map_or(0, |rule| rule.limit.units);
            put("x-ratelimit-limit", &text(units));
            put("x-ratelimit-remaining", &text(item.verdict.remaining));
            put("x-ratelimit-reset", &text(seconds(item.verdict.reset)));
        }
    }
}

/// Adds the headers to a response.
pub(crate) fn on_response(config: &Config, shown: &Shown, headers: &Headers) {
    shown.headers(config, |name, value| headers.set(name, value));
}

/// The answer to a request that is refused; it may try again after so many nanoseconds, if that is known.
pub(crate) fn refusal(config: &Config, shown: &Shown, wait: Option<u64>) -> Reply {
    let mut reply = Reply::text(config.status, &config.body).details("rate_limited");
    if let Some(wait) = wait {
        reply = reply.header("retry-after", text(seconds(wait)));
    }
    shown.headers(config, |name, value| {
        let before = std::mem::replace(&mut reply, Reply::new(config.status));
        reply = before.header(name, value);
    });
    // RESOURCE_EXHAUSTED, for clients that speak gRPC.
    reply.grpc_status(8)
}

/// Whole seconds, rounded up.
fn seconds(nanoseconds: u64) -> u64 {
    nanoseconds.div_ceil(1_000_000_000)
}

fn text(value: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(20);
    number(value, &mut out);
    out
}

/// Appends figures; formatting by the standard library costs several times as much.
fn number(mut value: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(b'0' + u8::try_from(value % 10).unwrap_or(0));
        value /= 10;
        if value == 0 {
            break;
        }
    }
    if let Some(figures) = out.get_mut(start..) {
        figures.reverse();
    }
}
