//! The smallest filter: it adds the header `x-hello` to every response.

use serde::Deserialize;
use tidegate_sdk::{Filter, Response, filter};

/// What the plugin's `config` holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The value of the header.
    #[serde(default = "world")]
    greeting: String,
}

/// The filter.
pub struct Hello {
    config: Config,
}

#[filter]
impl Filter for Hello {
    type Config = Config;

    fn new(config: Config) -> Self {
        Hello { config }
    }

    async fn on_response(&self, response: &mut Response) {
        response.headers().set("x-hello", &self.config.greeting);
    }
}

fn world() -> String {
    "world".to_owned()
}

#[cfg(test)]
mod tests {
    use tidegate_sdk_test::{Gateway, Reply, get};

    use super::Hello;

    #[test]
    fn every_response_gets_the_header() {
        for (config, greeting) in [("", "world"), (r#"{ "greeting": "you" }"#, "you")] {
            let gateway = Gateway::<Hello>::start(config).expect("a correct configuration");
            let answer = gateway.send(get("/").answered(Reply::new(200).header("x-hello", "forged")));
            assert_eq!(answer.header("x-hello"), Some(greeting));
        }
    }
}
