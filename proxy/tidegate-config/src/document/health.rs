//! `upstreams.X.health`: how the gateway itself finds out whether a server is well.

use crate::types::Timeout;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How servers are checked.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Health", extend("oneOf" = [
    { "required": ["http"] }, { "required": ["grpc"] }, { "required": ["tcp"] }
]))]
pub struct HealthDocument {
    /// A request and the statuses of a good answer.
    pub http: Option<HttpCheckEntry>,
    /// The health protocol of gRPC; needs HTTP/2.
    pub grpc: Option<GrpcCheckDocument>,
    /// A connection, and maybe bytes; `{}` for a connection only.
    pub tcp: Option<TcpCheckDocument>,
    /// Time between two checks of a server. Default: `10s`.
    pub interval: Option<Timeout>,
    /// The same while it is not settled: a new server, or one whose results differ from its state. Default: `1s`, or
    /// `interval` where that is shorter.
    pub unsettled_interval: Option<Timeout>,
    /// The longest time of a check. Default: `2s`.
    pub timeout: Option<Timeout>,
    /// How far an interval may differ by chance, in percent. Default: 10.
    #[schemars(range(min = 0, max = 50))]
    pub jitter: Option<u32>,
    /// Good results in a row that make a server healthy. Default: 2.
    #[schemars(range(min = 1, max = 1000))]
    pub healthy_after: Option<u32>,
    /// Bad results in a row that make a server unhealthy. Default: 3.
    #[schemars(range(min = 1, max = 1000))]
    pub unhealthy_after: Option<u32>,
    /// What a new server is until it was checked. Default: `healthy`.
    pub initial: Option<InitialHealth>,
    /// The port to check. Default: that of the server.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
}

/// What a new server is until it was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum InitialHealth {
    /// It gets requests at once; one bad result makes it unhealthy.
    Healthy,
    /// It gets requests after its first good result.
    Unhealthy,
}

/// A path, or the details.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HttpCheckEntry {
    /// The path.
    Path(String),
    /// The details.
    Check(HttpCheckDocument),
}

/// A request and the statuses of a good answer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "HttpCheck")]
pub struct HttpCheckDocument {
    /// With a query, if wanted.
    pub path: String,
    /// Default: the server's address.
    pub host: Option<String>,
    /// Default: `GET`.
    pub method: Option<String>,
    /// Header fields by name; secrets by `${env:NAME}` or `${file:path}`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Statuses of a good answer. Default: 200 to 299.
    #[schemars(inner(range(min = 100, max = 599)))]
    pub statuses: Option<Vec<u16>>,
}

/// The health protocol of gRPC.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "GrpcCheck")]
pub struct GrpcCheckDocument {
    /// The service that is asked about. Default: the server as a whole.
    pub service: Option<String>,
    /// The `:authority`. Default: the server's address.
    pub authority: Option<String>,
}

/// A connection, and maybe bytes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "TcpCheck")]
pub struct TcpCheckDocument {
    /// What is sent. Default: nothing.
    pub send: Option<String>,
    /// What must be in what comes back. Default: nothing is waited for.
    pub expect: Option<String>,
}
