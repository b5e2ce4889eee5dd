//! How a new version takes over: who stays with which, by which steps, and what sends it back.

use crate::types::{ByteSize, Timeout};
use schemars::JsonSchema;
use serde::Deserialize;

/// What keeps a client with the version that it had first.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "StickyBy")]
pub enum StickyEntry {
    /// Something that every request has.
    Word(StickyWord),
    /// Something that a request may have.
    Key(StickyDocument),
}

/// What every request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StickyWord {
    /// The client's address.
    Address,
}

/// A cookie or a header whose value decides. A request without it is shared out like any other.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "StickyKey", extend("oneOf" = [{ "required": ["cookie"] }, { "required": ["header"] }]))]
pub struct StickyDocument {
    /// Name of a cookie.
    pub cookie: Option<String>,
    /// Name of a header.
    pub header: Option<String>,
}

/// A new version that takes over step by step, and goes back by itself when it does worse.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Release")]
pub struct ReleaseDocument {
    /// Name of the upstream that takes over; it is one of `forward`.
    pub to: String,
    /// Its share of requests in percent, step by step. Default: `[1, 10, 50, 100]`.
    #[schemars(length(min = 1))]
    pub steps: Option<Vec<f64>>,
    /// How long a step lasts at least. Default: `5m`.
    pub interval: Option<Timeout>,
    /// Requests that the new version must have had in a step before it is judged well. Default: 100.
    #[schemars(range(min = 1))]
    pub min_requests: Option<u64>,
    /// What sends the new version back.
    pub rollback_on: Option<RollbackDocument>,
}

/// Bounds; a new version that does not keep one of them goes back.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "RollbackOn")]
pub struct RollbackDocument {
    /// Failed requests in percent: answers of 500 and above, and requests without one. Default: 5.
    #[schemars(range(min = 0, max = 100))]
    pub error_percent: Option<f64>,
    /// So many percent points more than the old version. Default: 1.
    #[schemars(range(min = 0, max = 100))]
    pub error_percent_over_old: Option<f64>,
    /// The time to the head of an answer that 99 of 100 requests keep. Default: none.
    pub p99: Option<Timeout>,
    /// The same as a multiple of the old version's; 0: any. Default: 2.
    #[schemars(range(min = 0, max = 1000))]
    pub p99_over_old: Option<f64>,
    /// Calls in which a module broke off or met a limit; only for plugins. Default: 0.
    pub failures: Option<u64>,
}

/// Another module for a share of the requests of a plugin.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(
    rename = "Canary",
    extend("oneOf" = [{ "required": ["percent"] }, { "required": ["steps"] }])
)]
pub struct CanaryDocument {
    /// Where the new version comes from, written like the plugin's own.
    pub module: String,
    /// Digest that it must have, in hexadecimal.
    pub sha256: Option<String>,
    /// What it is configured with. Default: as the plugin.
    #[serde(default)]
    pub config: Option<serde_json::Value>,
    /// Its share of requests, in percent, until the document says otherwise.
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<f64>,
    /// Its share of requests in percent, step by step.
    #[schemars(length(min = 1))]
    pub steps: Option<Vec<f64>>,
    /// How long a step lasts at least. Default: `5m`.
    pub interval: Option<Timeout>,
    /// Requests that it must have had in a step before it is judged well. Default: 100.
    #[schemars(range(min = 1))]
    pub min_requests: Option<u64>,
    /// What keeps a client with one version. Default: nothing.
    pub sticky_by: Option<StickyEntry>,
    /// What sends it back.
    pub rollback_on: Option<RollbackDocument>,
}

/// One upstream that gets copies of requests, or several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Mirrors")]
pub enum MirrorEntry {
    /// One.
    One(MirrorDocument),
    /// Several; each has its own share.
    Several(#[schemars(length(min = 1))] Vec<MirrorDocument>),
}

/// Copies of requests. What becomes of a copy changes nothing for the request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Mirror")]
pub struct MirrorDocument {
    /// Name of the upstream that gets the copies.
    pub upstream: String,
    /// Share of requests that are copied. Default: 100.
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<f64>,
    /// Put at the end of the host's name, before the port: `-shadow`. Default: the host stays as it is.
    pub host_suffix: Option<String>,
    /// Longest time of a copy, from the request's head to the last byte of the answer. Default: `10s`.
    pub timeout: Option<Timeout>,
    /// Copies on their way at one time in the whole gateway; beyond it none is made. Default: 128.
    #[schemars(range(min = 1, max = 65536))]
    pub limit: Option<u32>,
    /// Bytes of a body that a copy may be behind the request before it is given up. Default: `512KiB`.
    pub buffer: Option<ByteSize>,
}
