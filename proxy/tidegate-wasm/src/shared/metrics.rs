//! Metrics that guests define: one cell of atomic numbers for each name, counted without a lock.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};
use tidegate_abi::{MetricKind, Status};

/// Metrics of one plugin. What is defined beyond that, or has a name that is too long, is counted nowhere, so that a guest that makes
/// a metric for each client does no harm and goes on.
const METRICS: usize = 4096;

/// Bytes of a name. Who has labels in it, as Istio's statistics have, needs about a thousand.
const NAME_BYTES: usize = 4096;

/// Bytes of all names of a plugin.
const ALL_NAMES: usize = 8 << 20;

/// Upper bounds of a histogram's buckets; mostly guests record milliseconds or bytes.
const BOUNDS: [u64; 20] = [
    1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 10_000_000,
];

/// A metric of a plugin, as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// The plugin's name.
    pub plugin: String,
    /// The name that the guest chose; any text.
    pub name: String,
    /// Its value.
    pub value: MetricValue,
}

/// The value of a metric.
#[derive(Debug, Clone, PartialEq)]
pub enum MetricValue {
    /// Only grows.
    Counter(u64),
    /// Goes up and down.
    Gauge(i64),
    /// How many values there were, by size.
    Histogram {
        /// Upper bound of each bucket, and how many values are not above it.
        buckets: Vec<(u64, u64)>,
        /// How many values.
        count: u64,
        /// All values together.
        sum: u64,
    },
}

/// Where a metric is counted.
pub(crate) enum Cell {
    Counter(AtomicU64),
    Gauge(AtomicI64),
    Histogram(Box<Histogram>),
}

#[derive(Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    sum: AtomicU64,
}

impl Cell {
    fn new(kind: MetricKind) -> Self {
        match kind {
            MetricKind::Counter => Self::Counter(AtomicU64::new(0)),
            MetricKind::Gauge => Self::Gauge(AtomicI64::new(0)),
            MetricKind::Histogram => Self::Histogram(Box::default()),
        }
    }

    /// Adds to a counter or gauge.
    pub(crate) fn increment(&self, by: i64) -> Result<(), Status> {
        match self {
            Self::Counter(cell) if by > 0 => {
                cell.fetch_add(by.unsigned_abs(), Relaxed);
            }
            Self::Gauge(cell) => {
                cell.fetch_add(by, Relaxed);
            }
            _ => return Err(Status::BadArgument),
        }
        Ok(())
    }

    /// Adds to a counter, sets a gauge, counts a value in a histogram.
    pub(crate) fn record(&self, value: i64) {
        let number = u64::try_from(value).unwrap_or(0);
        match self {
            Self::Counter(cell) => {
                cell.fetch_add(number, Relaxed);
            }
            Self::Gauge(cell) => cell.store(value, Relaxed),
            Self::Histogram(cell) => {
                let at = BOUNDS.partition_point(|bound| *bound < number);
                if let Some(bucket) = cell.buckets.get(at) {
                    bucket.fetch_add(1, Relaxed);
                }
                cell.count.fetch_add(1, Relaxed);
                cell.sum.fetch_add(number, Relaxed);
            }
        }
    }

    /// The value as the ABI carries it; a histogram has none.
    pub(crate) fn value(&self) -> Result<u64, Status> {
        match self {
            Self::Counter(cell) => Ok(cell.load(Relaxed)),
            Self::Gauge(cell) => Ok(cell.load(Relaxed).cast_unsigned()),
            Self::Histogram(_) => Err(Status::BadArgument),
        }
    }

    fn read(&self) -> MetricValue {
        match self {
            Self::Counter(cell) => MetricValue::Counter(cell.load(Relaxed)),
            Self::Gauge(cell) => MetricValue::Gauge(cell.load(Relaxed)),
            Self::Histogram(cell) => {
                let mut total = 0;
                let buckets = BOUNDS.iter().zip(&cell.buckets).map(|(bound, bucket)| {
                    total += bucket.load(Relaxed);
                    (*bound, total)
                });
                MetricValue::Histogram {
                    buckets: buckets.collect(),
                    count: cell.count.load(Relaxed),
                    sum: cell.sum.load(Relaxed),
                }
            }
        }
    }
}

/// The metrics of one plugin.
#[derive(Default)]
pub(super) struct Metrics {
    cells: BTreeMap<(String, u32), Arc<Cell>>,
    /// Bytes of the names.
    names: usize,
}

impl Metrics {
    pub(super) fn define(&mut self, kind: MetricKind, name: &[u8]) -> Arc<Cell> {
        if name.len() > NAME_BYTES {
            return Arc::new(Cell::new(kind));
        }
        let key = (String::from_utf8_lossy(name).into_owned(), kind.number());
        if let Some(known) = self.cells.get(&key) {
            return known.clone();
        }
        let (cell, names) = (Arc::new(Cell::new(kind)), self.names + key.0.len());
        if self.cells.len() < METRICS && names <= ALL_NAMES {
            self.names = names;
            self.cells.insert(key, cell.clone());
        }
        cell
    }

    pub(super) fn list(&self, plugin: &str) -> Vec<Metric> {
        let metric = |((name, _), cell): (&(String, u32), &Arc<Cell>)| Metric {
            plugin: plugin.to_owned(),
            name: name.clone(),
            value: cell.read(),
        };
        self.cells.iter().map(metric).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_count_differently() {
        let counter = Cell::new(MetricKind::Counter);
        assert_eq!(counter.increment(2), Ok(()));
        assert_eq!(counter.increment(0), Err(Status::BadArgument));
        assert_eq!(counter.increment(-1), Err(Status::BadArgument));
        counter.record(3);
        assert_eq!(counter.value(), Ok(5));
        let gauge = Cell::new(MetricKind::Gauge);
        gauge.record(7);
        assert_eq!((gauge.increment(-9), gauge.read()), (Ok(()), MetricValue::Gauge(-2)));
        let histogram = Cell::new(MetricKind::Histogram);
        assert_eq!(histogram.increment(1), Err(Status::BadArgument));
        assert_eq!(histogram.value(), Err(Status::BadArgument));
        [1, 3, 20_000_000].into_iter().for_each(|value| histogram.record(value));
        let MetricValue::Histogram { buckets, count, sum } = histogram.read() else { panic!("a histogram") };
        assert_eq!((buckets[0], buckets[2], buckets[19]), ((1, 1), (5, 2), (10_000_000, 2)));
        assert_eq!((count, sum), (3, 20_000_004));
    }

    #[test]
    fn metrics_are_bounded() {
        let mut metrics = Metrics::default();
        for n in 0..METRICS + 10 {
            metrics.define(MetricKind::Counter, n.to_string().as_bytes()).record(1);
        }
        assert_eq!(metrics.list("p").len(), METRICS);
        metrics.define(MetricKind::Counter, b"0").record(1);
        assert!(
            metrics.list("p").iter().any(|m| m.value == MetricValue::Counter(2)),
            "known ones still count"
        );
    }

    /// Istio's statistics write some thirty labels into a name, those that differ at its end.
    #[test]
    fn long_names_that_begin_alike_are_different_metrics() {
        let mut metrics = Metrics::default();
        let name = |end: &str| format!("{}{end}", "label=.=unknown;.;".repeat(50));
        for (end, value) in [("a", 1), ("b", 2), ("a", 4)] {
            metrics.define(MetricKind::Counter, name(end).as_bytes()).record(value);
        }
        let found: Vec<_> = metrics.list("p").into_iter().map(|metric| (metric.name, metric.value)).collect();
        assert_eq!(found, [(name("a"), MetricValue::Counter(5)), (name("b"), MetricValue::Counter(2))]);
        metrics.define(MetricKind::Counter, &[b'a'; NAME_BYTES + 1]).record(1);
        assert_eq!(metrics.list("p").len(), 2, "counted nowhere, rather than under a part of its name");
        for n in 0..METRICS {
            metrics.define(MetricKind::Counter, format!("{n:04000}").as_bytes());
        }
        let bytes: usize = metrics.list("p").iter().map(|metric| metric.name.len()).sum();
        assert!(bytes <= ALL_NAMES && bytes > ALL_NAMES - 4000, "{bytes} bytes of names");
    }
}
