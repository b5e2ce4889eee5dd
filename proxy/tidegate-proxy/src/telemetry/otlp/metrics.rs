//! A page of metrics, with the names, types and values that it has for Prometheus.
//! <https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>

use std::collections::HashMap;
use std::time::Duration;

use prost::Message as _;

use super::messages::any_value::Value as Any;
use super::messages::{
    AnyValue, Exemplar, ExponentialBuckets, ExponentialHistogram, ExponentialHistogramDataPoint,
    ExportMetricsServiceRequest, Gauge, Histogram, HistogramDataPoint, KeyValue, Metric, MetricData,
    NumberDataPoint, NumberValue, Resource, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
};
use super::{Signal, Way, resource};
use crate::telemetry::page::{Buckets, Durations, Family, Kind, Number, Point, Value};

/// All metrics at one moment.
pub(crate) struct Reading {
    /// Since the Unix epoch, as all times here.
    pub(crate) at: Duration,
    /// When what is counted began.
    pub(crate) started: Duration,
    pub(crate) families: Vec<Family>,
    /// Durations go with OpenTelemetry's exponential buckets, not with those of the page.
    pub(crate) exponential: bool,
}

impl Signal for Reading {
    const WAY: Way = Way {
        name: "metrics",
        http: "/v1/metrics",
        grpc: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    };
    // The next one says everything that this one does.
    const WAITING: usize = 1;
    const TOGETHER: usize = 1;

    type State = Starts;

    fn count(&self) -> u64 {
        1
    }

    fn request(starts: &mut Starts, resource: &Resource, batch: Vec<Self>) -> Vec<u8> {
        let Some(reading) = batch.into_iter().next_back() else { return Vec::new() };
        let all = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(resource.clone()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(resource::scope()),
                    metrics: starts.metrics(reading),
                }],
                schema_url: resource::SCHEMA.to_owned(),
            }],
        };
        all.encode_to_vec()
    }
}

/// Cumulative, not the difference to the one before.
const CUMULATIVE: i32 = 2;
/// Four buckets to a doubling.
const SCALE: i32 = 2;

/// Since when each series counts: one that is new, or less than it was, has begun after the reading before.
#[derive(Default)]
pub(crate) struct Starts {
    before: Option<Duration>,
    series: HashMap<String, Series>,
}

struct Series {
    start: Duration,
    value: f64,
    /// The reading that had it last.
    seen: Duration,
}

/// What all points of a reading share.
struct Times<'a> {
    starts: &'a mut Starts,
    at: Duration,
    started: Duration,
}

impl Starts {
    fn metrics(&mut self, reading: Reading) -> Vec<Metric> {
        let Reading { at, started, families, exponential } = reading;
        let mut times = Times { starts: self, at, started };
        let metrics = families.into_iter().filter(|family| !family.points.is_empty());
        let metrics = metrics.map(|family| metric(family, exponential, &mut times)).collect();
        self.before = Some(at);
        self.series.retain(|_, series| series.seen == at);
        metrics
    }
}

impl Times<'_> {
    /// When this series began, by its value now.
    fn start(&mut self, name: &str, labels: &[(String, String)], value: f64) -> u64 {
        let mut key = name.to_owned();
        for (label, text) in labels {
            key.extend(["\0", label, "\0", text]);
        }
        let since = self.starts.before.unwrap_or(self.started);
        let seen = self.at;
        let series = self.starts.series.entry(key).or_insert(Series { start: since, value, seen });
        if value < series.value {
            series.start = since;
        }
        (series.value, series.seen) = (value, seen);
        nanos(series.start)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn metric(family: Family, exponential: bool, times: &mut Times<'_>) -> Metric {
    let Family { name, kind, help, points } = family;
    let has_buckets = points.iter().any(|point| matches!(point.value, Value::Durations(_)));
    let data = match kind {
        Kind::Counter => MetricData::Sum(Sum {
            data_points: points.into_iter().filter_map(|point| number(&name, point, times, true)).collect(),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        Kind::Gauge => MetricData::Gauge(Gauge {
            data_points: points.into_iter().filter_map(|point| number(&name, point, times, false)).collect(),
        }),
        Kind::Histogram if exponential && has_buckets => {
            let points = points.into_iter().filter_map(|point| fine(&name, point, times));
            let (data_points, aggregation_temporality) = (points.collect(), CUMULATIVE);
            MetricData::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
        }
        Kind::Histogram => {
            let points = points.into_iter().filter_map(|point| explicit(&name, point, times));
            let (data_points, aggregation_temporality) = (points.collect(), CUMULATIVE);
            MetricData::Histogram(Histogram { data_points, aggregation_temporality })
        }
        Kind::Summary => MetricData::Summary(Summary {
            data_points: points.into_iter().filter_map(|point| summary(&name, point, times)).collect(),
        }),
    };
    Metric { unit: unit(&name).to_owned(), name, description: help, data: Some(data) }
}

/// By the units that Prometheus has in names, in those of UCUM.
fn unit(name: &str) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    match name.rsplit('_').next() {
        Some("seconds") => "s",
        Some("bytes") => "By",
        _ => "",
    }
}

fn number(name: &str, point: Point, times: &mut Times<'_>, counts: bool) -> Option<NumberDataPoint> {
    let Value::Number(number) = point.value else { return None };
    let (value, real) = match number {
        Number::Whole(whole) => (NumberValue::AsInt(i64::try_from(whole).unwrap_or(i64::MAX)), whole as f64),
        Number::Signed(whole) => (NumberValue::AsInt(whole), whole as f64),
        Number::Real(real) => (NumberValue::AsDouble(real), real),
    };
    Some(NumberDataPoint {
        start_time_unix_nano: if counts { times.start(name, &point.labels, real) } else { 0 },
        time_unix_nano: nanos(times.at),
        value: Some(value),
        attributes: attributes(point.labels),
    })
}

fn explicit(name: &str, point: Point, times: &mut Times<'_>) -> Option<HistogramDataPoint> {
    let (Buckets { below, count, sum }, exemplars) = match point.value {
        Value::Buckets(buckets) => (buckets, Vec::new()),
        Value::Durations(durations) => (durations.buckets, exemplars(durations.exemplars)),
        Value::Number(_) => return None,
    };
    let mut before = 0;
    let all = below.iter().map(|(_, below)| *below).chain([count]);
    let bucket_counts = all.map(|below| below.saturating_sub(std::mem::replace(&mut before, below)));
    Some(HistogramDataPoint {
        start_time_unix_nano: times.start(name, &point.labels, count as f64),
        time_unix_nano: nanos(times.at),
        count,
        sum: Some(sum),
        bucket_counts: bucket_counts.collect(),
        explicit_bounds: below.iter().map(|(bound, _)| *bound).collect(),
        exemplars,
        attributes: attributes(point.labels),
    })
}

fn fine(name: &str, point: Point, times: &mut Times<'_>) -> Option<ExponentialHistogramDataPoint> {
    let Value::Durations(Durations { buckets, first, counts, exemplars: all }) = point.value else {
        return None;
    };
    // Most are empty at both ends.
    let empty = counts.iter().take_while(|count| **count == 0).count();
    let end = counts.iter().rposition(|count| *count > 0).map_or(empty, |last| last + 1);
    let bucket_counts = counts.get(empty..end).unwrap_or_default().to_vec();
    let offset = first.saturating_add(i32::try_from(empty).unwrap_or(0));
    Some(ExponentialHistogramDataPoint {
        start_time_unix_nano: times.start(name, &point.labels, buckets.count as f64),
        time_unix_nano: nanos(times.at),
        count: buckets.count,
        sum: Some(buckets.sum),
        scale: SCALE,
        zero_count: 0,
        positive: Some(ExponentialBuckets { offset, bucket_counts }),
        exemplars: exemplars(all),
        attributes: attributes(point.labels),
    })
}

fn summary(name: &str, point: Point, times: &mut Times<'_>) -> Option<SummaryDataPoint> {
    let Value::Buckets(Buckets { count, sum, .. }) = point.value else { return None };
    Some(SummaryDataPoint {
        start_time_unix_nano: times.start(name, &point.labels, count as f64),
        time_unix_nano: nanos(times.at),
        count,
        sum,
        attributes: attributes(point.labels),
    })
}

/// Trace, duration and when, in seconds since the Unix epoch.
fn exemplars(all: Vec<(u128, Duration, Duration)>) -> Vec<Exemplar> {
    let one = |(trace, took, noted): (u128, Duration, Duration)| Exemplar {
        time_unix_nano: nanos(noted),
        as_double: took.as_secs_f64(),
        trace_id: trace.to_be_bytes().to_vec(),
    };
    all.into_iter().map(one).collect()
}

fn attributes(labels: Vec<(String, String)>) -> Vec<KeyValue> {
    let one = |(key, text)| KeyValue { key, value: Some(AnyValue { value: Some(Any::StringValue(text)) }) };
    labels.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: Duration = Duration::from_secs(100);

    fn family(name: &str, kind: Kind, label: &str, value: Value) -> Family {
        let labels = vec![("route".to_owned(), label.to_owned())];
        let (name, help) = (name.to_owned(), "What.".to_owned());
        Family { name, kind, help, points: vec![Point { labels, value }] }
    }

    fn read(starts: &mut Starts, at: u64, families: Vec<Family>) -> Vec<Metric> {
        let at = Duration::from_secs(at);
        starts.metrics(Reading { at, started: STARTED, families, exponential: false })
    }

    fn whole(number: u64) -> Value {
        Value::Number(Number::Whole(number))
    }

    /// Start in seconds of the only point of a sum.
    fn start(metrics: &[Metric]) -> u64 {
        let Some(MetricData::Sum(sum)) = &metrics[0].data else { panic!("{metrics:?}") };
        sum.data_points[0].start_time_unix_nano / 1_000_000_000
    }

    #[test]
    fn a_series_counts_since_it_began() {
        let mut starts = Starts::default();
        let count = |label: &str, number| vec![family("a_total", Kind::Counter, label, whole(number))];
        for (at, label, number, expected) in [
            (110, "x", 5, 100),
            (120, "x", 5, 100),
            // It began anew.
            (130, "x", 4, 120),
            (140, "x", 9, 120),
            // Another one.
            (150, "y", 1, 140),
            // It was gone in between.
            (160, "x", 10, 150),
        ] {
            assert_eq!(start(&read(&mut starts, at, count(label, number))), expected, "{at}");
        }
        assert_eq!(starts.series.len(), 1, "what is gone is forgotten");
    }

    #[test]
    fn kinds_names_and_units_are_kept() {
        let mut starts = Starts::default();
        let buckets = Buckets { below: vec![(0.5, 1), (1.0, 3)], count: 7, sum: 9.5 };
        let durations = Durations {
            buckets: buckets.clone(),
            first: -57,
            counts: vec![0, 0, 3, 0, 4, 0],
            exemplars: vec![(0xab, Duration::from_millis(300), Duration::from_secs(105))],
        };
        let all = || {
            vec![
                family("a_bytes_total", Kind::Counter, "x", whole(3)),
                family("b", Kind::Gauge, "x", Value::Number(Number::Signed(-3))),
                family("c_seconds", Kind::Histogram, "x", Value::Durations(durations.clone())),
                family("d_seconds", Kind::Summary, "x", Value::Buckets(buckets.clone())),
                Family { points: Vec::new(), ..family("none", Kind::Gauge, "x", whole(0)) },
            ]
        };
        let metrics = read(&mut starts, 110, all());
        let named: Vec<_> =
            metrics.iter().map(|metric| (metric.name.as_str(), metric.unit.as_str())).collect();
        assert_eq!(named, [("a_bytes_total", "By"), ("b", ""), ("c_seconds", "s"), ("d_seconds", "s")]);
        let Some(MetricData::Sum(sum)) = &metrics[0].data else { panic!("{:?}", metrics[0]) };
        assert!(sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE);
        assert_eq!(sum.data_points[0].value, Some(NumberValue::AsInt(3)));
        let Some(MetricData::Gauge(gauge)) = &metrics[1].data else { panic!("{:?}", metrics[1]) };
        assert_eq!(gauge.data_points[0].value, Some(NumberValue::AsInt(-3)));
        let Some(MetricData::Histogram(histogram)) = &metrics[2].data else { panic!("{:?}", metrics[2]) };
        let point = &histogram.data_points[0];
        assert_eq!((&*point.explicit_bounds, &*point.bucket_counts), (&[0.5, 1.0][..], &[1, 2, 4][..]));
        assert_eq!((point.count, point.sum, point.exemplars[0].as_double), (7, Some(9.5), 0.3));
        let Some(MetricData::Summary(summary)) = &metrics[3].data else { panic!("{:?}", metrics[3]) };
        assert_eq!((summary.data_points[0].count, summary.data_points[0].sum), (7, 9.5));

        let (at, families) = (Duration::from_secs(120), all());
        let metrics = starts.metrics(Reading { at, started: STARTED, families, exponential: true });
        let Some(MetricData::ExponentialHistogram(fine)) = &metrics[2].data else {
            panic!("{:?}", metrics[2])
        };
        let point = &fine.data_points[0];
        let expected = ExponentialBuckets { offset: -55, bucket_counts: vec![3, 0, 4] };
        assert_eq!((point.scale, point.count, &point.positive), (SCALE, 7, &Some(expected)));
    }
}
