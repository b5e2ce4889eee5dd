//! Which requests are traced, and where spans go.

use crate::document::TraceFormat;
use std::time::Duration;

/// Traces of requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tracing {
    /// Where spans go.
    pub otlp: Otlp,
    /// How many of the traces that begin here, in a million.
    pub share: u32,
    /// Who asks decides for traces that began before.
    pub follow_parent: bool,
    /// Keeps what failed.
    pub keep_errors: bool,
    /// Keeps what took so long.
    pub keep_slower: Option<Duration>,
    /// Formats that are read.
    pub accept: Vec<TraceFormat>,
    /// Formats that are sent.
    pub send: Vec<TraceFormat>,
}

/// A collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Otlp {
    /// Host and port.
    pub authority: String,
    /// What comes before the paths of OTLP; empty or from a slash on.
    pub path: String,
    /// By gRPC, not by HTTP/1.1.
    pub grpc: bool,
    /// Fields that are sent with each request.
    pub headers: Vec<(String, String)>,
    /// The name of the service.
    pub service: String,
}
