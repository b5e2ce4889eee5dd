//! `metrics`: where metrics are pushed to; they are at the admin address in any case.

use super::{OtlpProtocol, UpstreamTls};
use crate::types::Timeout;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Metrics beside the admin API's.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Metrics")]
pub struct MetricsDocument {
    /// Where they are pushed to.
    pub otlp: MetricsOtlpDocument,
}

/// A collector that metrics are pushed to.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "MetricsOtlp")]
pub struct MetricsOtlpDocument {
    /// For instance `http://127.0.0.1:4318` or `https://otlp.example.com`.
    pub endpoint: String,
    /// TLS for an endpoint with `https`. Default: the authorities of the system.
    pub tls: Option<UpstreamTls>,
    /// Default: `http`.
    pub protocol: Option<OtlpProtocol>,
    /// How often. Default: `60s`.
    pub interval: Option<Timeout>,
    /// Fields that are sent with each request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How long one request may take, its connection included. Default: `10s`.
    pub timeout: Option<Timeout>,
    /// Attributes of who sends, for instance `deployment.environment.name`. Default: `service.name`, `service.version`
    /// and `service.instance.id`.
    #[serde(default)]
    pub resource: BTreeMap<String, String>,
    /// Default: `explicit`.
    pub histograms: Option<HistogramsDocument>,
}

/// What durations are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Histograms")]
pub enum HistogramsDocument {
    /// The buckets of `/metrics`.
    Explicit,
    /// Four buckets to a doubling, as Prometheus' native histograms have them.
    Exponential,
}
