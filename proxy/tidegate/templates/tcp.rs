//! Closes connections of clients that do not begin with a greeting.

use serde::Deserialize;
use tidegate_sdk::{Body, Connection, Filter, Flow, Result, filter, log};

/// The plugin's `config`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// What the first bytes of a client must be.
    greeting: String,
}

/// The filter.
pub struct Tcp {
    config: Config,
}

#[filter]
impl Filter for Tcp {
    type Config = Config;

    fn new(config: Config) -> Self {
        Tcp { config }
    }

    async fn on_connection(&self, connection: &mut Connection, client: &mut Body) -> Result<Flow> {
        // Bytes come in pieces of any size.
        let mut rest = self.config.greeting.as_bytes();
        while !rest.is_empty() {
            let chunk = client.next().await?.unwrap_or_default();
            if chunk.is_empty() || !(chunk.starts_with(rest) || rest.starts_with(&chunk)) {
                log::info!(
                    "{:?} does not greet",
                    connection.properties().source().address()
                );
                return Ok(Flow::Close);
            }
            rest = rest.get(chunk.len()..).unwrap_or_default();
        }
        Ok(Flow::Continue)
    }
}

#[cfg(test)]
mod tests {
    use tidegate_sdk_test::{Gateway, connect};

    use super::Tcp;

    #[test]
    fn only_those_who_greet_pass() {
        let gateway = Gateway::<Tcp>::start(r#"{ "greeting": "hello" }"#).unwrap();
        assert_eq!(
            gateway.connect(connect().sends("hello there")).server_got(),
            b"hello there"
        );
        assert!(gateway.connect(connect().sends("bye")).closed());
    }
}
