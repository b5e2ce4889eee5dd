//! Asks an auth server about each request.

use std::time::Duration;

use serde::Deserialize;
use tidegate_sdk::{Filter, Flow, Reply, Request, Result, filter, http};

/// The plugin's `config`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    upstream: String,
}

/// The filter.
pub struct Callout {
    config: Config,
}

#[filter]
impl Filter for Callout {
    type Config = Config;

    fn new(config: Config) -> Self {
        Callout { config }
    }

    async fn on_request(&self, request: &mut Request) -> Result<Flow> {
        let token = request.headers().get("authorization").unwrap_or_default();
        let answer = http::get("/check")
            .to(&self.config.upstream)
            .header("authorization", token)
            .timeout(Duration::from_millis(500))
            .await?;
        if answer.status() != 200 {
            return Ok(Reply::text(403, "not allowed").into());
        }
        // Who it is, only the server says: what the client itself wrote there must not get through.
        match answer.headers().get("x-user") {
            Some(user) => request.headers().set("x-user", user),
            None => request.headers().remove("x-user"),
        }
        Ok(Flow::Continue)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_sdk_test::{Gateway, Reply, get};

    use super::Callout;

    #[test]
    fn the_auth_server_decides() {
        let gateway = Gateway::<Callout>::start(r#"{ "upstream": "auth" }"#).unwrap();
        gateway.on_call("auth", |call| match call.header("authorization") {
            Some("Bearer good") => Reply::new(200).header("x-user", "ann"),
            _ => Reply::new(401),
        });
        let passed = gateway.send(get("/").header("authorization", "Bearer good"));
        assert_eq!(passed.upstream().unwrap().header("x-user"), Some("ann"));
        assert_eq!(gateway.send(get("/")).status(), 403);
    }

    #[test]
    fn clients_cannot_say_who_they_are() {
        let gateway = Gateway::<Callout>::start(r#"{ "upstream": "auth" }"#).unwrap();
        gateway.on_call("auth", |_| Reply::new(200));
        let passed = gateway.send(get("/").header("x-user", "forged"));
        assert_eq!(passed.upstream().unwrap().header("x-user"), None);
    }

    #[test]
    fn no_answer_fails_closed() {
        let gateway = Gateway::<Callout>::start(r#"{ "upstream": "auth" }"#).unwrap();
        assert_eq!(gateway.send(get("/")).status(), 500);
    }
}
