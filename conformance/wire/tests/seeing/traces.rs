//! Traces: a collector gets the spans of requests through gateways and filters, with the right parents.

use std::collections::HashMap;

use tidegate_testkit::{
    Collector, Form, LogFile, RawClient, ScriptedUpstream, Span, TestGateway, attribute, fill,
};

/// Sets two attributes of its span and one property.
const SAYS: &[u8] = br#"(module
    (import "env" "proxy_set_property" (func $set (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "tidegate.span\00order")
    (data (i32.const 48) "tidegate.span.colour")
    (data (i32.const 80) "green")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) i32.const 4096)
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $set (i32.const 16) (i32.const 19) (i32.const 80) (i32.const 5)))
        (drop (call $set (i32.const 48) (i32.const 20) (i32.const 80) (i32.const 5)))
        (i32.const 0))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0)))"#;

const INNER: &str = "
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
plugins: { says: { module: says.wat } }
routes:
  - name: inner
    rules:
      - { matches: [{ path: { prefix: /lost } }], forward: [{ upstream: lost }], retries: { attempts: 1, on: [connect] } }
      - { filters: [{ plugin: says }], forward: [{ upstream: up }] }
upstreams:
  up: { servers: ['${up}'] }
  lost: { servers: ['127.0.0.1:1'] }
tracing: { service: inner, otlp: { endpoint: 'http://${collector}'${protocol} }${more} }
";

const OUTER: &str = "
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
routes: [{ name: outer, rules: [{ forward: [{ upstream: inner }] }] }]
upstreams: { inner: { servers: ['${inner}'] } }
tracing: { service: outer, otlp: { endpoint: 'http://${collector}'${protocol} }, percent: 100 }
";

struct Lab {
    collector: Collector,
    up: ScriptedUpstream,
    inner: TestGateway,
}

impl Lab {
    /// A gateway with more of its tracing.
    fn new(collector: Collector, more: &str) -> Self {
        let up = ScriptedUpstream::plain();
        let protocol = if matches!(collector, Collector::Grpc(_)) { ", protocol: grpc" } else { "" };
        let yaml = fill(
            INNER,
            &[
                ("up", &up.address()),
                ("collector", &collector.address()),
                ("protocol", &protocol),
                ("more", &more),
            ],
        );
        let inner = TestGateway::start_with(&yaml, &[("says.wat", SAYS)]);
        Self { collector, up, inner }
    }

    /// The spans, once there are so many.
    fn spans(&self, count: usize) -> Vec<(String, Span)> {
        self.inner.wait("spans", |_| self.collector.spans().len() >= count);
        let spans = self.collector.spans();
        assert_eq!(spans.len(), count, "{:?}", names(&spans));
        spans
    }
}

fn names(spans: &[(String, Span)]) -> Vec<String> {
    spans.iter().map(|(service, span)| format!("{service}: {}", span.name)).collect()
}

fn get(gateway: &TestGateway, path: &str, fields: &str) -> u16 {
    let mut client = RawClient::connect(gateway.address("web"));
    client.exchange(format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n{fields}\r\n")).status
}

/// By service, kind and name: who is below whom.
fn one_trace(collector: Collector) {
    let lab = Lab::new(collector, ", percent: 0");
    let grpc = if matches!(lab.collector, Collector::Grpc(_)) { ", protocol: grpc" } else { "" };
    let yaml = fill(
        OUTER,
        &[("inner", &lab.inner.address("web")), ("collector", &lab.collector.address()), ("protocol", &grpc)],
    );
    let outer = TestGateway::start(&yaml);
    assert_eq!(get(&outer, "/a?secret", "user-agent: test\r\n"), 200);
    // Of each gateway the exchange, its attempt and its connection; of the filter its span and its callbacks.
    let spans = lab.spans(9);
    let trace = &spans[0].1.trace_id;
    assert!(spans.iter().all(|(_, span)| span.trace_id == *trace), "{:?}", names(&spans));
    let by_id: HashMap<_, _> = spans.iter().map(|(_, span)| (span.span_id.clone(), span)).collect();
    assert_eq!(by_id.len(), spans.len(), "each has a number of its own");
    let find = |service: &str, kind: i32, name: &str| {
        let found = spans.iter().find(|(s, span)| s == service && span.kind == kind && span.name == name);
        found.map(|(_, span)| span).expect(name)
    };
    let (server, client) = (find("outer", 2, "GET"), find("outer", 3, "GET"));
    let (inner, attempt) = (find("inner", 2, "GET"), find("inner", 3, "GET"));
    let filter = find("inner", 1, "filter says");
    for (span, parent) in [
        (client, server),
        (find("outer", 1, "connect"), client),
        (inner, client),
        (attempt, inner),
        (find("inner", 1, "connect"), attempt),
        (filter, inner),
        (find("inner", 1, "on_request_headers"), filter),
        (find("inner", 1, "on_response_headers"), filter),
    ] {
        assert_eq!(span.parent_span_id, parent.span_id, "{} below {}", span.name, parent.name);
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{}", span.name);
        // Each gateway reads the clocks once, one after the other.
        assert!(span.start_time_unix_nano + 1_000_000_000 >= parent.start_time_unix_nano, "{}", span.name);
    }
    assert_eq!(server.parent_span_id, Vec::<u8>::new());
    for (span, name, value) in [
        (server, "http.request.method", "GET"),
        (server, "url.path", "/a"),
        (server, "url.scheme", "http"),
        (server, "server.address", "shop.test"),
        (server, "user_agent.original", "test"),
        (server, "client.address", "127.0.0.1"),
        (server, "network.protocol.version", "1.1"),
        (server, "http.response.status_code", "200"),
        (server, "tidegate.route", "outer"),
        (attempt, "tidegate.upstream", "up"),
        (attempt, "url.full", "http://shop.test/a"),
        (attempt, "network.protocol.version", "1.1"),
        (server, "network.peer.address", "127.0.0.1"),
        (attempt, "http.response.status_code", "200"),
        (attempt, "server.port", &lab.up.address().port().to_string()),
        (filter, "tidegate.plugin", "says"),
        (filter, "order", "green"),
        (filter, "colour", "green"),
    ] {
        assert_eq!(attribute(span, name).as_deref(), Some(value), "{name}");
    }
    for name in ["tidegate.guest_us", "tidegate.host_us", "tidegate.waiting_us"] {
        assert!(attribute(filter, name).is_some(), "{name}");
    }
    // The upstream was told the last attempt.
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let told = lab.up.requests()[0].header("traceparent").map(str::to_owned);
    assert_eq!(told, Some(format!("00-{}-{}-01", hex(trace), hex(&attempt.span_id))));
    lab.inner.wait("them to be counted", |gateway| gateway.metric("tidegate_spans_sent_total", "") == 6.0);
}

#[test]
fn one_trace_through_two_gateways_and_a_filter() {
    one_trace(Collector::http());
}

#[test]
fn the_same_by_grpc() {
    one_trace(Collector::grpc());
}

#[test]
fn who_asks_decides_unless_told_otherwise() {
    let lab = Lab::new(Collector::http(), ", percent: 100");
    let parent =
        |flag| format!("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0{flag}\r\n");
    assert_eq!(get(&lab.inner, "/no", &parent(0)), 200);
    // What is not traced goes on as it came.
    assert_eq!(lab.up.requests()[0].header("traceparent"), Some(parent(0)[13..].trim()));
    assert_eq!(get(&lab.inner, "/yes", &format!("{}tracestate: a=b\r\n", parent(1))), 200);
    // The connection to the server was there already.
    let spans = lab.spans(5);
    let server = spans.iter().find(|(_, span)| span.kind == 2).map(|(_, span)| span).expect("the exchange");
    assert_eq!(attribute(server, "url.path").as_deref(), Some("/yes"));
    assert_eq!(server.parent_span_id, 0xb7ad_6b71_6920_3331_u64.to_be_bytes());
    assert_eq!(server.trace_state, "a=b");
    assert_eq!(lab.up.requests()[1].header("tracestate"), Some("a=b"));
}

#[test]
fn failures_and_retries_are_seen() {
    let lab = Lab::new(Collector::http(), ", percent: 100");
    assert_eq!(get(&lab.inner, "/lost", ""), 503);
    // The exchange, its attempts with their connections.
    let spans = lab.spans(5);
    let attempts: Vec<_> = spans.iter().filter(|(_, span)| span.kind == 3).map(|(_, span)| span).collect();
    let again: Vec<_> = attempts.iter().map(|span| attribute(span, "http.request.resend_count")).collect();
    assert_eq!(again, [None, Some("1".to_owned())]);
    for (_, span) in &spans {
        let expected = if span.kind == 1 { "ConnectionRefused" } else { "upstream_connect" };
        assert_eq!(attribute(span, "error.type").as_deref(), Some(expected));
        assert_eq!(span.status.as_ref().map(|status| status.code), Some(2), "{}", span.name);
    }
}

#[test]
fn errors_are_kept_although_they_were_not_chosen() {
    let lab = Lab::new(Collector::http(), ", percent: 0, keep: { errors: true }");
    assert_eq!(get(&lab.inner, "/fine", ""), 200);
    assert_eq!(get(&lab.inner, "/lost", ""), 503);
    let spans = lab.spans(5);
    assert!(spans.iter().all(|(_, span)| attribute(span, "error.type").is_some()), "{:?}", names(&spans));
    // What others would keep is theirs to decide.
    let told = lab.up.requests()[0].header("traceparent").map(str::to_owned);
    assert!(told.as_ref().is_some_and(|told| told.ends_with("-00")), "{told:?}");
}

#[test]
fn slow_ones_are_kept_although_they_were_not_chosen() {
    let silent = tidegate_testkit::ByteServer::start();
    let collector = Collector::http();
    let yaml = fill(
        "
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
routes:
  - name: all
    rules:
      - matches: [{ path: { prefix: /slow } }]
        forward: [{ upstream: silent }]
        timeouts: { request: 600ms }
      - { respond: { body: fast } }
upstreams: { silent: { servers: ['${silent}'] } }
tracing: { otlp: { endpoint: 'http://${collector}' }, percent: 0, keep: { slowerThan: 500ms } }
",
        &[("silent", &silent.address()), ("collector", &collector.address())],
    );
    let gateway = TestGateway::start(&yaml);
    assert_eq!(get(&gateway, "/slow", ""), 504);
    assert_eq!(get(&gateway, "/fast", ""), 200);
    assert_eq!(get(&gateway, "/slow", ""), 504);
    gateway.wait("spans", |_| collector.spans().iter().filter(|(_, span)| span.kind == 2).count() >= 2);
    let spans = collector.spans();
    let paths = spans.iter().filter(|(_, span)| span.kind == 2).map(|(_, span)| attribute(span, "url.path"));
    assert!(paths.eq([Some("/slow".to_owned()), Some("/slow".to_owned())]), "{:?}", names(&spans));
}

/// A share is one of requests, by chance; 5 standard deviations are allowed.
#[test]
fn a_share_is_chosen() {
    let lab = Lab::new(Collector::http(), ", percent: 50");
    let mut client = RawClient::connect(lab.inner.address("web"));
    for _ in 0..200 {
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
    }
    let chosen = || {
        let told = lab.up.requests();
        told.iter().filter(|request| request.header("traceparent").is_some()).count()
    };
    assert_eq!(lab.up.requests().len(), 200);
    assert!((65..=135).contains(&chosen()), "{}", chosen());
    lab.inner.wait("their spans", |_| {
        lab.collector.spans().iter().filter(|(_, span)| span.kind == 2).count() == chosen()
    });
}

/// B3 can decide without a context; and what others say of a trace goes on with that trace only.
#[test]
fn decisions_and_states_are_heeded() {
    let lab = Lab::new(Collector::http(), ", percent: 100, accept: [w3c, b3, b3Multi]");
    assert_eq!(get(&lab.inner, "/no", "b3: 0\r\n"), 200);
    assert_eq!(get(&lab.inner, "/no", "x-b3-sampled: 0\r\n"), 200);
    assert_eq!(get(&lab.inner, "/yes", "traceparent: 00-0-0-01\r\ntracestate: a=b\r\n"), 200);
    let requests = lab.up.requests();
    assert_eq!((requests[0].header("b3"), requests[1].header("x-b3-sampled")), (Some("0"), Some("0")));
    assert!(requests[..2].iter().all(|request| request.header("traceparent").is_none()));
    assert!(requests[2].header("traceparent").is_some_and(|parent| parent.ends_with("-01")));
    assert_eq!(requests[2].header("tracestate"), None);
    lab.inner.wait("spans", |_| lab.collector.spans().iter().any(|(_, span)| span.kind == 2));
    assert!(
        lab.collector
            .spans()
            .iter()
            .all(|(_, span)| { attribute(span, "url.path").is_none_or(|path| path == "/yes") })
    );
}

/// What clients make up is no name.
#[test]
fn unknown_methods_and_ports_follow_the_conventions() {
    let lab = Lab::new(Collector::http(), ", percent: 100");
    let mut client = RawClient::connect(lab.inner.address("web"));
    assert_eq!(client.exchange("BREW /a HTTP/1.1\r\nhost: shop.test:8080\r\n\r\n").status, 200);
    lab.inner.wait("spans", |_| lab.collector.spans().len() >= 6);
    for (_, span) in lab.collector.spans().iter().filter(|(_, span)| span.kind != 1) {
        assert_eq!(span.name, "HTTP");
        assert_eq!(attribute(span, "http.request.method").as_deref(), Some("_OTHER"));
        assert_eq!(attribute(span, "http.request.method_original").as_deref(), Some("BREW"));
    }
    let spans = lab.collector.spans();
    let server = &spans.iter().find(|(_, span)| span.kind == 2).expect("the exchange").1;
    assert_eq!(attribute(server, "server.address").as_deref(), Some("shop.test"));
    assert_eq!(attribute(server, "server.port").as_deref(), Some("8080"));
}

#[test]
fn headers_of_all_formats_come_and_go() {
    let lab = Lab::new(
        Collector::http(),
        ", percent: 0, accept: [b3, b3Multi, jaeger], send: [w3c, b3, b3Multi, jaeger]",
    );
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let fields = [
        format!("b3: {trace}-b7ad6b7169203331-1\r\n"),
        format!("x-b3-traceid: {trace}\r\nx-b3-spanid: b7ad6b7169203331\r\nx-b3-sampled: 1\r\n"),
        format!("uber-trace-id: {trace}:b7ad6b7169203331:0:1\r\n"),
    ];
    for fields in &fields {
        assert_eq!(get(&lab.inner, "/", fields), 200);
    }
    let requests = lab.up.requests();
    assert_eq!(requests.len(), fields.len());
    for request in &requests {
        let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
        let span = header("x-b3-spanid");
        assert_ne!(span, "b7ad6b7169203331");
        assert_eq!(header("traceparent"), format!("00-{trace}-{span}-01"));
        assert_eq!(header("b3"), format!("{trace}-{span}-1"));
        assert_eq!((header("x-b3-traceid"), header("x-b3-sampled")), (trace.to_owned(), "1".to_owned()));
        assert_eq!(header("uber-trace-id"), format!("{trace}:{span}:0:1"));
    }
}

/// Whoever debugs wants the whole trace: the next ones are told so, and not only that it is kept.
#[test]
fn debug_goes_on_as_debug() {
    let lab = Lab::new(
        Collector::http(),
        ", percent: 0, accept: [b3, b3Multi, jaeger], send: [w3c, b3, b3Multi, jaeger]",
    );
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let fields = [
        format!("b3: {trace}-b7ad6b7169203331-d\r\n"),
        format!("x-b3-traceid: {trace}\r\nx-b3-spanid: b7ad6b7169203331\r\nx-b3-flags: 1\r\n"),
        format!("uber-trace-id: {trace}:b7ad6b7169203331:0:3\r\n"),
        "x-b3-flags: 1\r\n".to_owned(),
    ];
    for fields in &fields {
        assert_eq!(get(&lab.inner, "/", fields), 200);
    }
    let requests = lab.up.requests();
    assert_eq!(requests.len(), fields.len());
    for request in &requests {
        let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
        let (trace, span) = (header("x-b3-traceid"), header("x-b3-spanid"));
        assert_eq!(header("traceparent"), format!("00-{trace}-{span}-01"));
        assert_eq!(header("b3"), format!("{trace}-{span}-d"));
        assert_eq!((request.header("x-b3-flags"), request.header("x-b3-sampled")), (Some("1"), None));
        assert_eq!(header("uber-trace-id"), format!("{trace}:{span}:0:3"));
    }
}

#[test]
fn logs_and_metrics_name_the_trace() {
    let log = LogFile::default();
    let lab = Lab::new(Collector::http(), ", percent: 100");
    let yaml = fill(
        INNER,
        &[
            ("up", &lab.up.address()),
            ("collector", &lab.collector.address()),
            ("protocol", &""),
            ("more", &", percent: 100"),
        ],
    );
    lab.inner.reload(&format!(
        "{yaml}accessLog: {{ path: '{}', format: '%{{trace_id}}' }}\n",
        log.path().display()
    ));
    assert_eq!(get(&lab.inner, "/", ""), 200);
    let line = log.lines(1).remove(0);
    let spans = lab.spans(6);
    let trace: String = spans[0].1.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(line, trace);
    let page = lab.inner.metrics_as(Form::OpenMetrics);
    let exemplar = format!("# {{trace_id=\"{trace}\"}}");
    let with: Vec<_> = page.lines().filter(|line| line.contains(&exemplar)).collect();
    assert!(
        with.iter().any(|line| line.starts_with("tidegate_route_request_duration_seconds_bucket")),
        "{with:?}"
    );
}

/// A collector that is away costs spans, and nothing else.
#[test]
fn a_collector_that_is_away_is_counted() {
    let up = ScriptedUpstream::plain();
    let yaml = fill(
        INNER,
        &[
            ("up", &up.address()),
            ("collector", &"127.0.0.1:1"),
            ("protocol", &", retries: { attempts: 0 }"),
            ("more", &", percent: 100"),
        ],
    );
    let gateway = TestGateway::start_with(&yaml, &[("says.wat", SAYS)]);
    assert_eq!(get(&gateway, "/", ""), 200);
    gateway.wait("spans to be lost", |gateway| gateway.metric("tidegate_spans_lost_total", "") == 6.0);
}
