//! Removes fields of requests and adds fields to responses.

use serde::Deserialize;
use tidegate_sdk::{Filter, Request, Response, filter};

/// The plugin's `config`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    remove: Vec<String>,
    greeting: String,
}

/// The filter.
pub struct Transform {
    config: Config,
}

/// What a request leaves for its response.
#[derive(Default)]
pub struct Seen {
    path: std::cell::RefCell<String>,
}

#[filter]
impl Filter for Transform {
    type Config = Config;
    type State = Seen;

    fn new(config: Config) -> Self {
        Transform { config }
    }

    async fn on_request(&self, request: &mut Request<Seen>) {
        for name in &self.config.remove {
            request.headers().remove(name);
        }
        request.state().path.replace(request.path());
    }

    async fn on_response(&self, response: &mut Response<Seen>) {
        response.headers().set("x-greeting", &self.config.greeting);
        response
            .headers()
            .set("x-path", &*response.state().path.borrow());
    }
}

#[cfg(test)]
mod tests {
    use tidegate_sdk_test::{Gateway, get};

    use super::Transform;

    #[test]
    fn fields_go_and_come() {
        let gateway =
            Gateway::<Transform>::start(r#"{ "remove": ["x-debug"], "greeting": "hi" }"#).unwrap();
        let answer = gateway.send(get("/orders").header("x-debug", "1"));
        assert_eq!(answer.upstream().unwrap().header("x-debug"), None);
        assert_eq!(answer.header("x-greeting"), Some("hi"));
        assert_eq!(answer.header("x-path"), Some("/orders"));
    }
}
