//! Access logs by OTLP: a collector gets a record for each exchange and connection, again where it could not take it.

use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_testkit::{
    Answer, Collector, GrpcStep, GrpcUpstream, KeyValue, LogRecord, RawClient, ScriptedUpstream, State,
    TestGateway, among, fill,
};

const ROUTES: &str = "
listeners:
  - { name: web, address: 127.0.0.1:0, protocol: http }
  - { name: bytes, address: 127.0.0.1:0, protocol: tcp }
routes:
  - name: shop
    listeners: [web]
    rules:
      - { matches: [{ path: { prefix: /lost } }], forward: [{ upstream: lost }] }
      - { name: up, forward: [{ upstream: up }] }
  - { name: through, listeners: [bytes], rules: [{ forward: [{ upstream: up }] }] }
upstreams:
  up: { servers: ['${up}'] }
  lost: { servers: ['127.0.0.1:1'] }
";

struct Lab {
    up: ScriptedUpstream,
    gateway: TestGateway,
}

/// A gateway with these logs; `COLLECTOR` is where the collector is.
fn start(logs: &str, collector: &dyn std::fmt::Display) -> Lab {
    let up = ScriptedUpstream::plain();
    let yaml = fill(&format!("{ROUTES}{logs}"), &[("up", &up.address()), ("collector", collector)]);
    Lab { gateway: TestGateway::start(&yaml), up }
}

fn get(lab: &Lab, path: &str, fields: &str) -> u16 {
    let mut client = RawClient::connect(lab.gateway.address("web"));
    client.exchange(format!("GET {path} HTTP/1.1\r\nhost: shop.test:8080\r\n{fields}\r\n")).status
}

/// The records, once there are so many.
fn records(lab: &Lab, collector: &Collector, count: usize) -> Vec<LogRecord> {
    lab.gateway.wait("records", |_| collector.records().len() >= count);
    let all = collector.records();
    assert_eq!(all.len(), count);
    all.into_iter()
        .map(|(service, record)| {
            assert_eq!(service, "edge");
            record
        })
        .collect()
}

fn said(record: &LogRecord, name: &str) -> Option<String> {
    among(&record.attributes, name)
}

fn body(record: &LogRecord) -> String {
    let attribute = KeyValue { key: "body".to_owned(), value: record.body.clone() };
    among(&[attribute], "body").unwrap_or_default()
}

fn each_exchange_is_a_record(collector: Collector) {
    let protocol = if matches!(collector, Collector::Grpc(_)) { "grpc" } else { "http" };
    let logs = format!(
        "
tracing: {{ service: edge, otlp: {{ endpoint: 'http://${{collector}}', protocol: {protocol} }}, percent: 100 }}
accessLog:
  otlp: {{ endpoint: 'http://${{collector}}', protocol: {protocol}, headers: {{ x-key: secret }} }}
  redact: {{ query: [token] }}
"
    );
    let lab = start(&logs, &collector.address());
    assert_eq!(get(&lab, "/a?token=s3cret&b=1", "user-agent: test\r\n"), 200);
    records(&lab, &collector, 1);
    assert_eq!(get(&lab, "/lost", ""), 503);
    let all = records(&lab, &collector, 2);
    let first = &all[0];
    assert_eq!((first.severity_number, &*first.severity_text), (9, "INFO"));
    assert_eq!(body(first), "HTTP/1.1 GET /a?token=***&b=1 200");
    for (name, value) in [
        ("http.request.method", "GET"),
        ("url.path", "/a"),
        ("url.query", "token=***&b=1"),
        ("server.address", "shop.test"),
        ("server.port", "8080"),
        ("client.address", "127.0.0.1"),
        ("user_agent.original", "test"),
        ("network.protocol.name", "http"),
        ("network.protocol.version", "1.1"),
        ("http.response.status_code", "200"),
        ("http.response.body.size", "2"),
        ("tidegate.route", "shop"),
        ("tidegate.rule", "up"),
        ("tidegate.upstream", "up"),
        ("tidegate.server", &lab.up.address().to_string()),
        ("tidegate.attempts", "1"),
    ] {
        assert_eq!(said(first, name).as_deref(), Some(value), "{name}");
    }
    for name in ["client.port", "tidegate.request_id", "tidegate.duration_us", "tidegate.upstream_us"] {
        assert!(said(first, name).is_some(), "{name}");
    }
    for name in ["error.type", "tidegate.time_ms", "tidegate.trace_id", "tidegate.client"] {
        assert_eq!(said(first, name), None, "{name}");
    }
    let second = &all[1];
    assert_eq!((second.severity_number, &*second.severity_text), (13, "WARN"));
    assert_eq!(said(second, "error.type").as_deref(), Some("upstream_connect"));

    // A record is of the span of its exchange, and of its time.
    lab.gateway.wait("spans", |_| collector.spans().iter().filter(|(_, span)| span.kind == 2).count() == 2);
    let spans = collector.spans();
    let server = spans.iter().find(|(_, span)| span.kind == 2 && span.trace_id == first.trace_id);
    let (_, server) = server.expect("the trace of the record");
    assert_eq!((&first.span_id, first.flags), (&server.span_id, 1));
    assert!(first.time_unix_nano >= server.start_time_unix_nano);
    assert_eq!(first.time_unix_nano, first.observed_time_unix_nano);
    assert_ne!(first.trace_id, second.trace_id);
    assert_eq!(lab.gateway.metric("tidegate_access_log_lost_total", ""), 0.0);
    if let Collector::Http(upstream) = &collector {
        let logs = upstream.requests().into_iter().find(|request| request.target() == "/v1/logs");
        let logs = logs.expect("records came");
        assert_eq!(logs.header("x-key"), Some("secret"));
        assert_eq!(logs.header("content-type"), Some("application/x-protobuf"));
    }
}

#[test]
fn each_exchange_is_a_record_by_http() {
    each_exchange_is_a_record(Collector::http());
}

#[test]
fn each_exchange_is_a_record_by_grpc() {
    each_exchange_is_a_record(Collector::grpc());
}

#[test]
fn records_say_what_is_chosen() {
    let collector = Collector::http();
    let logs = "
accessLog:
  otlp: { endpoint: 'http://${collector}', resource: { service.name: edge, deployment.environment.name: test } }
  format: 'to %{upstream}: %{header.x-a}'
  fields: [status, header.x-a, header.authorization, time]
  only: { statuses: [2xx] }
";
    let lab = start(logs, &collector.address());
    assert_eq!(get(&lab, "/lost", ""), 503);
    assert_eq!(get(&lab, "/", "x-a: \u{e9}\r\nauthorization: s3cret\r\n"), 200);
    let record = records(&lab, &collector, 1).remove(0);
    assert_eq!(body(&record), "to up: \\xc3\\xa9");
    let names: Vec<_> = record.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    let expected =
        ["http.response.status_code", "http.request.header.x-a", "http.request.header.authorization"];
    assert_eq!(names, expected);
    assert_eq!(said(&record, "http.request.header.x-a").as_deref(), Some("[\u{e9}]"));
    assert_eq!(said(&record, "http.request.header.authorization").as_deref(), Some("[***]"));
    assert!(record.trace_id.is_empty() && record.span_id.is_empty() && record.time_unix_nano > 0);
    let resource = collector.resources().remove(0);
    assert_eq!(among(&resource.attributes, "deployment.environment.name").as_deref(), Some("test"));
    for name in ["service.version", "service.instance.id"] {
        assert!(among(&resource.attributes, name).is_some(), "{name}");
    }
}

#[test]
fn connections_are_records_too() {
    let collector = Collector::http();
    let logs = "
accessLog: { otlp: { endpoint: 'http://${collector}', resource: { service.name: edge } }, only: { routes: [through] } }
";
    let lab = start(logs, &collector.address());
    let mut client = RawClient::connect(lab.gateway.address("bytes"));
    let request = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    assert_eq!(client.exchange(request).status, 200);
    client.half_close();
    client.rest();
    let record = records(&lab, &collector, 1).remove(0);
    assert_eq!(body(&record), "tcp - - -");
    for (name, value) in [
        ("network.protocol.name", "tcp"),
        ("tidegate.bytes_received", &request.len().to_string()),
        ("tidegate.listener", "bytes"),
        ("tidegate.route", "through"),
    ] {
        assert_eq!(said(&record, name).as_deref(), Some(value), "{name}");
    }
}

/// What a collector cannot take now is sent again; what it never takes is counted.
#[test]
fn a_collector_that_fails_is_asked_again() {
    let asked = AtomicUsize::new(0);
    let collector = ScriptedUpstream::start(move |_| {
        Answer::reply(match asked.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
            2 => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            3 => "HTTP/1.1 400 No\r\ncontent-length: 0\r\n\r\n",
            // One record of this request was refused.
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n\n\x02\x08\x01",
        })
    });
    let collector = Collector::Http(collector);
    let logs = "
accessLog:
  otlp:
    endpoint: 'http://${collector}'
    resource: { service.name: edge }
    retries: { attempts: 3, backoff: { base: 1ms, max: 5ms } }
";
    let lab = start(logs, &collector.address());
    let lost = |count: f64| {
        lab.gateway.wait("records to be lost", |gateway| {
            gateway.metric("tidegate_access_log_lost_total", "log=\"0\"") == count
        });
    };
    assert_eq!(get(&lab, "/1", ""), 200);
    let all = records(&lab, &collector, 3);
    assert!(all.iter().all(|record| *record == all[0]), "the same one, three times");
    assert_eq!(lab.gateway.metric("tidegate_otlp_retries_total", "signal=\"logs\""), 2.0);
    assert_eq!(get(&lab, "/2", ""), 200);
    lost(1.0);
    assert_eq!(get(&lab, "/3", ""), 200);
    lost(2.0);
    assert_eq!(lab.gateway.metric("tidegate_otlp_retries_total", ""), 2.0);
    let Collector::Http(upstream) = &collector else { return };
    assert!(upstream.requests().iter().all(|request| request.state == State::Complete));
}

/// One by gRPC whose resources are exhausted is asked again where it says when, and only there.
#[test]
fn an_exhausted_collector_is_asked_again_when_it_says() {
    // RetryInfo with 1 ms, after a help's link.
    const DETAILS: &str = "CAgSBGJ1c3kaJQojdHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLkhlbHAaMgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIGCgQQwIQ9";
    let asked = AtomicUsize::new(0);
    let collector = Collector::Grpc(GrpcUpstream::start(move |_| {
        let fields = match asked.fetch_add(1, Ordering::Relaxed) {
            0 => vec![("grpc-status", "8"), ("grpc-status-details-bin", DETAILS)],
            1 => vec![("grpc-status", "0")],
            _ => vec![("grpc-status", "8")],
        };
        vec![GrpcStep::Receive, GrpcStep::Head(Vec::new()), GrpcStep::Trailers(fields)]
    }));
    let logs = "
accessLog:
  otlp:
    endpoint: 'http://${collector}'
    protocol: grpc
    resource: { service.name: edge }
    retries: { attempts: 3, backoff: { base: 1ms, max: 5ms } }
";
    let lab = start(logs, &collector.address());
    assert_eq!(get(&lab, "/1", ""), 200);
    let all = records(&lab, &collector, 2);
    assert_eq!(all[0], all[1]);
    assert_eq!(get(&lab, "/2", ""), 200);
    lab.gateway.wait("a record to be lost", |gateway| {
        gateway.metric("tidegate_access_log_lost_total", "log=\"0\"") == 1.0
    });
    assert_eq!(lab.gateway.metric("tidegate_otlp_retries_total", "signal=\"logs\""), 1.0);
}

/// A collector that takes connections and says nothing costs records, and no request waits.
#[test]
fn no_request_waits_for_a_collector() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("it is bound");
    let logs =
        "accessLog: { otlp: { endpoint: 'http://${collector}', timeout: 50ms, retries: { attempts: 0 } } }\n";
    let lab = start(logs, &address);
    for _ in 0..3 {
        assert_eq!(get(&lab, "/", ""), 200);
    }
    lab.gateway
        .wait("records to be lost", |gateway| gateway.metric("tidegate_access_log_lost_total", "") == 3.0);
}
