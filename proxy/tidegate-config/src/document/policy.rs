//! What a rule says about time and repeated attempts.

use crate::types::Timeout;
use schemars::JsonSchema;
use serde::Deserialize;

/// Time limits of a rule.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "RuleTimeouts")]
pub struct RuleTimeoutsDocument {
    /// From the request head to the last byte of the answer; `0s`: no limit. Default: no limit.
    pub request: Option<Timeout>,
    /// From sending to the head of the answer, for each attempt; `0s`: no limit. Default: no limit.
    pub attempt: Option<Timeout>,
    /// Longest wait without a byte in either direction. Default: `60s`; on `tcp` and `tls` listeners `1h`.
    pub idle: Option<Timeout>,
}

/// When and how often an attempt is repeated.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Retries")]
pub struct RetriesDocument {
    /// Further attempts after the first; 0: none. Default: 1.
    #[schemars(range(min = 0, max = 100))]
    pub attempts: Option<u32>,
    /// After which outcomes: `connect`, `reset` or a status. Default: `[connect, reset]`; on `tcp` and `tls` listeners
    /// only `connect`.
    pub on: Option<Vec<RetryCondition>>,
    /// How long to wait before another attempt.
    pub backoff: Option<Backoff>,
}

/// An outcome after which another attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RetryCondition {
    /// The request got no answer.
    Word(RetryWord),
    /// A status of an answer.
    Status(#[schemars(range(min = 400, max = 599))] u16),
}

/// How a request got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RetryWord {
    /// No connection.
    Connect,
    /// The connection was lost before any byte of the answer.
    Reset,
}

/// Wait before another attempt; doubled each time.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Backoff {
    /// The first wait. Default: `25ms`.
    pub base: Option<Timeout>,
    /// The longest wait. Default: `250ms`.
    pub max: Option<Timeout>,
}
