//! The filter's configuration as it is written.

use serde::{Deserialize, Serialize};
use tidegate_sdk::units::Span;

/// The JSON Schema of the configuration.
#[cfg(not(target_family = "wasm"))]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Config)
}

/// Decides which other origins browsers may read a service from.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Who may read, at least one: `https://app.example.com` exactly; `https://*.example.com` for everything below a
    /// name; `http://localhost:*` on any port; `{ regex }`; `null` for documents without an origin; `*` for everybody.
    pub origins: Vec<Origin>,
    /// Methods that a preflight allows; `*` for all. Browsers send GET, HEAD and POST without being allowed.
    #[serde(default = "methods")]
    pub methods: Vec<String>,
    /// Request headers that a preflight allows: a list of names, `*` in it for all but `authorization`; or the word
    /// `mirror` for all that the browser asks for.
    #[serde(default)]
    pub headers: Headers,
    /// Response headers that scripts may read besides those that they always may; `*` for all.
    #[serde(default)]
    pub exposed_headers: Vec<String>,
    /// How long browsers may keep the answer to a preflight; they have limits of their own. Without it: 5 seconds.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    pub max_age: Option<Span>,
    /// Whether requests may carry cookies and other credentials. `*` is then not possible anywhere.
    #[serde(default)]
    pub credentials: bool,
    /// Whether a page of a public network may reach this service in a private one (`access-control-request-private-network`).
    #[serde(default)]
    pub private_network: bool,
    /// What happens to requests of other origins: `pass` sends them to the upstream and gives the answer without CORS
    /// headers, so that browsers do not show it; `refuse` answers 403.
    #[serde(default)]
    pub other_origins: OtherOrigins,
}

/// An entry of `origins`.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "expected an origin as \"https://app.example.com\", or { regex }")]
pub enum Origin {
    /// An origin, one with a `*`, `null`, or `*`.
    Text(String),
    /// A pattern.
    #[serde(rename_all = "camelCase")]
    Pattern(Pattern),
}

/// An origin by a pattern.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    /// A regular expression that the whole origin must match, in time that grows with its length only.
    pub regex: String,
}

/// Request headers that are allowed.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "expected a list of header names, or the word mirror")]
pub enum Headers {
    /// Their names.
    List(Vec<String>),
    /// Whatever is asked for.
    Mirror(Mirror),
}

impl Default for Headers {
    fn default() -> Self {
        Headers::List(Vec::new())
    }
}

/// The word.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Mirror {
    /// All headers that the browser asks for.
    Mirror,
}

/// What happens to requests of origins that are not allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum OtherOrigins {
    /// They reach the upstream; the answer has no CORS headers.
    #[default]
    Pass,
    /// They are answered with 403.
    Refuse,
}

fn methods() -> Vec<String> {
    ["GET", "HEAD", "POST"].map(str::to_owned).to_vec()
}
