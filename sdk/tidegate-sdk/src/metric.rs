//! Counters, gauges and histograms that the gateway shows with its own.
//!
//! They are made as `static` items and registered with the host when first used.

use std::sync::atomic::{AtomicU32, Ordering};

use tidegate_abi::MetricKind;

use crate::host::{self, Failure};

/// A number that only grows.
#[derive(Debug)]
pub struct Counter(Metric);

/// A number that goes up and down.
#[derive(Debug)]
pub struct Gauge(Metric);

/// A distribution of numbers.
#[derive(Debug)]
pub struct Histogram(Metric);

impl Counter {
    /// A counter of this name: `static REFUSED: Counter = Counter::new("refused_total");`.
    pub const fn new(name: &'static str) -> Self {
        Counter(Metric::new(MetricKind::Counter, name))
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds an amount.
    pub fn add(&self, amount: u32) {
        self.0.with_id(|id| host::increment_metric(id, i64::from(amount)));
    }
}

impl Gauge {
    /// A gauge of this name.
    pub const fn new(name: &'static str) -> Self {
        Gauge(Metric::new(MetricKind::Gauge, name))
    }

    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.with_id(|id| host::record_metric(id, value));
    }

    /// Adds an amount, which may be negative.
    pub fn add(&self, amount: i64) {
        self.0.with_id(|id| host::increment_metric(id, amount));
    }
}

impl Histogram {
    /// A histogram of this name.
    pub const fn new(name: &'static str) -> Self {
        Histogram(Metric::new(MetricKind::Histogram, name))
    }

    /// Records one value.
    pub fn record(&self, value: u64) {
        self.0.with_id(|id| host::record_metric(id, value));
    }
}

#[derive(Debug)]
struct Metric {
    kind: MetricKind,
    name: &'static str,
    /// The host's number for it, or [`UNKNOWN`].
    id: AtomicU32,
}

const UNKNOWN: u32 = u32::MAX;

impl Metric {
    const fn new(kind: MetricKind, name: &'static str) -> Self {
        Metric { kind, name, id: AtomicU32::new(UNKNOWN) }
    }

    /// A metric that the host refuses is dropped: it must not fail a request.
    fn with_id(&self, act: impl FnOnce(u32) -> Result<(), Failure>) {
        let known = self.id.load(Ordering::Relaxed);
        let id = if known == UNKNOWN { host::define_metric(self.kind, self.name) } else { Ok(known) };
        let outcome = id.and_then(|id| {
            self.id.store(id, Ordering::Relaxed);
            act(id)
        });
        if let Err(failure) = outcome {
            log::debug!("the host does not take the metric {}: {failure}", self.name);
        }
    }
}
