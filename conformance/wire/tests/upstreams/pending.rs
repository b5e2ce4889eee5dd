//! Requests over the limits of their upstream wait for their turn, as many of them as may.

use tidegate_testkit::{Answer, Gate, PATIENCE, RawClient, ScriptedUpstream, Step, TestGateway, fill};

const GET: &str = "GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn gateway(servers: &str, rule: &str, limits: &str) -> TestGateway {
    TestGateway::start(&yaml(servers, rule, limits))
}

fn yaml(servers: &str, rule: &str, limits: &str) -> String {
    fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }]${rule} }] }]
upstreams: { up: { servers: [${servers}], limits: { ${limits} } } }
",
        &[("servers", &servers), ("rule", &rule), ("limits", &limits)],
    )
}

/// A server whose answers wait for the gate.
fn gated() -> (ScriptedUpstream, Gate) {
    let gate = Gate::new();
    let wait = gate.clone();
    let upstream =
        ScriptedUpstream::start(move |_| Answer::steps([Step::Wait(wait.clone()), Step::send(OK)]));
    (upstream, gate)
}

fn asking(gateway: &TestGateway) -> RawClient {
    let mut client = RawClient::connect(gateway.address("web"));
    assert!(client.send(GET));
    client
}

fn waiting(gateway: &TestGateway, count: f64) {
    gateway.wait("requests that wait", |gateway| gateway.metric("tidegate_upstream_pending", "up") == count);
}

#[test]
fn over_either_limit_requests_wait_and_are_answered_in_turn() {
    for limits in ["requests: 1, pending: 2", "connections: 1, pending: 2"] {
        let (upstream, gate) = gated();
        let gateway = gateway(&upstream.address().to_string(), "", limits);
        let mut clients = vec![asking(&gateway)];
        upstream.wait("the first request", |c| c.iter().any(|c| !c.requests.is_empty()));
        for more in [1.0, 2.0] {
            clients.push(asking(&gateway));
            waiting(&gateway, more);
        }
        let refused = RawClient::connect(gateway.address("web")).exchange(GET);
        assert_eq!((refused.status, upstream.requests().len()), (503, 1), "{limits}");
        assert_eq!(gateway.metric("tidegate_upstream_overflow_total", "up"), 1.0);
        gate.open();
        for client in &mut clients {
            assert_eq!(client.response("GET").expect("an answer").text(), "ok", "{limits}");
        }
        waiting(&gateway, 0.0);
        assert_eq!(gateway.metric("tidegate_upstream_waits_total", "up"), 2.0);
        assert_eq!(upstream.connections().len(), 1, "all over one connection");
    }
}

#[test]
fn without_a_queue_they_are_refused() {
    let (upstream, gate) = gated();
    let gateway = gateway(&upstream.address().to_string(), "", "requests: 1, pending: 0");
    let mut first = asking(&gateway);
    upstream.wait("the first request", |c| c.iter().any(|c| !c.requests.is_empty()));
    assert_eq!(RawClient::connect(gateway.address("web")).exchange(GET).status, 503);
    gate.open();
    assert_eq!(first.response("GET").expect("an answer").status, 200);
}

#[test]
fn the_wait_is_part_of_the_time() {
    for (rule, limits) in [
        (", timeouts: { request: 300ms }", "requests: 1"),
        (", timeouts: { attempt: 300ms }", "connections: 1"),
    ] {
        let (upstream, _gate) = gated();
        let gateway = gateway(&upstream.address().to_string(), rule, limits);
        let mut clients = [asking(&gateway), asking(&gateway)];
        for client in &mut clients {
            assert_eq!(client.response("GET").expect("an answer").status, 504, "{rule}");
        }
        waiting(&gateway, 0.0);
    }
}

#[test]
fn a_client_that_leaves_gives_up_its_turn() {
    let (upstream, gate) = gated();
    let gateway = gateway(&upstream.address().to_string(), "", "connections: 1, pending: 1");
    let mut first = asking(&gateway);
    upstream.wait("the first request", |c| c.iter().any(|c| !c.requests.is_empty()));
    let second = asking(&gateway);
    waiting(&gateway, 1.0);
    drop(second);
    waiting(&gateway, 0.0);
    let mut third = asking(&gateway);
    waiting(&gateway, 1.0);
    gate.open();
    for client in [&mut first, &mut third] {
        assert_eq!(client.response("GET").expect("an answer").text(), "ok");
    }
}

/// Nobody reads their bodies while they wait, so what is known of these clients is that they send no more.
#[test]
fn clients_that_close_their_side_keep_their_turn() {
    let gate = Gate::new();
    let wait = gate.clone();
    let upstream = ScriptedUpstream::start(move |_| {
        Answer::steps([Step::ReadBody, Step::Wait(wait.clone()), Step::send(OK)])
    });
    let gateway = TestGateway::start_graceful(
        &yaml(&upstream.address().to_string(), "", "connections: 1, pending: 2"),
        &[],
        PATIENCE,
    );
    let mut first = asking(&gateway);
    upstream.wait("the first request", |c| c.iter().any(|c| !c.requests.is_empty()));
    let bodies = ["content-length: 3\r\n\r\nabc", "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"];
    let mut clients = bodies.map(|body| {
        let mut client = RawClient::connect(gateway.address("web"));
        assert!(client.send(format!("POST /case HTTP/1.1\r\nhost: a.test\r\n{body}")));
        client.half_close();
        client
    });
    waiting(&gateway, 2.0);
    gate.open();
    assert_eq!(first.response("GET").expect("an answer").text(), "ok");
    for client in &mut clients {
        assert_eq!(client.response("POST").expect("an answer").text(), "ok");
    }
    let requests = upstream.requests();
    assert_eq!(requests.iter().filter(|request| request.body == b"abc").count(), 2);
}

#[test]
fn a_connection_that_idles_at_one_server_makes_room_for_another() {
    let (one, other) = (ScriptedUpstream::plain(), ScriptedUpstream::plain());
    let servers = format!("'{}', '{}'", one.address(), other.address());
    let gateway = gateway(&servers, "", "connections: 1, pending: 0");
    let mut client = RawClient::connect(gateway.address("web"));
    for _ in 0..16 {
        assert_eq!(client.exchange(GET).status, 200);
    }
}
