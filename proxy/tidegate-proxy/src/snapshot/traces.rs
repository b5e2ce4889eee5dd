//! Tracing as it runs: what is traced, and who sends it, kept as long as the collector is the same.

use tidegate_config::plan::{self, Plan};

use super::build::BuildError;
use crate::telemetry::otlp::Exporter;
use crate::telemetry::trace::Finished;

/// See the module.
pub(crate) struct Tracing {
    pub(crate) spec: plan::Tracing,
    pub(crate) exporter: Exporter<Finished>,
}

impl Tracing {
    /// None: nothing is traced.
    pub(crate) fn build(plan: &Plan, previous: Option<&Self>) -> Result<Option<Self>, BuildError> {
        let Some(spec) = &plan.tracing else { return Ok(None) };
        let same = previous.filter(|tracing| tracing.exporter.is_of(&spec.otlp));
        let exporter = match same {
            Some(tracing) => tracing.exporter.clone(),
            None => Exporter::start(&spec.otlp).map_err(BuildError::plan)?,
        };
        Ok(Some(Self { spec: spec.clone(), exporter }))
    }
}
