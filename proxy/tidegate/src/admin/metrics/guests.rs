//! The metrics that guests define, under names that Prometheus takes.

mod labels;

use std::collections::{BTreeMap, BTreeSet};

use tidegate_proxy::{Buckets, Kind, Page};
use tidegate_wasm::{Metric, MetricValue};

/// A metric with its name taken apart.
struct Series<'a> {
    metric: &'a Metric,
    /// As the guest gives it, without labels.
    name: &'a str,
    labels: Vec<(&'a str, String)>,
}

/// Writes all of them, each under `tidegate_guest_` and its name.
pub(super) fn write(page: &mut Page, metrics: &[Metric]) {
    let mut by_name: BTreeMap<(String, &'static str), Vec<Series<'_>>> = BTreeMap::new();
    for metric in metrics {
        let (given, labels) = labels::split(&metric.name).unwrap_or((&metric.name, Vec::new()));
        let series = Series { metric, name: given, labels };
        let (kind, word) = kind(&metric.value);
        by_name.entry((name(given, kind), word)).or_default().push(series);
    }
    let mut used = BTreeSet::new();
    for ((mut name, word), metrics) in by_name {
        // Two plugins may give one name to metrics of two kinds; to Prometheus a name has one.
        while used.contains(&name) {
            name = format!("{name}_{word}");
        }
        let Some(kind) = metrics.first().map(|first| kind(&first.metric.value).0) else { continue };
        page.metric(&name, kind, "Defined by a plugin.");
        // A counter that is called so by its guest keeps its name, one that got the ending here gives way.
        let given = name.strip_prefix(PREFIX).unwrap_or_default();
        let taken = metrics.iter().any(|series| series.name == given);
        let stem = if taken { given } else { given.strip_suffix(TOTAL).unwrap_or(given) };
        for series in &metrics {
            sample(page, series, series.name == stem);
        }
        used.insert(name);
    }
}

/// `plain`: the metric's name tells the guest's.
fn sample(page: &mut Page, series: &Series<'_>, plain: bool) {
    let mut labels = vec![("plugin", series.metric.plugin.as_str())];
    // Different names must stay different.
    if !plain {
        labels.push(("name", series.name));
    }
    labels.extend(series.labels.iter().map(|(label, value)| (*label, value.as_str())));
    match &series.metric.value {
        MetricValue::Counter(value) => page.sample(&labels, *value),
        MetricValue::Gauge(value) => page.sample(&labels, *value),
        MetricValue::Histogram { buckets, count, sum } => {
            let below = buckets.iter().map(|(bound, below)| (*bound as f64, *below)).collect();
            page.buckets(&labels, &Buckets { below, count: *count, sum: *sum as f64 });
        }
    }
}

fn kind(value: &MetricValue) -> (Kind, &'static str) {
    match value {
        MetricValue::Counter(_) => (Kind::Counter, "counter"),
        MetricValue::Gauge(_) => (Kind::Gauge, "gauge"),
        MetricValue::Histogram { .. } => (Kind::Histogram, "histogram"),
    }
}

fn name(name: &str, kind: Kind) -> String {
    let valid = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    let name: String = PREFIX.chars().chain(name.chars().map(valid)).collect();
    if kind == Kind::Counter && !name.ends_with(TOTAL) { name + TOTAL } else { name }
}

const PREFIX: &str = "tidegate_guest_";

/// What the name of a counter ends in.
const TOTAL: &str = "_total";

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_proxy::Form;

    fn text(metrics: &[(&str, &str, MetricValue)]) -> String {
        let metric = |(plugin, name, value): &(&str, &str, MetricValue)| Metric {
            plugin: (*plugin).to_owned(),
            name: (*name).to_owned(),
            value: value.clone(),
        };
        let mut page = Page::new(Form::Prometheus);
        write(&mut page, &metrics.iter().map(metric).collect::<Vec<_>>());
        page.into_text()
            .lines()
            .filter(|line| !line.starts_with("# HELP"))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    #[test]
    fn one_name_of_two_plugins_is_one_metric() {
        let metrics = [("a", "hits", MetricValue::Counter(1)), ("b", "hits", MetricValue::Counter(2))];
        let expected = "\
# TYPE tidegate_guest_hits_total counter
tidegate_guest_hits_total{plugin=\"a\"} 1
tidegate_guest_hits_total{plugin=\"b\"} 2
";
        assert_eq!(text(&metrics), expected);
    }

    #[test]
    fn labels_of_guests_are_labels() {
        let metrics = [
            ("a", r#"denied{reason="expired"}"#, MetricValue::Counter(1)),
            ("a", r#"denied{reason="no \"key\""}"#, MetricValue::Counter(2)),
        ];
        let expected = "\
# TYPE tidegate_guest_denied_total counter
tidegate_guest_denied_total{plugin=\"a\",reason=\"expired\"} 1
tidegate_guest_denied_total{plugin=\"a\",reason=\"no \\\"key\\\"\"} 2
";
        assert_eq!(text(&metrics), expected);
    }

    #[test]
    fn names_that_prometheus_cannot_take_stay_different() {
        let metrics = [("a", "x.y", MetricValue::Gauge(-1)), ("a", "x_y", MetricValue::Gauge(2))];
        let expected = "\
# TYPE tidegate_guest_x_y gauge
tidegate_guest_x_y{plugin=\"a\",name=\"x.y\"} -1
tidegate_guest_x_y{plugin=\"a\"} 2
";
        assert_eq!(text(&metrics), expected);
    }

    #[test]
    fn kinds_do_not_share_a_name() {
        let metrics = [("a", "n", MetricValue::Counter(1)), ("b", "n", MetricValue::Gauge(2))];
        let text = text(&metrics);
        assert!(text.contains("# TYPE tidegate_guest_n_total counter\n"), "{text}");
        assert!(text.contains("# TYPE tidegate_guest_n gauge\n"), "{text}");
    }

    #[test]
    fn a_histogram_ends_with_all_values() {
        let value = MetricValue::Histogram { buckets: vec![(1, 0), (5, 2)], count: 3, sum: 11 };
        let expected = "\
# TYPE tidegate_guest_h histogram
tidegate_guest_h_bucket{plugin=\"a\",le=\"1.0\"} 0
tidegate_guest_h_bucket{plugin=\"a\",le=\"5.0\"} 2
tidegate_guest_h_bucket{plugin=\"a\",le=\"+Inf\"} 3
tidegate_guest_h_sum{plugin=\"a\"} 11
tidegate_guest_h_count{plugin=\"a\"} 3
";
        assert_eq!(text(&[("a", "h", value)]), expected);
    }
}
