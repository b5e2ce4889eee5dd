//! Health checks of servers, and servers that are left out because they are worse than the others, on real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidegate_testkit::{
    Answer, ByteServer, Cause, Circuit, GrpcStep, GrpcUpstream, Nobody, RawClient, ScriptedUpstream, Step,
    TestGateway, fill,
};

const GET: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";

fn gateway(servers: &[SocketAddr], upstream: &str, rule: &str) -> TestGateway {
    let servers: Vec<String> = servers.iter().map(|server| format!("'{server}'")).collect();
    TestGateway::start(&fill(
        "
workers: 2
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }]${rule} }] }]
upstreams: { up: { servers: [${servers}], balance: roundRobin, ${upstream} } }
",
        &[("servers", &servers.join(", ")), ("upstream", &upstream), ("rule", &rule)],
    ))
}

const NO_RETRIES: &str = ", retries: { attempts: 0 }";

/// As quick as a test wants it.
const QUICK: &str = "interval: 20ms, unsettledInterval: 10ms, timeout: 20s";

fn reply(status: u16, body: &str) -> Answer {
    let length = body.len();
    Answer::reply(format!("HTTP/1.1 {status} Word\r\ncontent-length: {length}\r\n\r\n{body}"))
}

/// A server whose checks are answered with the status of the moment, everything else with 200 and its name.
fn checked(name: &'static str, status: u64) -> (ScriptedUpstream, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(status));
    let answered = Arc::clone(&now);
    let upstream = ScriptedUpstream::start(move |call| match call.head.target.as_str() {
        "/healthz" => reply(answered.load(Ordering::SeqCst) as u16, ""),
        _ => reply(200, name),
    });
    (upstream, now)
}

fn answers(gateway: &TestGateway, requests: usize) -> Vec<String> {
    let mut client = RawClient::connect(gateway.address("web"));
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    (0..requests).map(|_| text(&client.exchange(GET).body)).collect()
}

fn circuits(gateway: &TestGateway) -> Vec<Circuit> {
    let servers = gateway.control().servers("up").expect("it is there");
    servers.iter().map(|state| state.circuit).collect()
}

fn requests_for(upstream: &ScriptedUpstream, target: &str) -> usize {
    upstream.requests().iter().filter(|request| request.target() == target).count()
}

#[test]
fn a_server_whose_checks_fail_gets_no_requests_until_they_do_not() {
    let ((one, status), (two, _)) = (checked("one", 200), checked("two", 200));
    let health = format!("health: {{ http: /healthz, {QUICK} }}");
    let gateway = gateway(&[one.address(), two.address()], &health, NO_RETRIES);
    gateway
        .wait("the first checks", |gateway| gateway.metric("tidegate_upstream_checks_total", "good") >= 2.0);
    assert_eq!(answers(&gateway, 4), ["one", "two", "one", "two"]);
    status.store(500, Ordering::SeqCst);
    gateway.wait("its bad checks", |gateway| circuits(gateway) == [Circuit::Open, Circuit::Closed]);
    assert_eq!(answers(&gateway, 4), ["two"; 4]);
    let state = &gateway.control().servers("up").expect("it is there")[0];
    let check = state.check.as_ref().expect("it was checked");
    assert_eq!(check.why.as_deref(), Some("it answered 500"));
    assert_eq!(gateway.metric("tidegate_upstream_server_open", "cause=\"check\""), 1.0);
    status.store(204, Ordering::SeqCst);
    gateway.wait("its good checks", |gateway| circuits(gateway) == [Circuit::Closed, Circuit::Closed]);
    assert_eq!(answers(&gateway, 4), ["one", "two", "one", "two"]);
}

#[test]
fn a_check_is_the_request_that_is_written_down() {
    let up = ScriptedUpstream::plain();
    let health = format!(
        "health: {{ http: {{ path: '/a?b=c', host: h.test, method: HEAD, headers: {{ x-a: b }}, statuses: [200] }}, {QUICK} }}"
    );
    let gateway = gateway(&[up.address()], &health, NO_RETRIES);
    gateway.wait("a check", |gateway| gateway.metric("tidegate_upstream_checks_total", "good") >= 1.0);
    let requests = up.requests();
    let head = requests[0].head.as_ref().expect("it was whole");
    assert_eq!((head.method.as_str(), head.target.as_str()), ("HEAD", "/a?b=c"));
    assert_eq!((requests[0].header("host"), requests[0].header("x-a")), (Some("h.test"), Some("b")));
    assert_eq!(circuits(&gateway), [Circuit::Closed]);
}

#[test]
fn a_new_server_may_have_to_be_good_first() {
    let ((one, _), (two, status)) = (checked("one", 200), checked("two", 503));
    let health = format!("health: {{ http: /healthz, initial: unhealthy, {QUICK} }}");
    let gateway = gateway(&[one.address(), two.address()], &health, NO_RETRIES);
    gateway.wait("the first checks", |gateway| circuits(gateway) == [Circuit::Closed, Circuit::Open]);
    assert_eq!(answers(&gateway, 10), ["one"; 10]);
    assert_eq!(requests_for(&two, "/"), 0);
    status.store(200, Ordering::SeqCst);
    gateway.wait("its good checks", |gateway| circuits(gateway) == [Circuit::Closed; 2]);
    assert_eq!(answers(&gateway, 4).iter().filter(|answer| *answer == "two").count(), 2);
}

/// Whatever the number of workers.
#[test]
fn there_is_one_checker_and_it_keeps_to_the_interval() {
    let (one, _) = checked("one", 200);
    let health = "health: { http: /healthz, interval: 200ms, unsettledInterval: 200ms, jitter: 0 }";
    let begun = Instant::now();
    let gateway = gateway(&[one.address()], health, NO_RETRIES);
    one.wait("eight checks", |connections| connections.len() >= 8);
    // The first one is at once, then one for each interval.
    assert!(begun.elapsed() >= Duration::from_millis(7 * 200 - 100), "{:?}", begun.elapsed());
    drop(gateway);
}

#[test]
fn servers_are_asked_by_the_health_protocol_of_grpc() {
    static STATUS: AtomicU64 = AtomicU64::new(1);
    let server = GrpcUpstream::start(|path| match path {
        "/grpc.health.v1.Health/Check" => vec![
            GrpcStep::Head(Vec::new()),
            GrpcStep::Reply(|_| vec![8, STATUS.load(Ordering::SeqCst) as u8]),
            GrpcStep::Trailers(vec![("grpc-status", "0")]),
        ],
        _ => vec![GrpcStep::Only(200, vec![("grpc-status", "12")])],
    });
    let health = format!("protocol: http2, health: {{ grpc: {{ service: orders }}, {QUICK} }}");
    let gateway = gateway(&[server.address()], &health, NO_RETRIES);
    gateway.wait("a check", |gateway| gateway.metric("tidegate_upstream_checks_total", "good") >= 1.0);
    assert_eq!(circuits(&gateway), [Circuit::Closed]);
    STATUS.store(2, Ordering::SeqCst);
    gateway.wait("bad checks", |gateway| circuits(gateway) == [Circuit::Open]);
    let state = &gateway.control().servers("up").expect("it is there")[0];
    let check = state.check.as_ref().expect("it was checked");
    assert_eq!(check.why.as_deref(), Some("it says NOT_SERVING"));
}

#[test]
fn bytes_may_be_expected() {
    let server = ByteServer::start();
    let address = server.address();
    let said = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&said);
    let serving = std::thread::spawn(move || {
        for answer in ["-LOADING\r\n", "+PO", "+PONG\r\n"] {
            let mut wire = server.accept();
            assert_eq!(wire.some().expect("it is sent at once"), b"PING\r\n");
            wire.send(answer.as_bytes()).expect("it listens");
            wire.half_close();
            count.fetch_add(1, Ordering::SeqCst);
        }
        server
    });
    let health =
        format!("health: {{ tcp: {{ send: \"PING\\r\\n\", expect: PONG }}, {QUICK}, healthyAfter: 1 }}");
    let gateway = gateway(&[address], &health, NO_RETRIES);
    gateway.wait("a good check", |gateway| gateway.metric("tidegate_upstream_checks_total", "good") >= 1.0);
    assert_eq!(gateway.metric("tidegate_upstream_checks_total", "bad"), 2.0);
    assert_eq!(circuits(&gateway), [Circuit::Closed]);
    drop(gateway);
    drop(serving.join().expect("the server got what it should"));
}

#[test]
fn all_servers_go_and_come_back() {
    // Their ports stay theirs while they are gone.
    let places: Vec<Nobody> = (0..3).map(|_| Nobody::new()).collect();
    let addresses: Vec<SocketAddr> = places.iter().map(Nobody::address).collect();
    let servers: Vec<_> = addresses.iter().map(|address| ScriptedUpstream::plain_at(*address)).collect();
    let health = format!("health: {{ http: /, {QUICK} }}, ejection: {{ time: 20ms, maxTime: 40ms }}");
    let gateway = gateway(&addresses, &health, NO_RETRIES);
    gateway
        .wait("the first checks", |gateway| gateway.metric("tidegate_upstream_checks_total", "good") >= 3.0);
    drop(servers);
    gateway.wait("bad checks", |gateway| circuits(gateway) == [Circuit::Open; 3]);
    assert_eq!(RawClient::connect(gateway.address("web")).exchange(GET).status, 503);
    let servers: Vec<ScriptedUpstream> = addresses
        .iter()
        .map(|address| ScriptedUpstream::start_at(*address, |_| reply(200, "back")))
        .collect();
    gateway.wait("good checks", |gateway| {
        gateway.control().servers("up").expect("it is there").iter().all(|state| state.causes.is_empty())
    });
    gateway.wait("an answer of each", |gateway| {
        answers(gateway, 3);
        circuits(gateway) == [Circuit::Closed; 3]
    });
    assert_eq!(answers(&gateway, 9), ["back"; 9]);
    assert!(servers.iter().all(|server| requests_for(server, "/") >= 3));
}

/// Clients that ask one request after the other until they are told to end; when each began, how long it took, its
/// status.
struct Clients {
    threads: Vec<std::thread::JoinHandle<Vec<(Instant, Duration, u16)>>>,
    stop: Arc<AtomicBool>,
}

impl Clients {
    fn start(address: SocketAddr, count: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut client = RawClient::connect(address);
                let mut seen = Vec::new();
                while !stop.load(Ordering::SeqCst) {
                    let begun = Instant::now();
                    let status = client.exchange(GET).status;
                    seen.push((begun, begun.elapsed(), status));
                }
                seen
            })
        };
        Self { threads: (0..count).map(client).collect(), stop }
    }

    fn finish(self) -> Vec<(Instant, Duration, u16)> {
        self.stop.store(true, Ordering::SeqCst);
        self.threads.into_iter().flat_map(|thread| thread.join().expect("it is answered")).collect()
    }
}

fn quantile(of: &mut [Duration], share: f64) -> Duration {
    of.sort_unstable();
    let at = ((of.len() as f64 * share) as usize).min(of.len().saturating_sub(1));
    of.get(at).copied().unwrap_or_default()
}

#[test]
fn a_third_of_nine_servers_dies_under_load() {
    let mut servers: Vec<ScriptedUpstream> = (0..9).map(|_| ScriptedUpstream::plain()).collect();
    let addresses: Vec<SocketAddr> = servers.iter().map(ScriptedUpstream::address).collect();
    let upstream = format!("health: {{ http: /, {QUICK} }}, ejection: {{ failures: 1 }}");
    let rule = ", retries: { attempts: 2, on: [connect] }";
    let gateway = gateway(&addresses, &upstream, rule);
    let clients = Clients::start(gateway.address("web"), 4);
    gateway.wait("traffic", |gateway| gateway.metric("tidegate_upstream_requests_total", "up") > 300.0);
    drop(servers.split_off(6));
    // What one worker has found out by its requests is its own; what the checks find is for all of them.
    gateway.wait("their end is seen", |gateway| {
        let servers = gateway.control().servers("up").expect("it is there");
        servers.iter().filter(|state| state.causes.contains(&Cause::Check)).count() == 3
    });
    let seen = Instant::now();
    let before = gateway.metric("tidegate_upstream_requests_total", "up");
    gateway.wait("more traffic", |gateway| {
        gateway.metric("tidegate_upstream_requests_total", "up") > before + 300.0
    });
    let results = clients.finish();
    let failed: Vec<_> = results.iter().filter(|(_, _, status)| *status != 200).collect();
    println!("{} requests, {} failed", results.len(), failed.len());
    // They end one after the other, each with a request of each client at most.
    assert!(failed.len() <= 12, "more than were in flight: {failed:?}");
    assert!(failed.iter().all(|(begun, ..)| *begun < seen), "after it was seen: {failed:?}");
}

#[test]
fn a_server_that_turns_slow_is_left_out() {
    let turns = Arc::new(AtomicBool::new(false));
    let servers: Vec<ScriptedUpstream> = (0..5)
        .map(|number| {
            let turns = Arc::clone(&turns);
            ScriptedUpstream::start(move |_| {
                if number == 0 && turns.load(Ordering::SeqCst) {
                    // What is being tested is a server that takes its time.
                    std::thread::park_timeout(SLOW);
                }
                reply(200, "ok")
            })
        })
        .collect();
    let addresses: Vec<SocketAddr> = servers.iter().map(ScriptedUpstream::address).collect();
    let upstream =
        "ejection: { time: 60s, interval: 300ms, latency: { requests: 2, quantile: 0.5, least: 500ms } }";
    let gateway = gateway(&addresses, upstream, NO_RETRIES);
    let clients = Clients::start(gateway.address("web"), 4);
    gateway.wait("traffic", |gateway| gateway.metric("tidegate_upstream_requests_total", "up") > 500.0);
    let turned = Instant::now();
    turns.store(true, Ordering::SeqCst);
    gateway.wait("it is left out", |gateway| circuits(gateway)[0] == Circuit::Open);
    let out = Instant::now();
    let before = gateway.metric("tidegate_upstream_requests_total", "up");
    gateway.wait("more traffic", |gateway| {
        gateway.metric("tidegate_upstream_requests_total", "up") > before + 1000.0
    });
    let results = clients.finish();
    let between = |from: Option<Instant>, to: Option<Instant>| -> Vec<Duration> {
        let within = |at: &Instant| from.is_none_or(|from| *at >= from) && to.is_none_or(|to| *at < to);
        results.iter().filter(|(begun, ..)| within(begun)).map(|(_, took, _)| *took).collect()
    };
    let p99 = |mut times: Vec<Duration>| quantile(&mut times, 0.99);
    let (well, during, after) = (
        p99(between(None, Some(turned))),
        p99(between(Some(turned), Some(out))),
        p99(between(Some(out), None)),
    );
    println!(
        "p99 before {well:?}, while slow {during:?}, after {after:?}; left out after {:?}",
        out - turned
    );
    assert_eq!(gateway.metric("tidegate_upstream_outliers_total", "by=\"latency\""), 1.0);
    let state = &gateway.control().servers("up").expect("it is there")[0];
    assert!(state.outlier.as_deref().is_some_and(|why| why.starts_with("its answers take")), "{state:?}");
    assert!(
        after < SLOW,
        "one of a hundred requests is at the slow server: p99 was {well:?} and is {after:?}"
    );
}

/// How long the server takes that turns slow: far more than what a machine adds that does other things as well.
const SLOW: Duration = Duration::from_secs(1);

#[test]
fn a_server_that_fails_more_than_the_others_is_left_out_for_a_while() {
    let servers: Vec<ScriptedUpstream> = (0..6)
        .map(|number| {
            ScriptedUpstream::start(move |call| match number == 5 && call.overall % 2 == 0 {
                true => reply(500, "no"),
                false => reply(200, "ok"),
            })
        })
        .collect();
    let addresses: Vec<SocketAddr> = servers.iter().map(ScriptedUpstream::address).collect();
    let upstream = "ejection: { time: 300ms, interval: 200ms, successRate: { requests: 5 } }";
    let gateway = gateway(&addresses, upstream, NO_RETRIES);
    let clients = Clients::start(gateway.address("web"), 2);
    let all_but_last = [vec![Circuit::Closed; 5], vec![Circuit::Open]].concat();
    gateway.wait("it is left out", |gateway| circuits(gateway) == all_but_last);
    gateway.wait("it is taken back", |gateway| circuits(gateway) == [Circuit::Closed; 6]);
    gateway.wait("it is left out again", |gateway| {
        gateway.metric("tidegate_upstream_outliers_total", "by=\"success_rate\"") >= 2.0
    });
    clients.finish();
}

/// A check goes nowhere, and what is wrong with it is told.
#[test]
fn a_check_that_hangs_is_a_bad_one() {
    let up = ScriptedUpstream::start(|_| Answer::steps([Step::ReadBody, Step::UntilClosed]));
    let health = "health: { http: /, interval: 20ms, timeout: 30ms }";
    let gateway = gateway(&[up.address()], health, NO_RETRIES);
    gateway.wait("a bad check", |gateway| circuits(gateway) == [Circuit::Open]);
    let state = &gateway.control().servers("up").expect("it is there")[0];
    assert_eq!(state.check.as_ref().and_then(|check| check.why.as_deref()), Some("nothing within 30ms"));
}

#[test]
fn a_reload_keeps_what_is_known_of_servers() {
    let ((one, _), (two, _)) = (checked("one", 500), checked("two", 200));
    let text = |connect: &str, health: &str| {
        fill(
            "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${one}', '${two}'], timeouts: { connect: ${connect} }${health} } }
",
            &[("one", &one.address()), ("two", &two.address()), ("connect", &connect), ("health", &health)],
        )
    };
    let health = ", health: { http: /healthz, interval: 1h, unsettledInterval: 10ms, unhealthyAfter: 2 }";
    let gateway = TestGateway::start(&text("1s", health));
    gateway.wait("the first checks", |gateway| circuits(gateway) == [Circuit::Open, Circuit::Closed]);
    gateway.reload(&text("2s", health));
    assert_eq!(answers(&gateway, 8), ["two"; 8]);
    // Without checks nothing is known of its health.
    gateway.reload(&text("2s", ""));
    gateway.wait("what is known is forgotten", |gateway| circuits(gateway) == [Circuit::Closed; 2]);
}
