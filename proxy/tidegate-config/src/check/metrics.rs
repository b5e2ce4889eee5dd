//! `metrics`.

use super::Check;
use super::otlp::otlp;
use crate::document::{
    HistogramsDocument, MetricsDocument, MetricsOtlpDocument, OtlpDocument, OtlpRetriesDocument,
};
use crate::node::Path;
use crate::plan::MetricsPush;
use std::time::Duration;

pub(super) fn metrics(check: &mut Check<'_>, written: &MetricsDocument, service: &str) -> MetricsPush {
    let place = Path::ROOT.key("metrics");
    let place = place.key("otlp");
    let MetricsOtlpDocument { endpoint, tls, protocol, interval, headers, timeout, resource, histograms } =
        written.otlp.clone();
    // The next push says everything that this one does.
    let retries = Some(OtlpRetriesDocument { attempts: Some(0), backoff: None });
    let collector = OtlpDocument { endpoint, tls, protocol, headers, timeout, retries, resource };
    MetricsPush {
        otlp: otlp(check, &place, &collector, service),
        interval: check.positive(&place.key("interval"), interval, Duration::from_secs(60)),
        exponential: histograms == Some(HistogramsDocument::Exponential),
    }
}
