//! Tracing as it runs: what is traced, and who sends it, kept as long as the collector is the same.

use tidegate_config::plan::{self, Plan};

use super::build::BuildError;
use super::{Assets, collectors};
use crate::telemetry::otlp::Exporter;
use crate::telemetry::trace::Finished;

/// See the module.
pub(crate) struct Tracing {
    pub(crate) spec: plan::Tracing,
    pub(crate) exporter: Exporter<Finished>,
}

impl Tracing {
    /// None: nothing is traced.
    pub(crate) fn build(
        plan: &Plan,
        assets: &Assets,
        previous: Option<&Self>,
    ) -> Result<Option<Self>, BuildError> {
        let Some(spec) = &plan.tracing else { return Ok(None) };
        let known = previous.iter().map(|tracing| &tracing.exporter);
        let exporter = collectors::exporter(&spec.otlp, assets, known)?;
        Ok(Some(Self { spec: spec.clone(), exporter }))
    }
}
