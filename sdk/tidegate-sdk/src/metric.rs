//! Counters, gauges and histograms that the gateway shows with its own.
//!
//! Those with a fixed name are `static` items, registered with the host when first used. Those with labels are made while
//! the filter is configured or when a value of a label is first seen, and kept.

use std::sync::atomic::{AtomicU32, Ordering};

use tidegate_abi::MetricKind;

use crate::host::{self, Refusal};

/// A number that only grows.
///
/// ```
/// use tidegate_sdk::Counter;
///
/// static REFUSED: Counter = Counter::new("refused_total");
///
/// REFUSED.increment();
/// ```
#[derive(Debug)]
pub struct Counter(Metric);

/// A number that goes up and down.
///
/// ```
/// use tidegate_sdk::Gauge;
///
/// static OPEN: Gauge = Gauge::new("sessions_open");
///
/// OPEN.add(1);
/// OPEN.add(-1);
/// ```
#[derive(Debug)]
pub struct Gauge(Metric);

/// A distribution of numbers.
///
/// ```
/// use tidegate_sdk::Histogram;
///
/// static BYTES: Histogram = Histogram::new("upload_bytes");
///
/// BYTES.record(4096);
/// ```
#[derive(Debug)]
pub struct Histogram(Metric);

impl Counter {
    /// A counter of this name: `static REFUSED: Counter = Counter::new("refused_total");`.
    pub const fn new(name: &'static str) -> Self {
        Counter(Metric::new(MetricKind::Counter, name))
    }

    /// A counter with labels, one for each set of values. Make it once and keep it: registering costs more than counting.
    ///
    /// ```
    /// use tidegate_sdk::Counter;
    ///
    /// let denied = Counter::labelled("denied_total", &[("reason", "expired")]);
    /// denied.increment();
    /// ```
    pub fn labelled(name: &str, labels: &[(&str, &str)]) -> Self {
        Counter(Metric::labelled(MetricKind::Counter, name, labels))
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds an amount.
    pub fn add(&self, amount: u32) {
        if amount > 0 {
            self.0.with_id(|id| host::increment_metric(id, i64::from(amount)));
        }
    }

    /// Its value, all instances together; 0 when it is not known.
    pub fn value(&self) -> u64 {
        self.0.value()
    }
}

impl Gauge {
    /// A gauge of this name.
    pub const fn new(name: &'static str) -> Self {
        Gauge(Metric::new(MetricKind::Gauge, name))
    }

    /// A gauge with labels, as [`Counter::labelled`].
    pub fn labelled(name: &str, labels: &[(&str, &str)]) -> Self {
        Gauge(Metric::labelled(MetricKind::Gauge, name, labels))
    }

    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.with_id(|id| host::record_metric(id, value));
    }

    /// Adds an amount, which may be negative.
    pub fn add(&self, amount: i64) {
        self.0.with_id(|id| host::increment_metric(id, amount));
    }

    /// Its value; 0 when it is not known.
    pub fn value(&self) -> u64 {
        self.0.value()
    }
}

impl Histogram {
    /// A histogram of this name.
    pub const fn new(name: &'static str) -> Self {
        Histogram(Metric::new(MetricKind::Histogram, name))
    }

    /// A histogram with labels, as [`Counter::labelled`].
    pub fn labelled(name: &str, labels: &[(&str, &str)]) -> Self {
        Histogram(Metric::labelled(MetricKind::Histogram, name, labels))
    }

    /// Records one value.
    pub fn record(&self, value: u64) {
        self.0.with_id(|id| host::record_metric(id, value));
    }
}

#[derive(Debug)]
struct Metric {
    kind: MetricKind,
    name: Name,
    /// The host's number for it, or [`UNKNOWN`].
    id: AtomicU32,
}

#[derive(Debug)]
enum Name {
    Fixed(&'static str),
    Made(String),
}

const UNKNOWN: u32 = u32::MAX;

impl Metric {
    const fn new(kind: MetricKind, name: &'static str) -> Self {
        Metric { kind, name: Name::Fixed(name), id: AtomicU32::new(UNKNOWN) }
    }

    fn labelled(kind: MetricKind, name: &str, labels: &[(&str, &str)]) -> Self {
        Metric { kind, name: Name::Made(with_labels(name, labels)), id: AtomicU32::new(UNKNOWN) }
    }

    /// A metric that the host refuses is dropped: it must not fail a request.
    fn with_id(&self, act: impl FnOnce(u32) -> Result<(), Refusal>) {
        if let Err(refusal) = self.id().and_then(act) {
            log::debug!("the host does not take the metric {}: {refusal}", self.name());
        }
    }

    fn value(&self) -> u64 {
        self.id().and_then(host::metric).unwrap_or(0)
    }

    fn id(&self) -> Result<u32, Refusal> {
        let known = self.id.load(Ordering::Relaxed);
        // Natively tests run side by side, each with a host of its own.
        if known != UNKNOWN && cfg!(target_arch = "wasm32") {
            return Ok(known);
        }
        let id = host::define_metric(self.kind, self.name())?;
        self.id.store(id, Ordering::Relaxed);
        Ok(id)
    }

    fn name(&self) -> &str {
        match &self.name {
            Name::Fixed(name) => name,
            Name::Made(name) => name,
        }
    }
}

/// The form that Prometheus writes: `name{label="value"}`. The ABI knows names only, so it is part of the name.
fn with_labels(name: &str, labels: &[(&str, &str)]) -> String {
    let mut text = name.to_owned();
    for (at, (label, value)) in labels.iter().enumerate() {
        text.push(if at == 0 { '{' } else { ',' });
        text.push_str(label);
        text.push_str("=\"");
        for char in value.chars() {
            match char {
                '"' | '\\' => text.extend(['\\', char]),
                '\n' => text.push_str("\\n"),
                _ => text.push(char),
            }
        }
        text.push('"');
    }
    if !labels.is_empty() {
        text.push('}');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::with_labels;

    #[test]
    fn labels_are_written_as_prometheus_does() {
        assert_eq!(with_labels("n", &[]), "n");
        assert_eq!(with_labels("n", &[("a", "b"), ("c", "\"\\\n")]), r#"n{a="b",c="\"\\\n"}"#);
    }
}
