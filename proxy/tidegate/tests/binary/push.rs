//! Metrics by OTLP: a collector gets what `/metrics` shows, with the same names, types and values.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidegate_testkit::{Collector, MetricData, Series};

use crate::process::{Folder, Gateway};

const CONFIGURATION: &str = "\
admin: { address: 127.0.0.1:0 }
workers: 2
metrics:
  otlp: { endpoint: 'http://COLLECTOR', interval: 100ms, headers: { x-key: secret }, resource: { service.name: edge }MORE }
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
routes:
  - name: all
    rules:
      - { matches: [{ path: { prefix: /lost } }], forward: [{ upstream: lost }] }
      - { respond: { body: hello } }
upstreams: { lost: { servers: [\"127.0.0.1:1\"] } }
";

fn start(name: &str, collector: &str, more: &str) -> (Folder, Gateway) {
    let folder = Folder::new(name);
    folder.write("a.yaml", CONFIGURATION.replace("COLLECTOR", collector).replace("MORE", more));
    let gateway = Gateway::start(&folder, "a.yaml");
    for _ in 0..3 {
        assert_eq!(gateway.get("/"), (200, "hello".to_owned()));
    }
    assert_eq!(gateway.get("/lost").0, 503);
    (folder, gateway)
}

/// Waits for so many pushes and returns the last of them.
fn pushes(collector: &Collector, count: usize) -> Series {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let mut all = collector.series();
        if all.len() >= count {
            return all.remove(count - 1);
        }
        assert!(Instant::now() < deadline, "{} pushes of {count}", all.len());
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Values of the page by name and labels, and types by name.
fn shown(gateway: &Gateway) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
    let page = gateway.admin("/metrics").1;
    let (mut values, mut types) = (BTreeMap::new(), BTreeMap::new());
    for line in page.lines() {
        if let Some(metric) = line.strip_prefix("# TYPE ") {
            let (name, kind) = metric.split_once(' ').expect("name and type");
            types.insert(name.to_owned(), kind.to_owned());
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').expect("series and value");
            values.insert(series.to_owned(), value.parse().expect("a number"));
        }
    }
    (values, types)
}

fn both_agree(name: &str, collector: Collector, more: &str) {
    let (_folder, gateway) = start(name, &collector.address().to_string(), more);
    let (before, types) = shown(&gateway);
    // The next one may have been read before the page was.
    let push = pushes(&collector, collector.series().len() + 2);
    let (after, _) = shown(&gateway);
    let still: BTreeMap<_, _> =
        before.into_iter().filter(|(key, value)| after.get(key) == Some(value)).collect();
    assert!(still.len() > 100, "nothing happens between the two: {}", still.len());
    // What reads the process counts what the reading itself opens.
    for (series, value) in still.iter().filter(|(series, _)| !series.starts_with("process_")) {
        assert_eq!(push.values.get(series), Some(value), "{series}");
    }
    for series in push.values.keys() {
        assert!(after.contains_key(series), "{series} is pushed, but not shown");
    }
    assert_eq!(push.values.get("tidegate_responses_total{listener=\"web\",class=\"2xx\"}"), Some(&3.0));
    assert_eq!(push.service, "edge");
    for (name, metric) in &push.metrics {
        let kind = match metric.data.as_ref().expect("it has points") {
            MetricData::Gauge(_) => "gauge",
            MetricData::Sum(sum) => {
                assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{name}");
                "counter"
            }
            MetricData::Histogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality, 2, "{name}");
                "histogram"
            }
            MetricData::Summary(_) => "summary",
            MetricData::ExponentialHistogram(_) => "another one",
        };
        assert_eq!(types.get(name).map(String::as_str), Some(kind), "{name}");
        assert!(!metric.description.is_empty(), "{name}");
        let unit = match name.trim_end_matches("_total") {
            name if name.ends_with("_seconds") => "s",
            name if name.ends_with("_bytes") => "By",
            _ => "",
        };
        assert_eq!(metric.unit, unit, "{name}");
    }
    // Everything counts from the start of the process or later, and until now.
    let since = after["tidegate_uptime_seconds"];
    let early = push.time - (since * 1e9) as u64 - 1_000_000_000;
    assert!(push.starts.iter().all(|start| (early..=push.time).contains(start)), "{:?}", push.starts);
    // Where the collector is slow one may be lost behind another that waits, but all that count have come.
    let counted = after["tidegate_metrics_pushes_total"];
    assert!((1.0..=collector.series().len() as f64).contains(&counted), "{counted}");
    if let Collector::Http(upstream) = &collector {
        let requests = upstream.requests();
        assert!(requests.iter().all(|request| request.target() == "/v1/metrics"));
        assert_eq!(requests[0].header("x-key"), Some("secret"));
        assert!(!gateway.admin("/config").1.contains("secret"));
    }
}

#[test]
fn the_push_and_the_page_agree() {
    both_agree("push-http", Collector::http(), "");
}

#[test]
fn the_same_by_grpc() {
    both_agree("push-grpc", Collector::grpc(), ", protocol: grpc");
}

#[test]
fn durations_may_have_exponential_buckets() {
    let collector = Collector::http();
    let (_folder, gateway) =
        start("push-fine", &collector.address().to_string(), ", histograms: exponential");
    let push = pushes(&collector, collector.series().len() + 2);
    let name = "tidegate_request_duration_seconds";
    let metric = &push.metrics[name];
    assert!(matches!(metric.data, Some(MetricData::ExponentialHistogram(_))), "{metric:?}");
    assert_eq!(push.values[&format!("{name}_count{{listener=\"web\"}}")], 4.0);
    drop(gateway);
}

/// A collector that is away matters to no request, and what it did not get is counted.
#[test]
fn a_collector_that_is_away_matters_to_no_request() {
    let (_folder, gateway) = start("push-away", "127.0.0.1:1", "");
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let (values, _) = shown(&gateway);
        if values["tidegate_metrics_pushes_lost_total"] >= 2.0 {
            assert_eq!(values["tidegate_metrics_pushes_total"], 0.0);
            break;
        }
        assert!(Instant::now() < deadline, "no push was lost");
        std::thread::park_timeout(Duration::from_millis(5));
    }
    assert_eq!(gateway.get("/"), (200, "hello".to_owned()));
}

/// What happened just before the end reaches the collector all the same, and so do the last counts.
#[test]
fn the_end_waits_for_the_collector() {
    let collector = Collector::http();
    let folder = Folder::new("push-end");
    let configuration = CONFIGURATION.replace("interval: 100ms", "interval: 1h").replace("MORE", "");
    let otlp = "{ endpoint: 'http://COLLECTOR', resource: { service.name: edge } }";
    let configuration =
        format!("{configuration}tracing: {{ otlp: {otlp}, percent: 100 }}\naccessLog: {{ otlp: {otlp} }}\n");
    folder.write("a.yaml", configuration.replace("COLLECTOR", &collector.address().to_string()));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.get("/"), (200, "hello".to_owned()));
    gateway.signal("TERM");
    assert!(gateway.ended().success());
    assert_eq!((collector.records().len(), collector.spans().len()), (1, 1));
    let series = collector.series();
    assert_eq!(series.len(), 1);
    assert_eq!(series[0].values["tidegate_responses_total{listener=\"web\",class=\"2xx\"}"], 1.0);
}
