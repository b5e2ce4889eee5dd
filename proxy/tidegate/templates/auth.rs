//! Lets only requests with a known API key pass.

use serde::Deserialize;
use tidegate_sdk::{Counter, Filter, Flow, Reply, Request, filter, log};

/// The plugin's `config`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    keys: Vec<String>,
}

/// The filter.
pub struct Auth {
    config: Config,
}

static REFUSED: Counter = Counter::new("auth_refused_total");

#[filter]
impl Filter for Auth {
    type Config = Config;

    fn new(config: Config) -> Self {
        Auth { config }
    }

    async fn on_request(&self, request: &mut Request) -> Flow {
        let key = request.headers().get("x-api-key").unwrap_or_default();
        if !self.config.keys.iter().any(|known| key == known.as_str()) {
            REFUSED.increment();
            log::debug!("refused {}", request.path());
            return Reply::text(401, "an API key is needed")
                .header("www-authenticate", "ApiKey")
                .into();
        }
        request.headers().remove("x-api-key");
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use tidegate_sdk_test::{Gateway, get};

    use super::Auth;

    #[test]
    fn only_known_keys_pass() {
        let gateway = Gateway::<Auth>::start(r#"{ "keys": ["alpha"] }"#).unwrap();
        let refused = gateway.send(get("/orders"));
        assert_eq!(refused.status(), 401);
        assert!(refused.upstream().is_none());
        assert_eq!(refused.metric("auth_refused_total"), 1);

        let passed = gateway.send(get("/orders").header("x-api-key", "alpha"));
        assert_eq!(passed.status(), 200);
        assert_eq!(passed.upstream().unwrap().header("x-api-key"), None);
    }

    #[test]
    fn a_wrong_key_of_the_configuration_is_named() {
        let error = Gateway::<Auth>::start(r#"{ "keys": ["a", 5] }"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "config.keys[1]: invalid type: integer, expected a string"
        );
    }
}
