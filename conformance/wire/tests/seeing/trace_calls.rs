//! What requests wait for in traces: calls of filters with those whom they ask, connections, TLS, addresses of a server.

use std::collections::HashMap;

use tidegate_testkit::{
    Authority, Collector, GrpcStep, GrpcUpstream, RawClient, ScriptedUpstream, Server, Span, TestGateway,
    attribute, fill,
};

/// Asks `GET /check` at the upstream `auth`, and lets the request go on with the answer.
const ASKS: &[u8] = br#"(module
    (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
    (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
    (import "env" "proxy_set_property" (func $set (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "auth")
    (data (i32.const 48) "tidegate.span.decision")
    (data (i32.const 80) "asked")
    (data (i32.const 100) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\06\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/check\00:authority\00a\00")
    (global $stream (mut i32) (i32.const 0))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) i32.const 4096)
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (global.set $stream (local.get 0))
        (drop (call $set (i32.const 48) (i32.const 22) (i32.const 80) (i32.const 5)))
        (drop (call $call (i32.const 16) (i32.const 4) (i32.const 100) (i32.const 66) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 8)))
        (i32.const 1))
    (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
        (drop (call $effective (global.get $stream)))
        (drop (call $continue (i32.const 0)))))"#;

const GRPC: &[u8] = include_bytes!("../guests/grpc.wat");

const EDGE: &str = "
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
plugins:
  asks: { module: asks.wat, capabilities: { upstreams: [auth] }, limits: { callTime: 500ms, requestTime: 2s } }
  grpc: { module: grpc.wat, capabilities: { upstreams: [grpc] }, limits: { callTime: 500ms, requestTime: 2s } }
routes:
  - name: shop
    rules:
      - { matches: [{ path: { prefix: /grpc } }], filters: [{ plugin: grpc }], forward: [{ upstream: up }] }
      - { filters: [{ plugin: asks }], forward: [{ upstream: up }] }
upstreams:
  up: { servers: ['${up}'] }
  auth: { servers: ['${auth}'] }
  grpc: { servers: ['${grpc}'], protocol: http2 }
tracing: { service: edge, otlp: { endpoint: 'http://${collector}' }, percent: 100 }
";

const INNER: &str = "
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
routes: [{ name: auth, rules: [{ respond: { status: 204 } }] }]
tracing: { service: auth, otlp: { endpoint: 'http://${collector}' }, percent: 0 }
";

struct Lab {
    collector: Collector,
    up: ScriptedUpstream,
    grpc: GrpcUpstream,
    _auth: TestGateway,
    edge: TestGateway,
}

fn lab() -> Lab {
    let (collector, up) = (Collector::http(), ScriptedUpstream::plain());
    let grpc = GrpcUpstream::start(|_| {
        vec![GrpcStep::Head(Vec::new()), GrpcStep::Echo, GrpcStep::Trailers(vec![("grpc-status", "0")])]
    });
    let auth = TestGateway::start(&fill(INNER, &[("collector", &collector.address())]));
    let yaml = fill(
        EDGE,
        &[
            ("up", &up.address()),
            ("auth", &auth.address("web")),
            ("grpc", &grpc.address()),
            ("collector", &collector.address()),
        ],
    );
    let edge = TestGateway::start_with(&yaml, &[("asks.wat", ASKS), ("grpc.wat", GRPC)]);
    Lab { collector, up, grpc, _auth: auth, edge }
}

fn get(gateway: &TestGateway, path: &str, fields: &str) -> u16 {
    let mut client = RawClient::connect(gateway.address("web"));
    client.exchange(format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n{fields}\r\n")).status
}

/// The spans of a trace, once there are so many.
struct Trace(Vec<(String, Span)>);

impl Trace {
    fn of(gateway: &TestGateway, collector: &Collector, count: usize) -> Self {
        gateway.wait("spans", |_| collector.spans().len() >= count);
        let spans = collector.spans();
        let names: Vec<_> = spans.iter().map(|(service, span)| format!("{service}: {}", span.name)).collect();
        assert_eq!(spans.len(), count, "{names:?}");
        let trace = &spans[0].1.trace_id;
        assert!(spans.iter().all(|(_, span)| span.trace_id == *trace), "{names:?}");
        let by_id: HashMap<_, _> = spans.iter().map(|(_, span)| (&span.span_id, span)).collect();
        assert_eq!(by_id.len(), count, "each has a number of its own");
        Self(spans)
    }

    /// The only span of a service with this kind and name whose parent is that one.
    fn below(&self, parent: &Span, service: &str, kind: i32, name: &str) -> &Span {
        let is = |(known, span): &&(String, Span)| {
            known == service
                && span.kind == kind
                && span.name == name
                && span.parent_span_id == parent.span_id
        };
        let found: Vec<_> = self.0.iter().filter(is).collect();
        assert_eq!(found.len(), 1, "{service} {name} below {}: {:?}", parent.name, self.0);
        let span = &found[0].1;
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{name}");
        span
    }

    /// The span without a parent.
    fn root(&self) -> &Span {
        let found = self.0.iter().find(|(_, span)| span.parent_span_id.is_empty());
        &found.expect("where it began").1
    }
}

fn says(span: &Span, all: &[(&str, &str)]) {
    for (name, value) in all {
        assert_eq!(attribute(span, name).as_deref(), Some(*value), "{name} of {}", span.name);
    }
}

/// Gateway, filter, the server that the filter asks: one trace.
#[test]
fn a_call_of_a_filter_carries_the_trace() {
    let lab = lab();
    assert_eq!(get(&lab.edge, "/a", ""), 200);
    // The exchange, the filter with three callbacks and its call with a connection, whom it asked; the attempt with its own.
    let trace = Trace::of(&lab.edge, &lab.collector, 10);
    let root = trace.root();
    let filter = trace.below(root, "edge", 1, "filter asks");
    let began = trace.below(filter, "edge", 1, "on_request_headers");
    let answered = trace.below(filter, "edge", 1, "on_http_call_response");
    let call = trace.below(filter, "edge", 3, "GET");
    says(
        call,
        &[
            ("url.path", "/check"),
            ("tidegate.upstream", "auth"),
            ("http.response.status_code", "204"),
            ("server.address", "127.0.0.1"),
        ],
    );
    trace.below(call, "edge", 1, "connect");
    let asked = trace.below(call, "auth", 2, "GET");
    says(asked, &[("url.path", "/check"), ("http.response.status_code", "204")]);
    trace.below(trace.below(root, "edge", 3, "GET"), "edge", 1, "connect");
    says(filter, &[("decision", "asked"), ("tidegate.plugin", "asks")]);
    assert!(filter.start_time_unix_nano <= call.start_time_unix_nano);
    assert!(call.end_time_unix_nano <= answered.end_time_unix_nano);
    assert!(answered.end_time_unix_nano <= filter.end_time_unix_nano);
    // It held the request until the answer came, and no longer.
    let waited = attribute(filter, "tidegate.waiting_us").and_then(|text| text.parse::<u64>().ok());
    let waited = waited.expect("a number");
    let expected = (answered.start_time_unix_nano - began.end_time_unix_nano) / 1000;
    assert!(waited.abs_diff(expected) <= 1, "{waited} of {expected}");
    // The upstream is told the attempt, not the call.
    let told = lab.up.requests()[0].header("traceparent").map(str::to_owned);
    let attempt = trace.below(root, "edge", 3, "GET");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(told, Some(format!("00-{}-{}-01", hex(&attempt.trace_id), hex(&attempt.span_id))));
}

#[test]
fn so_does_a_call_by_grpc() {
    let lab = lab();
    assert_eq!(get(&lab.edge, "/grpc", "x-kind: c\r\nx-method: Echo\r\n"), 200);
    lab.edge.wait("the call's span", |_| {
        lab.collector.spans().iter().any(|(_, span)| span.name == "test.Echo/Echo")
    });
    let spans = lab.collector.spans();
    let find = |name: &str| &spans.iter().find(|(_, span)| span.name == name).expect(name).1;
    let (filter, call) = (find("filter grpc"), find("test.Echo/Echo"));
    assert_eq!((call.kind, &call.parent_span_id), (3, &filter.span_id));
    says(
        call,
        &[
            ("rpc.system", "grpc"),
            ("rpc.service", "test.Echo"),
            ("rpc.method", "Echo"),
            ("rpc.grpc.status_code", "0"),
            ("tidegate.upstream", "grpc"),
        ],
    );
    assert_eq!(find("on_grpc_close").parent_span_id, filter.span_id);
    let told = lab.grpc.calls()[0].headers["traceparent"].to_str().expect("text").to_owned();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(told, format!("00-{}-{}-01", hex(&call.trace_id), hex(&call.span_id)));
}

/// A request that is not traced passes a call on as the guest made it.
#[test]
fn nothing_is_said_of_what_is_not_traced() {
    let lab = lab();
    let not = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n";
    assert_eq!(get(&lab.edge, "/grpc", &format!("{not}x-kind: c\r\nx-method: Echo\r\n")), 200);
    assert!(lab.grpc.calls()[0].headers.get("traceparent").is_none());
}

const SECURE: &str = "
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
routes: [{ name: all, rules: [{ forward: [{ upstream: up }], retries: { attempts: 0 } }] }]
upstreams:
  up: { servers: ['${up}'], tls: { ca: ca.pem, serverName: up.test }, protocol: http1 }
tracing: { service: edge, otlp: { endpoint: 'http://${collector}' }, percent: 100 }
";

#[test]
fn connections_and_handshakes_are_below_the_attempt_that_waited_for_them() {
    let (authority, collector) = (Authority::new(), Collector::http());
    let config = authority.issue(&["up.test"]).server_config(&["http/1.1"]);
    let up = ScriptedUpstream::start_tls(config, |_| {
        tidegate_testkit::Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    });
    let yaml = fill(SECURE, &[("up", &up.address()), ("collector", &collector.address())]);
    let gateway = TestGateway::start_with(&yaml, &[("ca.pem", authority.pem().as_bytes())]);
    assert_eq!(get(&gateway, "/", ""), 200);
    let trace = Trace::of(&gateway, &collector, 4);
    let attempt = trace.below(trace.root(), "edge", 3, "GET");
    let connect = trace.below(attempt, "edge", 1, "connect");
    let port = up.address().port().to_string();
    says(connect, &[("network.peer.address", "127.0.0.1"), ("network.peer.port", &port)]);
    let tls = trace.below(attempt, "edge", 1, "tls");
    says(
        tls,
        &[
            ("server.address", "up.test"),
            ("tls.protocol.version", "1.3"),
            ("tls.next_protocol", "http/1.1"),
            ("tls.resumed", "false"),
        ],
    );
    assert!(attempt.start_time_unix_nano <= connect.start_time_unix_nano);
    assert!(connect.end_time_unix_nano <= tls.start_time_unix_nano);
    assert!(tls.end_time_unix_nano <= attempt.end_time_unix_nano);
}

#[test]
fn a_handshake_that_fails_is_seen() {
    let (authority, other, collector) = (Authority::new(), Authority::new(), Collector::http());
    let config = other.issue(&["up.test"]).server_config(&["http/1.1"]);
    let up = ScriptedUpstream::start_tls(config, |_| tidegate_testkit::Answer::reply(""));
    let yaml = fill(SECURE, &[("up", &up.address()), ("collector", &collector.address())]);
    let gateway = TestGateway::start_with(&yaml, &[("ca.pem", authority.pem().as_bytes())]);
    assert_eq!(get(&gateway, "/", ""), 503);
    let trace = Trace::of(&gateway, &collector, 4);
    let attempt = trace.below(trace.root(), "edge", 3, "GET");
    assert_eq!(trace.below(attempt, "edge", 1, "connect").status, None);
    let status = trace.below(attempt, "edge", 1, "tls").status.clone().expect("it failed");
    assert!(status.code == 2 && status.message.contains("certificate"), "{status:?}");
}

/// Addresses that were tried are events of the connection.
#[test]
fn addresses_that_were_tried_are_seen() {
    let (collector, up) = (Collector::http(), ScriptedUpstream::plain());
    let yaml = fill(
        "
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
routes: [{ name: all, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['127.0.0.1:1'] } }
tracing: { service: edge, otlp: { endpoint: 'http://${collector}' }, percent: 100 }
",
        &[("collector", &collector.address())],
    );
    let gateway = TestGateway::start(&yaml);
    let both = [std::net::SocketAddr::from(([127, 0, 0, 1], 1)), up.address()];
    gateway.put_servers("up", &[Server::together(&both).expect("there are two")]);
    assert_eq!(get(&gateway, "/", ""), 200);
    let trace = Trace::of(&gateway, &collector, 3);
    let connect = trace.below(trace.below(trace.root(), "edge", 3, "GET"), "edge", 1, "connect");
    let port = up.address().port().to_string();
    says(connect, &[("network.peer.port", &port)]);
    let events: Vec<_> = connect
        .events
        .iter()
        .map(|event| (event.name.as_str(), tidegate_testkit::among(&event.attributes, "network.peer.port")))
        .collect();
    let (one, two) = (Some("1".to_owned()), Some(port));
    assert_eq!(events, [("connect.begins", one.clone()), ("connect.failed", one), ("connect.begins", two)]);
}
