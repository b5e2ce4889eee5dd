//! `upstreams.NAME.balance` and what else decides which server a request goes to.

use crate::types::Timeout;
use schemars::JsonSchema;
use serde::Deserialize;

/// A method, or a method with its details.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum BalanceEntry {
    /// With its defaults.
    Method(BalanceMethod),
    /// With these.
    Rule(BalanceDocument),
}

/// How a server is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BalanceMethod {
    /// In turn, by weight.
    RoundRobin,
    /// The one with fewest requests of some random ones.
    LeastRequest,
    /// The one of two random ones whose answer is likely to come first.
    PeakEwma,
    /// Any, by weight.
    Random,
    /// By a hash of the request, on a ring.
    RingHash,
    /// By a hash of the request, in a table.
    Maglev,
}

/// How a server is chosen, with its details.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Balance")]
pub struct BalanceDocument {
    /// The method.
    pub method: BalanceMethod,
    /// `leastRequest`: of how many random servers. Default: 2.
    #[schemars(range(min = 1, max = 16))]
    pub choices: Option<u32>,
    /// `peakEwma`: after this time without answers a latency counts for a third. Default: `10s`.
    pub decay: Option<Timeout>,
    /// `ringHash` and `maglev`: what a request is known by; the first one that it has. Default: the client's address.
    #[schemars(length(min = 1))]
    pub hash: Option<Vec<HashEntry>>,
    /// `ringHash` and `maglev`: no server gets more than this share of the mean load, in percent; further requests go to
    /// the next one. Default: no bound.
    #[schemars(range(min = 101, max = 10_000))]
    pub bounded_load: Option<u32>,
}

/// Something that a request is known by.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HashEntry {
    /// Of the connection.
    Word(HashWord),
    /// Of the request's head.
    Part(HashDocument),
}

/// What a connection is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HashWord {
    /// The client's address, without its port.
    Address,
}

/// A part of a request's head.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(
    rename = "HashPart",
    extend(
        "oneOf" = [{ "required": ["header"] }, { "required": ["cookie"] }, { "required": ["query"] }]
    )
)]
pub struct HashDocument {
    /// The value of a header.
    pub header: Option<String>,
    /// The value of a cookie.
    pub cookie: Option<String>,
    /// The value of a query parameter.
    pub query: Option<String>,
}
