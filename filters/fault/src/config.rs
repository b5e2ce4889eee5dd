//! The filter's configuration as it is written.

use serde::{Deserialize, Serialize};
use tidegate_request_parts::Match;
use tidegate_sdk::units::{Size, Span};

/// The JSON Schema of the configuration.
#[cfg(not(target_family = "wasm"))]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Config)
}

/// Injects faults into a part of the requests: delays, aborts, slow, truncated and corrupted bodies.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// What is done to which requests; the first entry whose `match` fits counts.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// Lets requests ask for faults by `x-tidegate-fault-*` headers. Without it these headers are not looked at.
    pub by_header: Option<ByHeader>,
    /// Makes what is drawn repeatable: with the same seed, the same requests in the same order meet the same faults.
    /// Each worker counts its own requests. Without it nobody can foretell them.
    pub seed: Option<u64>,
    /// A header whose value decides, together with `seed`, what a request meets, in place of the order in which requests
    /// come: the same value meets the same on every worker and gateway. A request without it is drawn as usual.
    pub decide_by: Option<String>,
    /// How many requests may be under a fault at the same time, over all workers and all rules of the plugin. A request
    /// beyond that meets none.
    #[serde(default = "max_active")]
    pub max_active: u32,
}

/// Faults for a part of the requests. Each kind is drawn for itself.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Which requests; without it, all.
    pub r#match: Option<Match<Path>>,
    /// Holds the request back before anything else happens to it.
    pub delay: Option<Delay>,
    /// Answers in place of the upstream, after the delay, if there is one.
    pub abort: Option<Abort>,
    /// Slows bodies down.
    pub bandwidth: Option<Bandwidth>,
    /// Ends a body too early.
    pub truncate: Option<Truncate>,
    /// Changes bytes of a body.
    pub corrupt: Option<Corrupt>,
}

/// A path.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Path {
    /// This path.
    Exact(String),
    /// This path and everything below it, by whole segments.
    Prefix(String),
}

/// A delay: one of `fixed`, `uniform`, `normal` and `exponential`.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Delay {
    /// How many of the requests, in percent; fractions are allowed.
    #[serde(default = "all")]
    pub percent: f64,
    /// Always as long.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    pub fixed: Option<Span>,
    /// Equally likely between two ends.
    pub uniform: Option<Uniform>,
    /// Around a mean.
    pub normal: Option<Normal>,
    /// Mostly short, now and then long.
    pub exponential: Option<Exponential>,
}

/// Equally likely between two ends.
#[derive(Debug, Clone, Copy, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Uniform {
    /// The shortest delay.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    pub min: Span,
    /// The longest delay.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    pub max: Span,
}

/// Around a mean; what would be less than nothing is nothing.
#[derive(Debug, Clone, Copy, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Normal {
    /// The mean.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    pub mean: Span,
    /// The standard deviation.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    pub deviation: Span,
    /// The cap; what would be longer is as long as this.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    pub max: Span,
}

/// Exponentially distributed.
#[derive(Debug, Clone, Copy, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Exponential {
    /// The mean, before the cap.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    pub mean: Span,
    /// The cap; what would be longer is as long as this.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    pub max: Span,
}

/// An abort: one of `status`, `grpcStatus` and `reset`.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Abort {
    /// How many of the requests, in percent; fractions are allowed.
    #[serde(default = "all")]
    pub percent: f64,
    /// The HTTP status of the answer, 200 to 599.
    pub status: Option<u16>,
    /// The gRPC status of the answer, 1 to 16. A client that speaks gRPC gets it with the message in an answer without a
    /// body; others get the HTTP status that corresponds to it.
    pub grpc_status: Option<u32>,
    /// Breaks the exchange off without an answer.
    #[serde(default)]
    pub reset: bool,
    /// The answer's text, or the gRPC message.
    #[serde(default = "message")]
    pub message: String,
}

/// Slow bodies: `up`, `down` or both.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bandwidth {
    /// How many of the requests, in percent; fractions are allowed.
    #[serde(default = "all")]
    pub percent: f64,
    /// Bytes of the request's body in a second, towards the upstream; as `64KiB`.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    pub up: Option<Size>,
    /// Bytes of the response's body in a second, towards the client.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    pub down: Option<Size>,
}

/// A body that ends too early.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Truncate {
    /// How many of the requests, in percent; fractions are allowed.
    #[serde(default = "all")]
    pub percent: f64,
    /// How many bytes go on.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    pub after: Size,
    /// Of which body.
    #[serde(default)]
    pub body: Which,
    /// Whether an announced length stays, so that the transfer breaks off; with `false` the body just ends, and only
    /// whoever reads it can notice.
    #[serde(default = "yes")]
    pub keep_length: bool,
}

/// Changed bytes.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Corrupt {
    /// How many of the requests, in percent; fractions are allowed.
    #[serde(default = "all")]
    pub percent: f64,
    /// One byte of so many is changed, on the average, at least one of that many.
    pub every: u32,
    /// Of which body.
    #[serde(default)]
    pub body: Which,
}

/// One of the two bodies of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Which {
    /// The client's.
    Request,
    /// The upstream's.
    #[default]
    Response,
}

/// What requests may ask for by headers, and how much of it; what is left out they may not. A value beyond its limit is
/// brought back to it. The headers go no further than this filter.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ByHeader {
    /// Allows `x-tidegate-fault-delay: 250ms`, up to this.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    pub max_delay: Option<Span>,
    /// Allows `x-tidegate-fault-abort: 503`, `grpc 14` and `reset`.
    #[serde(default)]
    pub abort: bool,
    /// Allows `x-tidegate-fault-up: 64KiB` and `x-tidegate-fault-down: 64KiB`, bytes in a second, down to this.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    pub min_bandwidth: Option<Size>,
    /// Allows `x-tidegate-fault-truncate: 100`, bytes of the response that go on.
    #[serde(default)]
    pub truncate: bool,
    /// Allows `x-tidegate-fault-corrupt: 50`: one byte of so many in the response is changed.
    #[serde(default)]
    pub corrupt: bool,
    /// How many of the requests that ask, in percent.
    #[serde(default = "all")]
    pub percent: f64,
    /// Who may ask: a request that does not fit is treated as one that does not ask.
    pub r#match: Option<Match<Path>>,
}

fn max_active() -> u32 {
    1000
}

fn all() -> f64 {
    100.0
}

fn yes() -> bool {
    true
}

fn message() -> String {
    "fault injected".to_owned()
}
