//! Cross-origin requests by the Fetch standard: answers preflights itself, and writes the headers that let browsers show
//! an answer to pages of other origins.
//!
//! The configuration becomes ready-made header values once; a request costs a look-up of its origin.

mod config;
mod origins;
mod policy;

use std::cell::RefCell;

use tidegate_sdk::{
    ConfigError, Counter, Filter, Flow, Headers, Reply, Request, Response, Value, filter, log,
};

pub use config::Config;
#[cfg(not(target_family = "wasm"))]
pub use config::schema;
use policy::Policy;

/// The filter.
pub struct Cors {
    policy: Policy,
}

/// What a request leaves for its response: the origin that may read it.
#[derive(Default)]
pub struct Seen {
    allowed: RefCell<Option<Value>>,
}

/// Preflights that were answered.
static PREFLIGHTS: Counter = Counter::new("cors_preflights_total");

/// Requests of origins that are not allowed.
static OTHERS: Counter = Counter::new("cors_other_origins_total");

#[filter]
impl Filter for Cors {
    type Config = Config;
    type State = Seen;

    fn new(config: Config) -> Result<Self, ConfigError> {
        Ok(Cors { policy: Policy::new(&config)? })
    }

    async fn on_request(&self, request: &mut Request<Seen>) -> Flow {
        let headers = request.headers();
        let Some(origin) = headers.get("origin") else { return Flow::Continue };
        let allowed = self.policy.allow(&origin);
        // Asked in this order because few requests have the second, and a header that is not there is soon not found.
        if headers.contains("access-control-request-method") && request.method() == "OPTIONS" {
            PREFLIGHTS.increment();
            return self.preflight(headers, &origin, allowed).into();
        }
        if allowed {
            request.state().allowed.replace(Some(origin));
        } else if !is_same(&origin, request) {
            OTHERS.increment();
            if self.policy.refuses() {
                return self.refuse(&origin).into();
            }
        }
        Flow::Continue
    }

    async fn on_response(&self, response: &mut Response<Seen>) {
        let headers = response.headers();
        let vary = self.strip(headers);
        if self.policy.is_for_everybody() {
            // The same for all, so a cache may give it to pages of every origin.
            return self.policy.write(headers, b"*");
        }
        if let Some(origin) = response.state().allowed.take() {
            self.policy.write(headers, &origin);
        }
        // Also where there was no origin: a cache must not give this answer to a page that has one.
        match vary {
            Vary::None => headers.set("vary", "origin"),
            Vary::Others(others) => headers.set("vary", [&others[..], b", origin"].concat()),
            Vary::Has => {}
        }
    }
}

/// What a response says that it depends on.
enum Vary {
    /// Nothing.
    None,
    /// The origin, or everything.
    Has,
    /// Other things, in one line.
    Others(Vec<u8>),
}

impl Cors {
    fn preflight(&self, headers: &Headers, origin: &[u8], allowed: bool) -> Reply {
        if allowed {
            return self.policy.preflight(headers, origin).details("cors_preflight");
        }
        OTHERS.increment();
        if self.policy.refuses() {
            return self.refuse(origin);
        }
        self.policy.with_vary(Reply::new(204)).details("cors_preflight")
    }

    fn refuse(&self, origin: &[u8]) -> Reply {
        log::debug!("request of the origin {} refused", origin.escape_ascii());
        Reply::text(403, "requests of this origin are not allowed")
            .header("vary", "origin")
            .details("cors_other_origin")
    }

    /// Takes out the upstream's own CORS headers; tells what the response depends on.
    fn strip(&self, headers: &Headers) -> Vary {
        let (mut others, mut has, mut theirs) = (Vec::new(), false, 0_u8);
        headers.each(|name, value| {
            if name.starts_with(b"access-control-") {
                let known = OURS.iter().position(|known| known.as_bytes() == name);
                theirs |= known.map_or(0, |at| 1 << at);
            } else if name == b"vary" && !self.policy.is_for_everybody() {
                has |= value.split(|byte| *byte == b',').any(|entry| {
                    let entry = entry.trim_ascii();
                    entry == b"*" || entry.eq_ignore_ascii_case(b"origin")
                });
                let line = value.trim_ascii();
                if !(line.is_empty() || others.is_empty()) {
                    others.extend_from_slice(b", ");
                }
                others.extend_from_slice(line);
            }
        });
        for (at, name) in OURS.iter().enumerate() {
            if theirs >> at & 1 == 1 {
                headers.remove(name);
            }
        }
        match (has, others.is_empty()) {
            (true, _) => Vary::Has,
            (false, true) => Vary::None,
            (false, false) => Vary::Others(others),
        }
    }
}

/// Whether a request comes from a page of the service itself: browsers send an origin with those too, unless they only
/// read.
fn is_same(origin: &[u8], request: &Request<Seen>) -> bool {
    let Some((scheme, host)) = std::str::from_utf8(origin).ok().and_then(|origin| origin.split_once("://"))
    else {
        return false;
    };
    scheme == request.scheme() && host.eq_ignore_ascii_case(&request.authority())
}

/// Response headers of the Fetch standard that this filter answers for.
const OURS: [&str; 7] = [
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-allow-private-network",
    "access-control-expose-headers",
    "access-control-max-age",
];

#[cfg(test)]
mod tests;
