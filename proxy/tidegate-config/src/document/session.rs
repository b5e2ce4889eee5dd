//! `session` of an upstream or of a rule: requests of one client stay at one server.

use crate::types::Timeout;
use schemars::JsonSchema;
use serde::Deserialize;

/// Requests of one client stay at one server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(
    rename = "Session",
    extend(
        "oneOf" = [{ "required": ["cookie"] }, { "required": ["header"] }],
        "not" = { "required": ["key", "keys"] },
        "dependentRequired" = {
            "lifetime": ["cookie"], "path": ["cookie"], "sameSite": ["cookie"], "secure": ["cookie"]
        }
    )
)]
pub struct SessionDocument {
    /// Name of the cookie by which a client is known.
    pub cookie: Option<String>,
    /// Name of the header by which a client is known that keeps no cookies: answers have it, requests bring it back.
    pub header: Option<String>,
    /// How long clients keep the cookie. Default: `session`.
    pub lifetime: Option<SessionLifetime>,
    /// A session ends this long after it began. Default: never; a permanent cookie needs one.
    pub absolute_timeout: Option<Timeout>,
    /// A session ends after so long without a request. Default: never.
    pub idle_timeout: Option<Timeout>,
    /// Below which path clients send the cookie. Default: `/`.
    pub path: Option<String>,
    /// With which requests of other sites clients send the cookie. Default: `lax`.
    pub same_site: Option<SameSiteWord>,
    /// Whether clients send the cookie over TLS only. Default: when they got it over TLS.
    pub secure: Option<bool>,
    /// What cookies are sealed with; by `${env:NAME}` or `${file:path}`. Gateways with the same key know each other's
    /// sessions, and theirs from before a restart. Default: a random one for each start.
    pub key: Option<String>,
    /// Several of these in place of one, so that keys can be changed while sessions go on: the first one seals, all open.
    #[schemars(length(min = 1, max = 8))]
    pub keys: Option<Vec<String>>,
}

/// How long clients keep a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SessionLifetime {
    /// Until they are closed.
    Session,
    /// For `absoluteTimeout`.
    Permanent,
}

/// With which requests of other sites clients send a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SameSiteWord {
    /// Where the user follows a link.
    Lax,
    /// None.
    Strict,
    /// All; over TLS only.
    None,
}
