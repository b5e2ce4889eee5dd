//! What is counted, by listener, route and upstream; and that clients cannot make series.

use std::sync::Arc;

use tidegate_testkit::{Authority, ByteServer, RawClient, ScriptedUpstream, TestGateway, fill};

const YAML: &str = "
listeners:
  - { name: web, address: 127.0.0.1:0, protocol: http }
  - name: secure
    address: 127.0.0.1:0
    protocol: https
    tls: { certificates: [{ cert: a.pem, key: a.key }] }
routes:
  - name: shop
    hostnames: [shop.test]
    rules:
      - { matches: [{ path: { prefix: /lost } }], forward: [{ upstream: lost }] }
      - { forward: [{ upstream: up }] }
upstreams:
  up: { servers: ['${up}'] }
  lost: { servers: ['127.0.0.1:1'] }
";

fn start() -> (Authority, ScriptedUpstream, TestGateway) {
    let (authority, up) = (Authority::new(), ScriptedUpstream::plain());
    let certificate = authority.issue(&["shop.test"]);
    let files: [(&str, &[u8]); 2] =
        [("a.pem", certificate.cert.as_bytes()), ("a.key", certificate.key.as_bytes())];
    let gateway = TestGateway::start_with(&fill(YAML, &[("up", &up.address())]), &files);
    (authority, up, gateway)
}

/// The value of one series, by its labels as they are written.
fn series(gateway: &TestGateway, series: &str) -> Option<f64> {
    let text = gateway.metrics();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
    line.and_then(|value| value.parse().ok())
}

#[test]
fn requests_are_counted_where_they_came_and_went() {
    let (_authority, _up, gateway) = start();
    let mut client = RawClient::connect(gateway.address("web"));
    let post = "POST / HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 5\r\n\r\nhello";
    assert_eq!(client.exchange(post).status, 200);
    assert_eq!(client.exchange("GET /lost HTTP/1.1\r\nhost: shop.test\r\n\r\n").status, 503);
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: other.test\r\n\r\n").status, 404);
    gateway.wait("all to be over", |gateway| gateway.metric("tidegate_requests_active", "") == 0.0);
    for (name, expected) in [
        ("tidegate_connections_total{listener=\"web\"}", 1.0),
        ("tidegate_connections_by_protocol_open{listener=\"web\",protocol=\"http1\"}", 1.0),
        ("tidegate_requests_total{listener=\"web\"}", 3.0),
        ("tidegate_responses_total{listener=\"web\",class=\"2xx\"}", 1.0),
        ("tidegate_responses_total{listener=\"web\",class=\"4xx\"}", 1.0),
        ("tidegate_responses_total{listener=\"web\",class=\"5xx\"}", 1.0),
        ("tidegate_request_failures_total{listener=\"web\",reason=\"no_route\"}", 1.0),
        ("tidegate_received_bytes_total{listener=\"web\"}", 5.0),
        ("tidegate_request_duration_seconds_count{listener=\"web\"}", 3.0),
        ("tidegate_route_responses_total{route=\"shop\",class=\"2xx\"}", 1.0),
        ("tidegate_route_failures_total{route=\"shop\",reason=\"upstream_connect\"}", 1.0),
        ("tidegate_route_received_bytes_total{route=\"shop\"}", 5.0),
        ("tidegate_route_request_duration_seconds_count{route=\"shop\"}", 2.0),
        ("tidegate_route_upstream_requests_total{route=\"shop\",upstream=\"up\"}", 1.0),
        ("tidegate_route_upstream_failures_total{route=\"shop\",upstream=\"up\"}", 0.0),
        ("tidegate_route_upstream_failures_total{route=\"shop\",upstream=\"lost\"}", 1.0),
        ("tidegate_upstream_responses_total{upstream=\"up\",class=\"2xx\"}", 1.0),
        ("tidegate_upstream_received_bytes_total{upstream=\"up\"}", 5.0),
        ("tidegate_upstream_request_duration_seconds_count{upstream=\"up\"}", 1.0),
    ] {
        assert_eq!(series(&gateway, name), Some(expected), "{name} in\n{}", gateway.metrics());
    }
    let sent = series(&gateway, "tidegate_route_sent_bytes_total{route=\"shop\"}");
    assert!(sent.is_some_and(|sent| sent > 0.0), "{sent:?}");
    drop(client);
    let open = "tidegate_connections_by_protocol_open{listener=\"web\",protocol=\"http1\"}";
    gateway.wait("the client to be gone", |gateway| series(gateway, open) == Some(0.0));
}

#[test]
fn handshakes_are_counted_by_how_they_went() {
    let (authority, _up, gateway) = start();
    let address = gateway.address("secure");
    let config = Arc::new(authority.client_config(&["http/1.1"]));
    for _ in 0..2 {
        let mut client = RawClient::connect_again(address, &config, "shop.test").expect("trusted");
        assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").status, 200);
    }
    // A client that does not trust the certificate says so; one that does not speak TLS is not understood.
    let stranger = Authority::new();
    assert!(RawClient::connect_tls(address, &stranger, "shop.test", &[]).is_err());
    let mut plain = RawClient::connect(address);
    plain.send("GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n");
    drop(plain.rest());
    let failures = |gateway: &TestGateway| gateway.metric("tidegate_handshake_failures_total", "");
    gateway.wait("both to have failed", |gateway| failures(gateway) == 2.0);
    for (name, expected) in [
        ("tidegate_handshakes_total{listener=\"secure\",version=\"1.3\"}", 2.0),
        ("tidegate_handshakes_resumed_total{listener=\"secure\"}", 1.0),
        ("tidegate_handshake_failures_total{listener=\"secure\",reason=\"alert\"}", 1.0),
        ("tidegate_handshake_failures_total{listener=\"secure\",reason=\"malformed\"}", 1.0),
    ] {
        assert_eq!(series(&gateway, name), Some(expected), "{name} in\n{}", gateway.metrics());
    }
}

#[test]
fn what_clients_send_makes_no_series() {
    let (_authority, _up, gateway) = start();
    let mut client = RawClient::connect(gateway.address("web"));
    let one = |i: usize| {
        format!("GET /{i} HTTP/1.1\r\nhost: shop.test\r\nuser-agent: {i}\r\nx-request-id: {i}\r\n\r\n")
    };
    assert_eq!(client.exchange(one(0)).status, 200);
    assert_eq!(client.exchange("M HTTP/1.1\r\nhost: n.test\r\n\r\n").status, 400);
    let mut client = RawClient::connect(gateway.address("web"));
    let over = |count| move |gateway: &TestGateway| gateway.metric("tidegate_responses_total", "") >= count;
    gateway.wait("both to be over", over(2.0));
    let before = gateway.metrics().lines().count();
    for i in 1..50 {
        let host = format!("GET / HTTP/1.1\r\nhost: h{i}.test\r\n\r\n");
        assert_eq!(client.exchange(one(i)).status, 200);
        assert_eq!(client.exchange(host).status, 404);
    }
    gateway.wait("all to be over", over(100.0));
    assert_eq!(gateway.metrics().lines().count(), before);
}

#[test]
fn by_which_listener_requests_and_connections_come_to_a_route_is_counted() {
    let (up, bytes) = (ScriptedUpstream::plain(), ByteServer::start());
    let yaml = fill(
        "
workers: 2
listeners:
  - { name: a, address: 127.0.0.1:0, protocol: http }
  - { name: b, address: 127.0.0.1:0, protocol: http }
  - { name: raw, address: 127.0.0.1:0, protocol: tcp }
routes:
  - name: shop
    listeners: [a, b]
    rules:
      - { matches: [{ path: { prefix: /moved } }], redirect: { hostname: other.test } }
      - { matches: [{ path: { prefix: /lost } }], forward: [{ upstream: lost }] }
      - { forward: [{ upstream: up }] }
  - { name: bytes, listeners: [raw], rules: [{ forward: [{ upstream: bytes }] }] }
upstreams: { up: { servers: ['${up}'] }, lost: { servers: ['127.0.0.1:1'] }, bytes: { servers: ['${bytes}'] } }
",
        &[("up", &up.address()), ("bytes", &bytes.address())],
    );
    let gateway = TestGateway::start(&yaml);
    for (listener, path, times) in [("a", "/", 5), ("a", "/lost", 1), ("b", "/", 2), ("b", "/moved", 3)] {
        let request = format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n\r\n");
        let mut client = RawClient::connect(gateway.address(listener));
        (0..times).for_each(|_| drop(client.exchange(&*request)));
    }
    let _open = (RawClient::connect(gateway.address("raw")), bytes.accept());
    let told = |gateway: &TestGateway| {
        let stats = gateway.stats();
        let came =
            stats.arrivals.iter().map(|a| format!("{} {} {} {}", a.listener, a.route, a.requests, a.errors));
        let went =
            stats.edges.iter().map(|e| format!("{} {} {} {}", e.route, e.upstream, e.requests, e.errors));
        came.chain(went).collect::<Vec<_>>()
    };
    let expected =
        ["a shop 6 1", "b shop 5 0", "raw bytes 1 0", "bytes bytes 1 0", "shop lost 1 1", "shop up 7 0"];
    gateway.wait("all to be counted", |gateway| told(gateway) == expected);
}
