//! Refuses requests by a text in their body, and changes the bodies of responses chunk by chunk.

use serde::Deserialize;
use tidegate_sdk::{Body, Filter, Flow, Reply, Request, Response, Result, filter};

/// The plugin's `config`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    limit: usize,
    forbidden: String,
}

/// The filter.
pub struct Bodies {
    config: Config,
}

#[filter]
impl Filter for Bodies {
    type Config = Config;

    fn new(config: Config) -> Self {
        Bodies { config }
    }

    /// The whole body, while head and body are held.
    async fn on_request(&self, request: &mut Request, body: &mut Body) -> Result<Flow> {
        let text = body.collect(self.config.limit).await?;
        let text = String::from_utf8_lossy(&text);
        if text.contains(&self.config.forbidden) {
            return Ok(Reply::text(400, "forbidden text").into());
        }
        request
            .headers()
            .set("x-body-bytes", text.len().to_string());
        Ok(Flow::Continue)
    }

    /// Chunk by chunk, while the rest goes on.
    async fn on_response(&self, _response: &mut Response, body: &mut Body) -> Result<()> {
        body.rewrite();
        while let Some(chunk) = body.next().await? {
            body.replace(chunk.to_ascii_uppercase())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tidegate_sdk_test::{Gateway, Reply, post};

    use super::Bodies;

    #[test]
    fn a_forbidden_text_is_found_and_others_pass() {
        let gateway = Gateway::<Bodies>::start(r#"{ "limit": 100, "forbidden": "bad" }"#).unwrap();
        assert_eq!(gateway.send(post("/").body("all bad things")).status(), 400);
        assert_eq!(gateway.send(post("/").body("x".repeat(101))).status(), 413);
        let passed = gateway.send(
            post("/")
                .body("good")
                .answered(Reply::new(200).body("fine")),
        );
        assert_eq!(passed.upstream().unwrap().body(), b"good");
        assert_eq!(passed.text(), "FINE");
    }
}
