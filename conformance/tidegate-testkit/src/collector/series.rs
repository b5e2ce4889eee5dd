//! Metrics that came by OTLP, as the lines that Prometheus reads.

use std::collections::BTreeMap;

use tidegate_proxy::otlp::{ExportMetricsServiceRequest, KeyValue, Metric, MetricData, NumberValue};

use super::{among, service};

/// Metrics of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The service that sent them.
    pub service: String,
    /// Each metric without its points, by its name.
    pub metrics: BTreeMap<String, Metric>,
    /// Values by name and labels, as they are in Prometheus' text format.
    pub values: BTreeMap<String, f64>,
    /// When the cumulative ones began, in nanoseconds since the Unix epoch.
    pub starts: Vec<u64>,
    /// When it was, in the same way.
    pub time: u64,
}

impl Series {
    /// All of a request.
    pub(super) fn of(request: ExportMetricsServiceRequest) -> Self {
        let mut all = Self {
            service: String::new(),
            metrics: BTreeMap::new(),
            values: BTreeMap::new(),
            starts: Vec::new(),
            time: 0,
        };
        for resource in request.resource_metrics {
            all.service = service(resource.resource);
            for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                all.metric(metric);
            }
        }
        all
    }

    fn metric(&mut self, mut metric: Metric) {
        let name = metric.name.clone();
        match metric.data.take().expect("a metric has points") {
            MetricData::Gauge(gauge) => {
                for point in gauge.data_points {
                    self.value(&name, &point.attributes, None, number(point.value));
                    self.time = point.time_unix_nano;
                }
                metric.data = Some(MetricData::Gauge(Default::default()));
            }
            MetricData::Sum(mut sum) => {
                for point in std::mem::take(&mut sum.data_points) {
                    self.value(&name, &point.attributes, None, number(point.value));
                    self.starts.push(point.start_time_unix_nano);
                }
                metric.data = Some(MetricData::Sum(sum));
            }
            MetricData::Histogram(mut histogram) => {
                for point in std::mem::take(&mut histogram.data_points) {
                    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1, "{name}");
                    let mut below = 0;
                    let bounds = point.explicit_bounds.iter().map(|bound| format!("{bound:?}"));
                    for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&point.bucket_counts) {
                        below += count;
                        self.value(&format!("{name}_bucket"), &point.attributes, Some(&bound), below as f64);
                    }
                    assert_eq!(below, point.count, "{name}");
                    let sum = point.sum.expect("durations have a sum");
                    self.value(&format!("{name}_sum"), &point.attributes, None, sum);
                    self.value(&format!("{name}_count"), &point.attributes, None, point.count as f64);
                    self.starts.push(point.start_time_unix_nano);
                }
                metric.data = Some(MetricData::Histogram(histogram));
            }
            MetricData::ExponentialHistogram(mut histogram) => {
                for point in std::mem::take(&mut histogram.data_points) {
                    let buckets = point.positive.unwrap_or_default();
                    assert_eq!(buckets.bucket_counts.iter().sum::<u64>(), point.count, "{name}");
                    self.value(&format!("{name}_count"), &point.attributes, None, point.count as f64);
                    self.starts.push(point.start_time_unix_nano);
                }
                metric.data = Some(MetricData::ExponentialHistogram(histogram));
            }
            MetricData::Summary(mut summary) => {
                for point in std::mem::take(&mut summary.data_points) {
                    self.value(&format!("{name}_sum"), &point.attributes, None, point.sum);
                    self.value(&format!("{name}_count"), &point.attributes, None, point.count as f64);
                    self.starts.push(point.start_time_unix_nano);
                }
                metric.data = Some(MetricData::Summary(summary));
            }
        }
        let twice = self.metrics.insert(name, metric);
        assert!(twice.is_none(), "{twice:?} is there twice");
    }

    fn value(&mut self, name: &str, attributes: &[KeyValue], bound: Option<&str>, value: f64) {
        let label = |name: &str, text: &str| {
            format!("{name}=\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
        };
        let mut labels: Vec<String> = attributes
            .iter()
            .map(|attribute| {
                let text = among(std::slice::from_ref(attribute), &attribute.key);
                label(&attribute.key, &text.unwrap_or_default())
            })
            .collect();
        labels.extend(bound.map(|bound| label("le", bound)));
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let twice = self.values.insert(format!("{name}{labels}"), value);
        assert!(twice.is_none(), "{name}{labels} is there twice");
    }
}

fn number(value: Option<NumberValue>) -> f64 {
    match value.expect("a point has a value") {
        NumberValue::AsDouble(real) => real,
        NumberValue::AsInt(whole) => whole as f64,
    }
}
