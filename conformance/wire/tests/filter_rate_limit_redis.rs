//! The first-party filter `rate-limit` with a Redis that two gateways have in common: a real `redis-server`, started here
//! on a port of its own. `cargo xtask filters` builds the filter, `cargo xtask test` installs the server.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_testkit::{RawClient, TestGateway, fill};

const CONFIG: &str = "
workers: 2
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  limits:
    module: rate_limit.wasm
    capabilities: { upstreams: [redis] }
    config:
      redis: { upstream: redis, timeout: 10s, onError: ${away} }
      limits: [${limits}]
routes: [{ name: r, rules: [{ filters: [{ plugin: limits }], respond: { status: 200, headers: { x-cost: '5' }, body: ok } }] }]
upstreams:
  redis: { servers: ['127.0.0.1:${port}'], protocol: redis, login: { password: secret, database: 3 } }
";

/// A server that keeps nothing on disk, killed with the test.
struct Redis {
    port: u16,
    child: Child,
}

impl Redis {
    fn start(port: u16) -> Self {
        let port_text = port.to_string();
        let child = Command::new("redis-server")
            .args(["--port", &port_text, "--bind", "127.0.0.1", "--requirepass", "secret", "--save", ""])
            .args(["--appendonly", "no", "--dir", "/tmp"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("redis-server: {error}; install Debian's redis-server"));
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not listen");
            thread::park_timeout(Duration::from_millis(5));
        }
        Redis { port, child }
    }

    fn stop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that nothing listens on; the server cannot choose one itself.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("{error}"));
    listener.local_addr().map_or(0, |address| address.port())
}

fn gateway(redis: &Redis, away: &str, limits: &str) -> TestGateway {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/filters/rate_limit.wasm");
    let module = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask filters`", path.display()));
    let yaml = fill(CONFIG, &[("away", &away), ("limits", &limits), ("port", &redis.port)]);
    TestGateway::start_with(&yaml, &[("rate_limit.wasm", &module)])
}

fn ask(gateway: &TestGateway) -> (u16, String) {
    let answer =
        RawClient::connect(gateway.address("web")).exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    (answer.status, answer.header("ratelimit").unwrap_or_default().to_owned())
}

/// So many requests to each gateway, on two connections; how many passed.
fn flood(gateways: &[TestGateway], requests: usize) -> usize {
    let client = |gateway: &TestGateway| {
        let mut client = RawClient::connect(gateway.address("web"));
        let mut passed = 0;
        for _ in 0..requests / 2 {
            let answer = client.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
            assert!([200, 429].contains(&answer.status), "{answer:?}");
            passed += usize::from(answer.status == 200);
            if answer.header("connection") == Some("close") {
                client = RawClient::connect(gateway.address("web"));
            }
        }
        passed
    };
    thread::scope(|scope| {
        let clients: Vec<_> =
            gateways.iter().chain(gateways).map(|gateway| scope.spawn(move || client(gateway))).collect();
        clients.into_iter().map(|client| client.join().unwrap_or_else(|_| panic!("a client failed"))).sum()
    })
}

#[test]
fn two_gateways_admit_the_limit_together() {
    let redis = Redis::start(free_port());
    for (rate, name) in [("300/h", "sliding"), ("1/h burst 300", "bucket"), ("300 per 300 days", "quota")] {
        let limits = format!("{{ name: {name}, rate: {rate}, global: true }}");
        let gateways = [gateway(&redis, "deny", &limits), gateway(&redis, "deny", &limits)];
        let passed = flood(&gateways, 400);
        assert_eq!(passed, 300, "{rate}");
        // What is known to be exhausted is refused without a question.
        let refused = ask(&gateways[0]);
        assert_eq!(refused.0, 429, "{rate}");
    }
}

#[test]
fn windows_of_two_gateways_have_one_limit() {
    let redis = Redis::start(free_port());
    let limits = "{ name: all, rate: 100/s, global: true }";
    let gateways = [gateway(&redis, "deny", limits), gateway(&redis, "deny", limits)];
    let begun = Instant::now();
    let mut passed = 0;
    while begun.elapsed() < Duration::from_millis(2500) {
        passed += flood(&gateways, 20);
    }
    let windows = usize::try_from(begun.elapsed().as_secs()).unwrap_or(usize::MAX) + 1;
    assert!(passed <= 100 * windows, "{passed} in {windows} windows");
    assert!(passed >= 100 * (windows - 1), "{passed} in {windows} windows");
}

#[test]
fn a_redis_that_is_away_is_as_configured_and_is_used_again() {
    let mut redis = Redis::start(free_port());
    let limits = "{ name: all, rate: 3/h, global: true }";
    let [local, allow, deny] = ["local", "allow", "deny"].map(|away| gateway(&redis, away, limits));
    assert_eq!(ask(&local).0, 200);
    redis.stop();
    let statuses = |gateway: &TestGateway| [0; 4].map(|_| ask(gateway).0);
    assert_eq!(statuses(&local), [200, 200, 200, 429]);
    assert_eq!(statuses(&allow), [200; 4]);
    assert_eq!(statuses(&deny), [503; 4]);
    assert_eq!(allow.guest_metric("limits", "rate_limit_unasked_total"), 4);
    // It begins anew, without the script and without counts.
    let redis = Redis::start(redis.port);
    deny.wait("Redis to be used again", |deny| ask(deny).0 == 200);
    let passed = [0; 4].map(|_| ask(&deny).0);
    assert_eq!(passed, [200, 200, 429, 429]);
    assert_eq!(ask(&allow).0, 429, "they count together again");
    drop(redis);
}

#[test]
fn costs_are_settled_in_redis() {
    let redis = Redis::start(free_port());
    let limits = "{ name: work, rate: 20/h, global: true, cost: { response: x-cost } }";
    let gateways = [gateway(&redis, "deny", limits), gateway(&redis, "deny", limits)];
    let left = |gateway: &TestGateway| {
        let (status, text) = ask(gateway);
        (status, text.split(';').nth(1).unwrap_or_default().to_owned())
    };
    assert_eq!(left(&gateways[0]), (200, "r=15".to_owned()));
    assert_eq!(left(&gateways[1]), (200, "r=10".to_owned()));
    assert_eq!(left(&gateways[0]), (200, "r=5".to_owned()));
}
