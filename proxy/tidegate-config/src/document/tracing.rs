//! `tracing`: which requests are traced, and where spans go.

use super::OtlpDocument;
use crate::types::Timeout;
use schemars::JsonSchema;
use serde::Deserialize;

/// Traces of requests.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Tracing")]
pub struct TracingDocument {
    /// Where spans go.
    pub otlp: OtlpDocument,
    /// The name of the service. Default: `tidegate`.
    pub service: Option<String>,
    /// How many of the traces that begin here, in percent. Default: 1.
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<f64>,
    /// Whether who asks decides for traces that began before. Default: `true`.
    pub follow_parent: Option<bool>,
    /// What is kept although it was not chosen.
    pub keep: Option<KeepDocument>,
    /// Formats of trace headers that are read, the first that there is. Default: `w3c`.
    #[schemars(length(min = 1))]
    pub accept: Option<Vec<TraceFormat>>,
    /// Formats of trace headers that are sent to upstreams. Default: `w3c`.
    #[schemars(length(min = 1))]
    pub send: Option<Vec<TraceFormat>>,
}

/// What is kept at the end although it was not chosen at the beginning.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "KeepTraces")]
pub struct KeepDocument {
    /// What failed, or was answered with 500 or more. Default: `false`.
    pub errors: Option<bool>,
    /// What took at least this long. Default: nothing.
    pub slower_than: Option<Timeout>,
}

/// A format of trace headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TraceFormat {
    /// `traceparent` and `tracestate`.
    W3c,
    /// `b3`.
    B3,
    /// `x-b3-traceid`, `x-b3-spanid`, `x-b3-sampled`, `x-b3-flags`.
    B3Multi,
    /// `uber-trace-id`.
    Jaeger,
}
