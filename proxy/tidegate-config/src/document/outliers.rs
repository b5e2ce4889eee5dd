//! `ejection.successRate` and `ejection.latency` of an upstream: when a server is worse than the others.

use crate::types::Timeout;
use schemars::JsonSchema;
use serde::Deserialize;

/// A switch, or the details.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SuccessRateEntry {
    /// On with the defaults, or off.
    Switch(bool),
    /// On, with these.
    Rule(SuccessRateDocument),
}

/// Servers that fail much more often than the others.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "SuccessRate")]
pub struct SuccessRateDocument {
    /// A server is looked at when it had so many requests in an interval. Default: 100.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: Option<u32>,
    /// Servers are compared when so many can be looked at. Default: 5.
    #[schemars(range(min = 2, max = 10_000))]
    pub servers: Option<u32>,
    /// How many standard deviations below the others is too low. Default: 1.9.
    #[schemars(range(min = 0.1, max = 100))]
    pub deviations: Option<f64>,
}

/// A switch, or the details.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LatencyEntry {
    /// On with the defaults, or off.
    Switch(bool),
    /// On, with these.
    Rule(LatencyDocument),
}

/// Servers that are much slower than the others.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Latency")]
pub struct LatencyDocument {
    /// A server is looked at when it had so many requests in an interval. Default: 20.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests: Option<u32>,
    /// Servers are compared when so many can be looked at. Default: 3.
    #[schemars(range(min = 2, max = 10_000))]
    pub servers: Option<u32>,
    /// How many times the median of the others is too slow. Default: 3.
    #[schemars(range(min = 1.1, max = 1000))]
    pub factor: Option<f64>,
    /// What is compared: the time within which this share of the answers came. Default: 0.9.
    #[schemars(range(min = 0.5, max = 0.999))]
    pub quantile: Option<f64>,
    /// A server that answers within this time is never slow. Default: `10ms`.
    pub least: Option<Timeout>,
}
