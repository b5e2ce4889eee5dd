//! Lets only requests with a known API key pass; others are answered with 401.
//!
//! The key is taken out of the request before the upstream sees it. Where a key has a consumer, the upstream can be told
//! who it is by a header, which a client cannot set itself.

mod config;

use tidegate_sdk::{Counter, Filter, Flow, Reply, Request, filter, log};

pub use config::Config;
#[cfg(not(target_family = "wasm"))]
pub use config::schema;

/// The keys, and what is done with those who have none.
pub struct ApiKey {
    config: Config,
}

/// Requests answered with 401.
static REFUSED: Counter = Counter::new("api_key_refused_total");

#[filter]
impl Filter for ApiKey {
    type Config = Config;

    fn new(config: Config) -> Self {
        ApiKey { config }
    }

    async fn on_request(&self, request: &mut Request) -> Flow {
        let header = self.config.header();
        let Some(value) = request.headers().get(header) else {
            return self.refuse("api_key_missing", "an API key is needed");
        };
        let Some(key) = self.config.find(self.presented(&value)) else {
            return self.refuse("api_key_unknown", "this API key is not known");
        };
        request.headers().remove(header);
        if let Some(name) = self.config.consumer_header() {
            match key.consumer() {
                Some(consumer) => request.headers().set(name, consumer),
                // Otherwise a client with any key could claim to be any consumer.
                None => request.headers().remove(name),
            }
        }
        Flow::Continue
    }
}

impl ApiKey {
    /// The key in a header's value; in `authorization` it may follow the name of a scheme.
    fn presented<'a>(&self, value: &'a [u8]) -> &'a [u8] {
        let value = value.trim_ascii();
        if !self.in_authorization() {
            return value;
        }
        for scheme in [&b"bearer "[..], b"apikey "] {
            match value.split_at_checked(scheme.len()) {
                Some((start, rest)) if start.eq_ignore_ascii_case(scheme) => return rest.trim_ascii_start(),
                _ => {}
            }
        }
        value
    }

    fn refuse(&self, details: &str, text: &str) -> Flow {
        REFUSED.increment();
        log::debug!("request refused: {text}");
        let challenge = match self.in_authorization() {
            true => "Bearer".to_owned(),
            false => format!("ApiKey header=\"{}\"", self.config.header()),
        };
        Reply::text(401, text).header("www-authenticate", challenge).details(details).into()
    }

    fn in_authorization(&self) -> bool {
        self.config.header() == "authorization"
    }
}

#[cfg(test)]
mod tests;
