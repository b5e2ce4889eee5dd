//! What an upstream says about repetitions, its limits and its connections.

use crate::types::Timeout;
use schemars::JsonSchema;
use serde::Deserialize;

/// Another attempt beside one that takes long; the first good answer wins.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Hedge")]
pub struct HedgeDocument {
    /// How long after the attempt before.
    pub after: Timeout,
    /// How many beside the first. Default: 1.
    #[schemars(range(min = 1, max = 8))]
    pub attempts: Option<u32>,
}

/// How many of the attempts at an upstream may be repetitions.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "RetryBudget")]
pub struct RetryBudgetDocument {
    /// Share of the requests of the last ten seconds. Default: 20.
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<f64>,
    /// Repetitions a second that are allowed in any case. Default: 3.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub min: Option<u32>,
}

/// A limit of requests in flight that follows the servers' latency.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AdaptiveLimit")]
pub struct AdaptiveDocument {
    /// Never less, on each worker. Default: 4.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub min: Option<u32>,
    /// Where it begins, on each worker. Default: 20.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub start: Option<u32>,
    /// How much more latency than the best is borne, in percent. Default: 25.
    #[schemars(range(min = 1, max = 1000))]
    pub tolerance: Option<f64>,
    /// How often the limit is set anew. Default: `100ms`.
    pub window: Option<Timeout>,
    /// How often the best latency is measured anew. Default: `30s`.
    pub probe: Option<Timeout>,
}

/// How connections to servers are kept.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Pool")]
pub struct PoolDocument {
    /// Connections to each server that are opened ahead and kept open, over all workers. Default: 0.
    #[schemars(range(min = 0, max = 1024))]
    pub warm: Option<u32>,
    /// Requests at one time on an HTTP/2 connection; the server may allow fewer. Default: 100.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub streams: Option<u32>,
    /// How long a connection takes new requests. Default: no limit.
    pub max_age: Option<Timeout>,
    /// How many requests a connection takes. Default: no limit.
    #[schemars(range(min = 1))]
    pub max_requests: Option<u64>,
    /// Whether each address of a name is a server of its own, or all of them are one. Default: `each`.
    pub addresses: Option<PoolAddresses>,
    /// With `addresses: one`: how long an address is waited for before the next is tried beside it. Default: `250ms`.
    pub stagger: Option<Timeout>,
}

/// What the addresses of a name are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PoolAddresses {
    /// A server each.
    Each,
    /// One server, which is reached by whichever address answers first.
    One,
}
