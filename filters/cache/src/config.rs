//! The filter's configuration as it is written.

use serde::{Deserialize, Serialize};
use tidegate_sdk::ConfigError;
use tidegate_sdk::units::{Size, Span};

/// The JSON Schema of the configuration.
#[cfg(not(target_family = "wasm"))]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Config)
}

/// Keeps responses and answers from them, by RFC 9111.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// The cache's name in `cache-status`.
    #[serde(default = "name")]
    pub name: String,
    /// The largest body that is kept, at most 4MiB.
    #[serde(default = "entry_size")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    pub entry_size: Size,
    /// What all kept responses of the plugin may take together, at most 60MiB. Older ones make room.
    #[serde(default = "total_size")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    pub total_size: Size,
    /// Places for responses, at most 30000. Two that fall into one place replace each other.
    #[serde(default = "entries")]
    pub entries: u32,
    /// Whether responses without a lifetime of their own are fresh for a tenth of their age since `last-modified`, at most a day.
    #[serde(default)]
    pub heuristic: bool,
    /// Whether `cache-control` of requests counts: `respect`; or `ignore`, so that clients cannot go past the cache.
    #[serde(default)]
    pub request_directives: RequestDirectives,
    /// For how long a stale response may be given while one request gets a new one, where the response itself does not say.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    pub stale_while_revalidate: Option<Span>,
    /// For how long a stale response may be given in place of 500, 502, 503 or 504, where the response itself does not say.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    pub stale_if_error: Option<Span>,
    /// Requests for the same that wait for the first one's response.
    #[serde(default)]
    pub coalesce: Coalesce,
    /// Where stale responses are got anew in the background within `staleWhileRevalidate`: every request is then answered
    /// at once. Without it the first request that finds one stale gets the new one, and waits for it.
    pub refresh: Option<Refresh>,
    /// Who may take responses out of the cache; without it nobody.
    pub purge: Option<Purge>,
}

/// What counts of requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum RequestDirectives {
    /// Their `cache-control` and `pragma`.
    #[default]
    Respect,
    /// None, but `only-if-cached` and `no-store`.
    Ignore,
}

/// How requests wait for another's response.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Coalesce {
    /// How long; then they go to the upstream themselves. `0s` for not at all.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    pub wait: Span,
    /// How many on each worker; more go to the upstream.
    pub waiters: u32,
}

impl Default for Coalesce {
    fn default() -> Self {
        Coalesce { wait: Span::seconds(5), waiters: 1000 }
    }
}

/// Where stale responses are got anew in the background.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Refresh {
    /// The upstream, by its name; the plugin must have it in `capabilities.upstreams`.
    pub upstream: String,
    /// How long to wait for the response. Default: `5s`.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    pub timeout: Option<Span>,
}

/// Requests that take a response out of the cache.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Purge {
    /// Their method.
    #[serde(default = "purge_method")]
    pub method: String,
    /// What they have as `authorization: Bearer TOKEN`, at least 16 characters.
    pub token: String,
    /// The header of responses that lists their tags, divided by spaces or commas; `purge-tags: TAG TAG` takes out all
    /// that have one of them.
    #[serde(default = "tag_header")]
    pub tag_header: String,
}

impl Config {
    /// Checks what types cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if self.name.is_empty()
            || !self.name.bytes().all(token)
            || !self.name.starts_with(|c: char| c.is_ascii_alphabetic())
        {
            return Err(ConfigError::at("name", "is not a name, as \"tidegate\" is"));
        }
        if self.entry_size.0 == 0 || self.entry_size.0 > 4 << 20 {
            return Err(ConfigError::at("entrySize", "must be between 1 and 4MiB"));
        }
        if self.total_size.0 < self.entry_size.0 || self.total_size.0 > 60 << 20 {
            return Err(ConfigError::at(
                "totalSize",
                "must be at least entrySize and at most 60MiB, since shared data ends at 64MiB",
            ));
        }
        if self.entries == 0 || self.entries > 30_000 {
            return Err(ConfigError::at("entries", "must be between 1 and 30000"));
        }
        match &self.purge {
            Some(purge) if purge.token.len() < 16 => {
                Err(ConfigError::at("purge.token", "must have at least 16 characters"))
            }
            Some(purge)
                if matches!(
                    purge.method.as_str(),
                    "" | "GET" | "HEAD" | "POST" | "PUT" | "OPTIONS" | "CONNECT"
                ) =>
            {
                Err(ConfigError::at("purge.method", "must be a method of its own, as PURGE is"))
            }
            _ => Ok(()),
        }
    }
}

fn name() -> String {
    "tidegate".to_owned()
}

fn entry_size() -> Size {
    Size(512 << 10)
}

fn total_size() -> Size {
    Size(32 << 20)
}

const fn entries() -> u32 {
    8192
}

fn tag_header() -> String {
    "cache-tag".to_owned()
}

fn purge_method() -> String {
    "PURGE".to_owned()
}
