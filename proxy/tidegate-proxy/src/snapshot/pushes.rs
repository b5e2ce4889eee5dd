//! The push of metrics as it runs. What is pushed is written where the page of metrics is; who sends it is kept as long as
//! the collector is the same.

use std::time::Duration;

use tidegate_config::plan::Plan;

use super::build::BuildError;
use super::{Assets, collectors};
use crate::telemetry::otlp::metrics::Reading;
use crate::telemetry::otlp::{Counts, Exporter};
use crate::telemetry::page::Page;

/// Sends metrics to a collector, from a thread of its own. Cheap to clone.
#[derive(Clone)]
pub struct MetricsPush {
    exporter: Exporter<Reading>,
    interval: Duration,
    exponential: bool,
}

impl MetricsPush {
    /// None: nothing is pushed.
    pub(super) fn build(
        plan: &Plan,
        assets: &Assets,
        previous: Option<&Self>,
    ) -> Result<Option<Self>, BuildError> {
        let Some(spec) = &plan.metrics else { return Ok(None) };
        let known = previous.iter().map(|push| &push.exporter);
        let exporter = collectors::exporter(&spec.otlp, assets, known)?;
        Ok(Some(Self { exporter, interval: spec.interval, exponential: spec.exponential }))
    }

    /// How often metrics are wanted.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Whether it sends the same to the same collector.
    pub fn is_same(&self, other: &Self) -> bool {
        let own = (self.interval, self.exponential);
        own == (other.interval, other.exponential) && self.exporter.is_same(&other.exporter)
    }

    /// Hands over a page of [`crate::Form::Points`]; times are since the Unix epoch. One that comes while another one
    /// waits is dropped and counted.
    pub fn push(&self, page: Page, started: Duration, at: Duration) {
        let (families, exponential) = (page.into_families(), self.exponential);
        self.exporter.send(Reading { at, started, families, exponential });
    }

    pub(crate) async fn flush(&self) {
        self.exporter.flush().await;
    }

    pub(crate) fn counts(&self) -> Counts {
        self.exporter.counts()
    }
}

impl std::fmt::Debug for MetricsPush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsPush").field("interval", &self.interval).finish_non_exhaustive()
    }
}
