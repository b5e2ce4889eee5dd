//! OTLP over TLS: traces, metrics and records reach the collector that the configuration trusts, and no other.

use tidegate_testkit::{Authority, Collector, RawClient, TestGateway, fill};

const EDGE: &str = "
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
routes: [{ name: all, rules: [{ respond: { body: hello } }] }]
tracing: { otlp: ${otlp}, percent: 100, service: edge }
metrics: { otlp: ${metrics} }
accessLog: { otlp: ${otlp} }
";

/// A gateway that sends everything to this collector, which is to be `collector.test` by the authority in `ca.pem`.
fn start(collector: &Collector, ca: &str) -> TestGateway {
    let protocol = if matches!(collector, Collector::Grpc(_)) { "grpc" } else { "http" };
    let metrics = format!(
        "{{ endpoint: 'https://{}', protocol: {protocol}, headers: {{ authorization: Bearer s3cret }}, \
         tls: {{ ca: ca.pem, serverName: collector.test }}",
        collector.address()
    );
    let otlp = format!("{metrics}, retries: {{ attempts: 0 }} }}");
    let metrics = format!("{metrics} }}");
    let yaml = fill(EDGE, &[("otlp", &otlp), ("metrics", &metrics)]);
    TestGateway::start_with(&yaml, &[("ca.pem", ca.as_bytes())])
}

fn get(gateway: &TestGateway) {
    let mut client = RawClient::connect(gateway.address("web"));
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
}

fn everything_comes(authority: &Authority, collector: &Collector) {
    let gateway = start(collector, &authority.pem());
    get(&gateway);
    gateway.push_metrics();
    gateway.wait("all of it", |_| {
        collector.spans().len() == 1 && collector.records().len() == 1 && collector.series().len() == 1
    });
    let (service, span) = collector.spans().remove(0);
    let (_, record) = collector.records().remove(0);
    assert_eq!((&*service, &span.trace_id, &span.span_id), ("edge", &record.trace_id, &record.span_id));
    let series = collector.series().remove(0);
    assert_eq!(series.values["tidegate_requests_total{listener=\"web\"}"], 1.0);
    assert_eq!(series.service, "edge");
    if let Collector::Http(upstream) = collector {
        let requests = upstream.requests();
        assert_eq!(requests.len(), 3);
        assert!(requests.iter().all(|request| request.header("authorization") == Some("Bearer s3cret")));
    }
}

#[test]
fn everything_comes_by_https() {
    let authority = Authority::new();
    everything_comes(&authority, &Collector::https(&authority.issue(&["collector.test"])));
}

#[test]
fn everything_comes_by_grpc() {
    let authority = Authority::new();
    everything_comes(&authority, &Collector::grpc_tls(&authority.issue(&["collector.test"])));
}

/// Neither one of another authority nor one of another name is told anything; a reload with what is right is enough.
#[test]
fn nobody_else_is_told_anything() {
    let (authority, other) = (Authority::new(), Authority::new());
    for certificate in [other.issue(&["collector.test"]), authority.issue(&["other.test"])] {
        let collector = Collector::https(&certificate);
        let gateway = start(&collector, &authority.pem());
        get(&gateway);
        gateway.push_metrics();
        for name in [
            "tidegate_spans_lost_total",
            "tidegate_access_log_lost_total",
            "tidegate_metrics_pushes_lost_total",
        ] {
            gateway.wait(name, |gateway| gateway.metric(name, "") == 1.0);
        }
        assert!(collector.spans().is_empty() && collector.records().is_empty());
    }
}

/// Another file under the same name is another authority.
#[test]
fn another_authority_is_taken_with_a_reload() {
    let (old, new) = (Authority::new(), Authority::new());
    let collector = Collector::https(&new.issue(&["collector.test"]));
    let gateway = start(&collector, &old.pem());
    get(&gateway);
    gateway.wait("it to be lost", |gateway| gateway.metric("tidegate_spans_lost_total", "") == 1.0);
    gateway.put_file("ca.pem", new.pem().as_bytes());
    let address = collector.address();
    let otlp = format!(
        "{{ endpoint: 'https://{address}', tls: {{ ca: ca.pem, serverName: collector.test }}, retries: {{ attempts: 0 }} }}"
    );
    let metrics = format!("{{ endpoint: 'https://{address}', tls: {{ ca: ca.pem }} }}");
    gateway.reload(&fill(EDGE, &[("otlp", &otlp), ("metrics", &metrics)]));
    get(&gateway);
    gateway.wait("a span", |_| collector.spans().len() == 1);
}
