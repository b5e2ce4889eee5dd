//! The smallest filter: it adds the header `x-hello` to every response.

use std::rc::Rc;

use serde::Deserialize;
use tidegate_sdk::{Decision, Filter, Response, filter};

/// What the plugin's `config` holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The value of the header.
    #[serde(default = "world")]
    greeting: String,
}

/// One request.
pub struct Hello {
    config: Rc<Config>,
}

impl Filter for Hello {
    type Config = Config;

    fn new(config: &Rc<Config>) -> Self {
        Hello { config: Rc::clone(config) }
    }

    fn on_response(&mut self, response: &mut Response) -> Decision {
        response.headers.set("x-hello", &self.config.greeting);
        Decision::Continue
    }
}

fn world() -> String {
    "world".to_owned()
}

filter!(Hello);

#[cfg(test)]
mod tests {
    use tidegate_sdk::testing::{Harness, TestRequest};

    use super::Hello;

    #[test]
    fn every_response_gets_the_header() {
        for (config, greeting) in [("", "world"), (r#"{ "greeting": "you" }"#, "you")] {
            let gateway = Harness::<Hello>::new(config).expect("a correct configuration");
            let answer = gateway.send(TestRequest::get("/").response_header("x-hello", "forged"));
            assert_eq!(answer.header("x-hello"), Some(greeting));
        }
    }
}
