//! Which requests are traced, and where spans go.

use super::Otlp;
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
