//! Limits how many requests a client may send in a minute.

use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::{Filter, Flow, Reply, Request, Result, filter, shared, time};

/// The plugin's `config`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    per_minute: u64,
}

/// The filter.
pub struct RateLimit {
    config: Config,
}

#[filter]
impl Filter for RateLimit {
    type Config = Config;

    fn new(config: Config) -> Self {
        RateLimit { config }
    }

    async fn on_request(&self, request: &mut Request) -> Result<Flow> {
        let client = request.properties().source().ip().unwrap_or_default();
        let minute = time::now().as_secs() / 60;
        let count = shared::add(&format!("{client}/{minute}"), 1, Duration::from_secs(60))?;
        if count > self.config.per_minute {
            return Ok(Reply::text(429, "too many requests")
                .header("retry-after", "60")
                .into());
        }
        Ok(Flow::Continue)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_sdk_test::{Gateway, get};

    use super::RateLimit;

    #[test]
    fn the_third_request_of_a_minute_is_one_too_many() {
        let gateway = Gateway::<RateLimit>::start(r#"{ "perMinute": 2 }"#).unwrap();
        let statuses = [1, 2, 3].map(|_| gateway.send(get("/")).status());
        assert_eq!(statuses, [200, 200, 429]);
        gateway.advance(std::time::Duration::from_secs(60));
        assert_eq!(gateway.send(get("/")).status(), 200);
    }
}
