//! Servers that fail are left out for a while, tried by one request, and taken back.

use std::cell::RefCell;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tidegate_testkit::{
    Answer, Authority, ByteServer, Circuit, Gate, Nobody, RawClient, ScriptedUpstream, Step, TestGateway,
    fill,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";

fn gateway(servers: &[String], ejection: &str) -> TestGateway {
    let servers: Vec<String> = servers.iter().map(|server| format!("'{server}'")).collect();
    TestGateway::start(&fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }], retries: { attempts: 0 } }] }]
upstreams: { up: { servers: [${servers}], balance: roundRobin${ejection} } }
",
        &[("servers", &servers.join(", ")), ("ejection", &ejection)],
    ))
}

fn statuses(gateway: &TestGateway, requests: usize) -> Vec<u16> {
    let mut client = RawClient::connect(gateway.address("web"));
    (0..requests).map(|_| client.exchange(GET).status).collect()
}

fn left_out(gateway: &TestGateway) -> f64 {
    gateway.metric("tidegate_upstream_servers_left_out", "up")
}

/// A server whose answer to everything is one of two, as a switch says.
fn switched(broken: Answer) -> (ScriptedUpstream, Arc<AtomicBool>) {
    let breaks = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&breaks);
    let upstream = ScriptedUpstream::start(move |_| match switch.load(Ordering::SeqCst) {
        true => broken.clone(),
        false => Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nback"),
    });
    (upstream, breaks)
}

/// The first case is without any key of the configuration.
#[test]
fn a_server_that_refuses_connections_costs_one_request() {
    for (ejection, cost) in [("", 1), (", ejection: { refused: 0s, time: 1h, maxTime: 1h }", 5)] {
        let (nobody, up) = (Nobody::new(), ScriptedUpstream::plain());
        let gateway = gateway(&[nobody.address().to_string(), up.address().to_string()], ejection);
        let statuses = statuses(&gateway, 40);
        assert_eq!(statuses.iter().filter(|status| **status == 503).count(), cost, "{statuses:?}");
        assert!(statuses.iter().skip(2 * cost).all(|status| *status == 200), "{statuses:?}");
        assert_eq!(left_out(&gateway), 1.0);
        assert_eq!(gateway.metric("tidegate_upstream_ejections_total", "up"), 1.0);
    }
}

/// The gateway itself finds out that it is back: no request is spent on that.
#[test]
fn a_server_that_refused_is_taken_back_without_a_request() {
    let (nobody, up) = (Nobody::new(), ScriptedUpstream::plain());
    let servers = [nobody.address().to_string(), up.address().to_string()];
    let gateway = gateway(&servers, ", ejection: { refused: 1ms, time: 20ms }");
    let first = statuses(&gateway, 10);
    assert_eq!(first.iter().filter(|status| **status == 503).count(), 1, "{first:?}");
    assert_eq!(statuses(&gateway, 10), [200; 10], "no request tries it");
    assert_eq!(left_out(&gateway), 1.0);
    let back = nobody.listen();
    back.accept().expect("the gateway connects by itself");
    gateway.wait("the server's return", |gateway| left_out(gateway) == 0.0);
    let failures = gateway.metric("tidegate_upstream_connect_failures_total", "up");
    assert_eq!(failures, 1.0, "only connections for requests count");
}

/// The only connection that there may be idles, and has to give way.
#[test]
fn a_server_that_refused_is_asked_where_another_ones_connections_use_up_the_limit() {
    let (nobody, up) = (Nobody::new(), ScriptedUpstream::plain());
    let servers = [nobody.address().to_string(), up.address().to_string()];
    let rest = ", limits: { connections: 1 }, ejection: { refused: 1ms, time: 20ms, maxTime: 40ms }";
    let gateway = gateway(&servers, rest);
    statuses(&gateway, 2);
    let _back = ScriptedUpstream::plain_at(nobody.address());
    gateway.wait("the server's return", |gateway| {
        statuses(gateway, 2);
        left_out(gateway) == 0.0
    });
}

/// The only connection that there may be is with a request, so that the gateway cannot ask.
#[test]
fn a_server_that_refused_is_tried_by_a_request_where_there_is_no_room_to_ask() {
    let (nobody, gate) = (Nobody::new(), Gate::new());
    let (holds, held) = (Arc::new(AtomicBool::new(false)), gate.clone());
    let holding = Arc::clone(&holds);
    let up = ScriptedUpstream::start(move |_| {
        let answer = Step::send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nheld");
        match holding.load(Ordering::SeqCst) {
            true => Answer::steps([Step::Wait(held.clone()), answer]),
            false => Answer::steps([answer]),
        }
    });
    let servers = [nobody.address().to_string(), up.address().to_string()];
    let rest = ", limits: { connections: 1 }, ejection: { refused: 1ms, time: 20ms }";
    let gateway = gateway(&servers, rest);
    statuses(&gateway, 2);
    holds.store(true, Ordering::SeqCst);
    let clients = RefCell::new(Vec::new());
    gateway.wait("a request that tries it", |gateway| {
        let mut client = RawClient::connect(gateway.address("web"));
        client.send(GET);
        clients.borrow_mut().push(client);
        let servers = gateway.control().servers("up").expect("it is there");
        let refusing = servers.iter().find(|state| state.server.address == nobody.address());
        refusing.expect("known").circuit == Circuit::HalfOpen
    });
    gate.open();
}

/// As a client's bytes are: by a connection that is not kept.
#[test]
fn a_server_of_bytes_that_refused_is_asked_without_leaving_a_connection() {
    let (nobody, up) = (Nobody::new(), ByteServer::start());
    let gateway = TestGateway::start(&fill(
        "
listeners: [{ name: db, address: '127.0.0.1:0', protocol: tcp }]
routes: [{ name: db, listeners: [db], rules: [{ name: all, forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${nobody}', '${up}'], balance: roundRobin, ejection: { refused: 1ms, time: 20ms } } }
",
        &[("nobody", &nobody.address()), ("up", &up.address())],
    ));
    // The second is refused where the first was not: both end at the server that is there.
    let _open = [(); 2].map(|()| (RawClient::connect(gateway.address("db")), up.accept()));
    assert_eq!(left_out(&gateway), 1.0);
    let (mut asked, _) = nobody.listen().accept().expect("the gateway connects by itself");
    let mut said = Vec::new();
    asked.read_to_end(&mut said).expect("it ends");
    assert_eq!(said, b"");
    gateway.wait("the server's return", |gateway| left_out(gateway) == 0.0);
}

/// The same over TLS: hands are shaken, by no protocol, as they are for a client.
#[test]
fn a_server_of_bytes_over_tls_that_refused_is_asked_by_a_handshake() {
    let (authority, nobody, up) = (Authority::new(), Nobody::new(), ByteServer::start());
    let certificate = authority.issue(&["up.test"]);
    let yaml = fill(
        "
listeners: [{ name: db, address: '127.0.0.1:0', protocol: tcp }]
routes: [{ name: db, listeners: [db], rules: [{ name: all, forward: [{ upstream: up }] }] }]
upstreams:
  up:
    servers: ['${nobody}', '${up}']
    tls: { serverName: up.test, ca: ca.pem }
    balance: roundRobin
    ejection: { refused: 1ms, time: 20ms }
",
        &[("nobody", &nobody.address()), ("up", &up.address())],
    );
    let gateway = TestGateway::start_with(&yaml, &[("ca.pem", authority.pem().as_bytes())]);
    let _open = [(); 2]
        .map(|()| (RawClient::connect(gateway.address("db")), up.accept_tls(&certificate, &["http/1.1"])));
    assert_eq!(left_out(&gateway), 1.0);
    let back = ByteServer::from(nobody.listen());
    let (mut asked, agreed) = back.accept_tls(&certificate, &["h2", "http/1.1"]);
    assert_eq!(agreed, None, "bytes are no HTTP");
    gateway.wait("the server's return", |gateway| left_out(gateway) == 0.0);
    assert_eq!(asked.drain().0, b"");
}

#[test]
fn a_server_that_breaks_off_costs_five_requests() {
    let (bad, up) = (switched(Answer::steps([Step::ReadBody, Step::Reset])).0, ScriptedUpstream::plain());
    let gateway = gateway(&[bad.address().to_string(), up.address().to_string()], "");
    let statuses = statuses(&gateway, 40);
    assert_eq!(statuses.iter().filter(|status| **status != 200).count(), 5, "{statuses:?}");
    assert_eq!(left_out(&gateway), 1.0);
    assert_eq!(gateway.metric("tidegate_upstream_ejections_total", "up"), 1.0);
}

#[test]
fn a_server_that_breaks_off_is_left_out_too() {
    for broken in [
        Answer::steps([Step::ReadBody, Step::Reset]),
        Answer::reply("garbage\r\n\r\n").then(Step::Close),
        Answer::reply("HTTP/1.1 20").then(Step::Close),
    ] {
        let (bad, up) = (switched(broken).0, ScriptedUpstream::plain());
        let gateway =
            gateway(&[bad.address().to_string(), up.address().to_string()], ", ejection: { failures: 2 }");
        let statuses = statuses(&gateway, 20);
        assert_eq!(statuses.iter().filter(|status| **status != 200).count(), 2, "{statuses:?}");
    }
}

#[test]
fn statuses_count_where_they_are_listed() {
    let broken = || Answer::reply("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy");
    for (ejection, bad_answers) in [(", ejection: { failures: 3, statuses: [503] }", 3), ("", 10)] {
        let (bad, up) = (switched(broken()).0, ScriptedUpstream::plain());
        let gateway = gateway(&[bad.address().to_string(), up.address().to_string()], ejection);
        let statuses = statuses(&gateway, 20);
        assert_eq!(statuses.iter().filter(|status| **status == 503).count(), bad_answers, "{ejection}");
    }
}

#[test]
fn a_server_that_is_well_again_is_taken_back() {
    let broken = Answer::steps([Step::ReadBody, Step::Reset]);
    let ((bad, breaks), up) = (switched(broken), ScriptedUpstream::plain());
    let servers = [bad.address().to_string(), up.address().to_string()];
    let gateway = gateway(&servers, ", ejection: { failures: 1, time: 50ms, maxTime: 100ms }");
    statuses(&gateway, 4);
    assert_eq!(left_out(&gateway), 1.0);
    breaks.store(false, Ordering::SeqCst);
    gateway.wait("the server's return", |gateway| {
        statuses(gateway, 2);
        left_out(gateway) == 0.0
    });
    bad.forget();
    assert_eq!(statuses(&gateway, 10), [200; 10]);
    assert_eq!(bad.requests().len(), 5);
}

/// Closed, open, and half-open while one request tries the server.
#[test]
fn the_circuit_of_a_server_is_seen() {
    let (breaks, gate) = (Arc::new(AtomicBool::new(true)), Gate::new());
    let (broken, held) = (Arc::clone(&breaks), gate.clone());
    let bad = ScriptedUpstream::start(move |_| match broken.load(Ordering::SeqCst) {
        true => Answer::steps([Step::ReadBody, Step::Reset]),
        false => Answer::steps([
            Step::Wait(held.clone()),
            Step::send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nback"),
        ]),
    });
    let up = ScriptedUpstream::plain();
    let servers = [bad.address().to_string(), up.address().to_string()];
    let gateway = gateway(&servers, ", ejection: { failures: 1, time: 50ms, maxTime: 100ms }");
    let circuit = || {
        let servers = gateway.control().servers("up").expect("it is there");
        servers.iter().find(|state| state.server.address == bad.address()).expect("known").circuit
    };
    let failure = || {
        let servers = gateway.control().servers("up").expect("it is there");
        servers.into_iter().find(|state| state.server.address == bad.address()).expect("known").failure
    };
    let shown = |word: &str| gateway.metric("tidegate_upstream_servers", &format!("circuit=\"{word}\""));
    assert_eq!(circuit(), Circuit::Closed);
    statuses(&gateway, 2);
    assert_eq!((circuit(), shown("open"), shown("closed")), (Circuit::Open, 1.0, 1.0));
    assert_eq!(failure().as_deref(), Some("upstream_reset"));
    breaks.store(false, Ordering::SeqCst);
    std::thread::scope(|scope| {
        // One of these meets the server when its time is over, and waits there.
        let tries = scope.spawn(|| {
            let mut client = RawClient::connect(gateway.address("web"));
            std::iter::repeat_with(|| client.exchange(GET).text()).find(|text| text == "back")
        });
        gateway.wait("the request that tries it", |_| circuit() == Circuit::HalfOpen);
        assert_eq!(shown("half-open"), 1.0);
        gate.open();
        assert!(tries.join().expect("it ends").is_some());
    });
    gateway.wait("the server's return", |_| circuit() == Circuit::Closed);
    assert_eq!(failure(), None);
}

/// Leaving all out would help nobody.
#[test]
fn when_all_fail_all_are_asked() {
    let nobody = [(); 4].map(|()| Nobody::new());
    let servers: Vec<String> = nobody.iter().map(|one| one.address().to_string()).collect();
    let gateway = gateway(&servers, ", ejection: { failures: 1 }");
    assert_eq!(statuses(&gateway, 20), [503; 20]);
    assert_eq!(left_out(&gateway), 2.0);
}

#[test]
fn it_can_be_switched_off() {
    let (nobody, up) = (Nobody::new(), ScriptedUpstream::plain());
    let gateway = gateway(&[nobody.address().to_string(), up.address().to_string()], ", ejection: false");
    assert_eq!(statuses(&gateway, 40).iter().filter(|status| **status == 503).count(), 20);
}
