//! Servers of an upstream that change while it runs.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tidegate_testkit::{Answer, Cause, Gate, RawClient, ScriptedUpstream, Server, Step, TestGateway, fill};

const GET: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";

const CONFIG: &str = "
workers: 2
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }], retries: { attempts: 0 } }] }]
upstreams: { up: { servers: ['${server}'], balance: ${balance} } }
";

fn gateway(balance: &str, server: SocketAddr) -> TestGateway {
    TestGateway::start(&fill(CONFIG, &[("server", &server), ("balance", &balance)]))
}

fn named(name: &'static str) -> ScriptedUpstream {
    ScriptedUpstream::start(move |_| {
        Answer::reply(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()))
    })
}

/// What a new connection's requests are answered with.
fn answers(gateway: &TestGateway, requests: usize) -> Vec<String> {
    let mut client = RawClient::connect(gateway.address("web"));
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    (0..requests).map(|_| text(&client.exchange(GET).body)).collect()
}

#[test]
fn a_new_list_is_served_at_once() {
    let (one, two) = (named("one"), named("two"));
    let gateway = gateway("roundRobin", one.address());
    assert_eq!(answers(&gateway, 4), ["one"; 4]);
    gateway.put_servers("up", &[Server::new(two.address())]);
    assert_eq!(answers(&gateway, 4), ["two"; 4]);
    gateway
        .put_servers("up", &[Server { weight: 3, ..Server::new(one.address()) }, Server::new(two.address())]);
    let answered = answers(&gateway, 40);
    assert_eq!(answered.iter().filter(|answer| *answer == "one").count(), 30, "{answered:?}");
    gateway.put_servers("up", &[]);
    assert_eq!(RawClient::connect(gateway.address("web")).exchange(GET).status, 503);
    gateway.put_servers("up", &[Server::new(one.address())]);
    assert_eq!(answers(&gateway, 4), ["one"; 4]);
}

#[test]
fn who_stays_keeps_its_connections_and_who_goes_ends_what_it_has() {
    let (one, two) = (named("one"), named("two"));
    let gateway = gateway("roundRobin", one.address());
    let mut client = RawClient::connect(gateway.address("web"));
    client.exchange(GET);
    let opened = || gateway.metric("tidegate_upstream_connections_total", "up");
    assert_eq!(opened(), 1.0);
    for port in 1..50 {
        let other = Server { weight: 0, ..Server::new(([127, 0, 0, 1], port).into()) };
        gateway.put_servers("up", &[Server::new(one.address()), other]);
        client.exchange(GET);
    }
    assert_eq!(opened(), 1.0);

    // A request that is at a server which goes is answered by it.
    let gate = Gate::default();
    let held = gate.clone();
    let slow = ScriptedUpstream::start(move |_| {
        let head = Step::send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nsl");
        Answer::steps([head, Step::Wait(held.clone()), Step::send("ow")])
    });
    gateway.put_servers("up", &[Server::new(slow.address())]);
    client.send(GET);
    slow.wait("the request", |all| all.iter().any(|connection| !connection.requests.is_empty()));
    gateway.put_servers("up", &[Server::new(two.address())]);
    assert_eq!(answers(&gateway, 1), ["two"]);
    gate.open();
    assert_eq!(client.response("GET").expect("an answer").body, b"slow");
}

#[test]
fn a_server_that_is_marked_gets_no_requests_until_the_cause_is_over() {
    let (one, two) = (named("one"), named("two"));
    let gateway = gateway("leastRequest", one.address());
    let servers = [Server::new(one.address()), Server::new(two.address())];
    gateway.put_servers("up", &servers);
    let control = gateway.control();
    let mark =
        |server: usize, cause, bad| control.mark_server("up", &servers[server], cause, bad).expect("known");
    assert!(mark(0, Cause::Source, true) && !mark(0, Cause::Source, true));
    assert!(mark(0, Cause::Outlier, true));
    assert_eq!(answers(&gateway, 20), ["two"; 20]);
    assert!(mark(0, Cause::Source, false));
    assert_eq!(answers(&gateway, 20), ["two"; 20]);
    let causes: Vec<_> =
        control.servers("up").expect("known").into_iter().map(|state| state.causes).collect();
    assert_eq!(causes, [vec![Cause::Outlier], Vec::new()]);
    assert!(mark(0, Cause::Outlier, false));
    assert!(answers(&gateway, 40).contains(&"one".to_owned()));
    // Leaving all out would help nobody.
    assert!(mark(0, Cause::Source, true) && mark(1, Cause::Source, true));
    let answered = answers(&gateway, 40);
    assert!(answered.contains(&"one".to_owned()) && answered.contains(&"two".to_owned()));
}

#[test]
fn a_reload_keeps_what_it_does_not_change() {
    let (one, two) = (named("one"), named("two"));
    let config = |timeouts: &str| {
        let text = CONFIG.replace("balance: ${balance}", &format!("balance: roundRobin{timeouts}"));
        fill(&text, &[("server", &one.address())])
    };
    let gateway = TestGateway::start(&config(""));
    gateway.put_servers("up", &[Server::new(two.address())]);
    assert_eq!(answers(&gateway, 2), ["two"; 2]);
    gateway.reload(&config(""));
    assert_eq!(answers(&gateway, 2), ["two"; 2]);
    assert!(two.connections().len() <= 2, "there is one for each worker");
    gateway.reload(&config(", timeouts: { connect: 3s }"));
    assert_eq!(answers(&gateway, 2), ["two"; 2]);
    let other = config("").replace(&one.address().to_string(), &two.address().to_string());
    gateway.put_servers("up", &[Server::new(one.address())]);
    gateway.reload(&other);
    assert_eq!(answers(&gateway, 2), ["two"; 2]);
}

#[test]
fn a_thousand_changes_a_second_fail_no_request() {
    let upstreams: Vec<_> = (0..4).map(|_| named("here")).collect();
    let gateway = gateway("leastRequest", upstreams[0].address());
    let servers: Vec<_> = upstreams.iter().map(|upstream| Server::new(upstream.address())).collect();
    gateway.put_servers("up", &servers);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = RawClient::connect(gateway.address("web"));
                    let mut requests = 0;
                    while !over.load(Ordering::Relaxed) {
                        assert_eq!(client.exchange(GET).status, 200);
                        requests += 1;
                    }
                    requests
                })
            })
            .collect();
        let (start, mut changes) = (Instant::now(), 0_u32);
        while changes < 1500 {
            // Two of four leave and return in turn, weights change with them.
            let server = &servers[2 + (changes / 2 % 2) as usize];
            let put = Server { weight: 1 + changes % 3, ..server.clone() };
            let changed = match changes % 2 {
                0 => gateway.control().amend_servers("up", &[], std::slice::from_ref(server)),
                _ => gateway.control().amend_servers("up", &[put], &[]),
            };
            changed.expect("there is such an upstream");
            changes += 1;
            let due = Duration::from_millis(1) * changes;
            std::thread::park_timeout(due.saturating_sub(start.elapsed()));
        }
        over.store(true, Ordering::Relaxed);
        let requests: u32 = clients.into_iter().map(|client| client.join().expect("no request failed")).sum();
        assert!(requests > 100, "{requests}");
    });
    assert_eq!(gateway.metric("tidegate_request_failures_total", ""), 0.0);
}
