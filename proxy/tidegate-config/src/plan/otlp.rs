//! Collectors that speak OTLP.

use super::ClientTls;
use std::time::Duration;

/// A collector.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Otlp {
    /// Host and port.
    pub authority: String,
    /// By TLS; none: in clear text.
    pub tls: Option<ClientTls>,
    /// What comes before the paths of OTLP; empty or from a slash on.
    pub path: String,
    /// By gRPC, not by HTTP/1.1.
    pub grpc: bool,
    /// Fields that are sent with each request.
    pub headers: Vec<(String, String)>,
    /// How long one request may take, its connection included.
    pub timeout: Duration,
    /// When a request is sent again.
    pub retries: OtlpRetries,
    /// Attributes of who sends; the service's name is among them.
    pub resource: Vec<(String, String)>,
}

/// When a request is sent again that a collector did not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OtlpRetries {
    /// Further attempts.
    pub attempts: u32,
    /// The wait before the first of them; each one is twice as long.
    pub base: Duration,
    /// The longest wait.
    pub max: Duration,
}
