//! Where metrics are pushed to.

use super::Otlp;
use std::time::Duration;

/// A push of metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsPush {
    /// Where to.
    pub otlp: Otlp,
    /// How often.
    pub interval: Duration,
    /// Durations go with exponential buckets, not with those of `/metrics`.
    pub exponential: bool,
}
