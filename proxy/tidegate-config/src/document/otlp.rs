//! `otlp`: where spans, metrics and records of logs go.

use super::UpstreamTls;
use crate::types::Timeout;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A collector that speaks OTLP.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Otlp")]
pub struct OtlpDocument {
    /// For instance `http://127.0.0.1:4318` or `https://otlp.example.com`.
    pub endpoint: String,
    /// TLS for an endpoint with `https`. Default: the authorities of the system.
    pub tls: Option<UpstreamTls>,
    /// Default: `http`.
    pub protocol: Option<OtlpProtocol>,
    /// Fields that are sent with each request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How long one request may take, its connection included. Default: `10s`.
    pub timeout: Option<Timeout>,
    /// What the collector did not take is sent again.
    pub retries: Option<OtlpRetriesDocument>,
    /// Attributes of who sends, for instance `deployment.environment.name`. Default: `service.name`, `service.version`
    /// and `service.instance.id`.
    #[serde(default)]
    pub resource: BTreeMap<String, String>,
}

/// How a collector is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OtlpProtocol {
    /// Protobuf over HTTP/1.1.
    Http,
    /// gRPC.
    Grpc,
}

/// When something is sent to a collector again.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "OtlpRetries")]
pub struct OtlpRetriesDocument {
    /// Further attempts after the first; 0: none. Default: 5.
    #[schemars(range(min = 0, max = 100))]
    pub attempts: Option<u32>,
    /// How long to wait before another attempt.
    pub backoff: Option<OtlpBackoffDocument>,
}

/// Wait before something is sent again; doubled each time.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "OtlpBackoff")]
pub struct OtlpBackoffDocument {
    /// The first wait. Default: `1s`.
    pub base: Option<Timeout>,
    /// The longest wait. Default: `30s`.
    pub max: Option<Timeout>,
}
