//! What a rule says about time and repeated attempts.

use super::HedgeDocument;
use crate::types::{ByteSize, Timeout};
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
    /// From the head of the answer to its end, or to that of an upgraded connection; `0s`: no limit. Default: no limit.
    pub stream: Option<Timeout>,
    /// `grpc-timeout` of gRPC calls is heeded, lowered to what is left, and passed on. Default: `false`.
    pub grpc_deadline: Option<bool>,
    /// The same for `x-request-deadline` of any request: the milliseconds that are left. Default: `false`.
    pub request_deadline: Option<bool>,
}

/// When and how often an attempt is repeated.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Retries")]
pub struct RetriesDocument {
    /// Further attempts after the first; 0: none. Default: 1.
    #[schemars(range(min = 0, max = 100))]
    pub attempts: Option<u32>,
    /// After which outcomes: a word or a status. Default: `[connect, reset]`; on `tcp` and `tls` listeners only
    /// `connect`.
    pub on: Option<Vec<RetryCondition>>,
    /// How long to wait before another attempt.
    pub backoff: Option<Backoff>,
    /// The longest `retry-after` of an answer that is waited for; an answer with a longer one is passed on. Default: `1s`.
    pub retry_after: Option<Timeout>,
    /// Bytes of a request's body that are kept so that it can be sent again; 0: none. Default: `64KiB`.
    pub body_limit: Option<ByteSize>,
    /// Requests are repeated whatever their method; only for servers that bear it. Default: `false`.
    pub non_idempotent: Option<bool>,
    /// Requests may say by `x-tidegate-retry-on` after which outcomes they are repeated. Default: `false`.
    pub by_header: Option<bool>,
    /// Another attempt beside one that takes long, for idempotent methods. Default: none.
    pub hedge: Option<HedgeDocument>,
}

/// An outcome after which another attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RetryCondition {
    /// An outcome that has a name.
    Word(RetryWord),
    /// A status of an answer.
    Status(#[schemars(range(min = 400, max = 599))] u16),
}

/// An outcome that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RetryWord {
    /// No connection.
    Connect,
    /// The connection was lost before any byte of the answer.
    Reset,
    /// The attempt took longer than `timeouts.attempt`.
    Timeout,
    /// Any status of 500 and more.
    #[serde(rename = "5xx")]
    ServerErrors,
    /// 409.
    Retriable4xx,
    /// gRPC status 1, in an answer without messages.
    Cancelled,
    /// gRPC status 4.
    DeadlineExceeded,
    /// gRPC status 8.
    ResourceExhausted,
    /// gRPC status 13.
    Internal,
    /// gRPC status 14.
    Unavailable,
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
