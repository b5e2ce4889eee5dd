//! The answers' headers, written once from the configuration.

use tidegate_sdk::{ConfigError, Headers, Reply, units};

use crate::config::{self, Config, OtherOrigins};
use crate::origins::Origins;

/// What is allowed, ready to be written.
#[derive(Debug)]
pub struct Policy {
    origins: Origins,
    methods: String,
    headers: AllowedHeaders,
    exposed: Option<String>,
    max_age: Option<String>,
    credentials: bool,
    private_network: bool,
    refuses: bool,
    preflight_vary: String,
}

#[derive(Debug)]
enum AllowedHeaders {
    None,
    Listed(String),
    Mirror,
}

impl Policy {
    /// Checks the configuration.
    pub fn new(config: &Config) -> Result<Self, ConfigError> {
        let credentials = config.credentials;
        let names = |key: &str, list: &[String]| joined(key, list, credentials);
        let headers = match &config.headers {
            config::Headers::Mirror(_) => AllowedHeaders::Mirror,
            config::Headers::List(list) => {
                let lower: Vec<String> = list.iter().map(|name| name.to_ascii_lowercase()).collect();
                names("headers", &lower)?.map_or(AllowedHeaders::None, AllowedHeaders::Listed)
            }
        };
        let Some(methods) = names("methods", &config.methods)? else {
            return Err(ConfigError::at(
                "methods",
                "no method is listed; leave it out for GET, HEAD and POST",
            ));
        };
        let origins = Origins::new(&config.origins, credentials)?;
        let depends = [
            (!origins.is_any(), "origin"),
            (matches!(headers, AllowedHeaders::Mirror), "access-control-request-headers"),
            (config.private_network, PRIVATE_NETWORK),
        ];
        let preflight_vary: Vec<_> = depends.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
        Ok(Policy {
            origins,
            methods,
            headers,
            exposed: names("exposedHeaders", &config.exposed_headers)?,
            max_age: config.max_age.map(|span| span.0.as_secs().to_string()),
            credentials,
            private_network: config.private_network,
            refuses: config.other_origins == OtherOrigins::Refuse,
            preflight_vary: preflight_vary.join(", "),
        })
    }

    /// Whether requests of this origin are allowed.
    pub fn allow(&self, origin: &[u8]) -> bool {
        self.origins.allow(origin)
    }

    /// Whether an answer is the same for all origins.
    pub fn is_for_everybody(&self) -> bool {
        self.origins.is_any()
    }

    /// Whether requests of other origins are refused.
    pub fn refuses(&self) -> bool {
        self.refuses
    }

    /// The answer to a preflight of an allowed origin (Fetch standard, 4.8).
    pub fn preflight(&self, request: &Headers, origin: &[u8]) -> Reply {
        let mut reply = Reply::new(204)
            .header("access-control-allow-origin", self.origin(origin))
            .header("access-control-allow-methods", &self.methods);
        if self.credentials {
            reply = reply.header("access-control-allow-credentials", "true");
        }
        match &self.headers {
            AllowedHeaders::None => {}
            AllowedHeaders::Listed(list) => reply = reply.header("access-control-allow-headers", list),
            AllowedHeaders::Mirror => {
                if let Some(asked) =
                    request.get("access-control-request-headers").filter(|asked| is_list(asked))
                {
                    reply = reply.header("access-control-allow-headers", asked);
                }
            }
        }
        if let Some(seconds) = &self.max_age {
            reply = reply.header("access-control-max-age", seconds);
        }
        if self.private_network && request.get(PRIVATE_NETWORK).is_some_and(|asked| asked == "true") {
            reply = reply.header("access-control-allow-private-network", "true");
        }
        self.with_vary(reply)
    }

    /// Adds what the answer to a preflight depends on.
    pub fn with_vary(&self, reply: Reply) -> Reply {
        if self.preflight_vary.is_empty() { reply } else { reply.header("vary", &self.preflight_vary) }
    }

    /// The headers of an answer that an allowed origin may read; `origin` is not needed where everybody is allowed.
    pub fn write(&self, response: &Headers, origin: &[u8]) {
        response.set("access-control-allow-origin", self.origin(origin));
        if self.credentials {
            response.set("access-control-allow-credentials", "true");
        }
        if let Some(exposed) = &self.exposed {
            response.set("access-control-expose-headers", exposed);
        }
    }

    fn origin<'a>(&self, origin: &'a [u8]) -> &'a [u8] {
        if self.origins.is_any() { b"*" } else { origin }
    }
}

/// A list of names as it is sent; `None` when it is empty.
fn joined(key: &str, list: &[String], credentials: bool) -> Result<Option<String>, ConfigError> {
    for (at, name) in list.iter().enumerate() {
        let path = format!("{key}[{at}]");
        if !units::is_token(name) {
            let problem =
                format!("\"{}\" is not a name, as \"x-api-key\" or \"PUT\" is", name.escape_debug());
            return Err(ConfigError::at(path, problem));
        }
        if name == "*" && credentials {
            let problem = "\"*\" means nothing to browsers where credentials are allowed; list the names";
            return Err(ConfigError::at(path, problem));
        }
    }
    Ok((!list.is_empty()).then(|| list.join(", ")))
}

/// Whether it is a list of header names, of a size that no browser exceeds.
fn is_list(value: &[u8]) -> bool {
    let is_name = |name: &str| name.is_empty() || units::is_token(name);
    let text = std::str::from_utf8(value).ok().filter(|text| !text.is_empty() && text.len() <= 4096);
    text.is_some_and(|text| text.split([',', ' ']).all(is_name))
}

const PRIVATE_NETWORK: &str = "access-control-request-private-network";
