//! `ejection.interval`, `successRate` and `latency`: when a server is worse than the others.

use super::Check;
use crate::document::{
    EjectionDocument, LatencyDocument, LatencyEntry, SuccessRateDocument, SuccessRateEntry,
};
use crate::node::Path;
use crate::plan::{Latency, Outliers, SuccessRate};
use std::time::Duration;

/// How servers are compared; none: they are not.
pub(super) fn outliers(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &EjectionDocument,
) -> Option<Outliers> {
    let interval = check.positive(&path.key("interval"), written.interval, Duration::from_secs(10));
    let defaults = SuccessRateDocument::default();
    let success_rate = match &written.success_rate {
        None | Some(SuccessRateEntry::Switch(false)) => None,
        Some(SuccessRateEntry::Switch(true)) => Some(&defaults),
        Some(SuccessRateEntry::Rule(rule)) => Some(rule),
    };
    let success_rate = success_rate.map(|rule| SuccessRate {
        requests: rule.requests.unwrap_or(100).into(),
        servers: rule.servers.unwrap_or(5) as usize,
        deviations: thousandths(rule.deviations.unwrap_or(1.9)),
    });
    let defaults = LatencyDocument::default();
    let latency = match &written.latency {
        None | Some(LatencyEntry::Switch(false)) => None,
        Some(LatencyEntry::Switch(true)) => Some(&defaults),
        Some(LatencyEntry::Rule(rule)) => Some(rule),
    };
    let place = path.key("latency");
    let latency = latency.map(|rule| Latency {
        requests: rule.requests.unwrap_or(20).into(),
        servers: rule.servers.unwrap_or(3) as usize,
        factor: thousandths(rule.factor.unwrap_or(3.0)),
        quantile: thousandths(rule.quantile.unwrap_or(0.9)),
        least: check.positive(&place.key("least"), rule.least, Duration::from_millis(10)),
    });
    (success_rate.is_some() || latency.is_some()).then_some(Outliers { interval, success_rate, latency })
}

/// What is written is within bounds that were checked.
fn thousandths(number: f64) -> u32 {
    (number * 1000.0).round() as u32
}
