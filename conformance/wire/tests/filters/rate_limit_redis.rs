//! The first-party filter `rate-limit` with a Redis that two gateways have in common: a real `redis-server`, started here
//! on a port of its own. `cargo xtask filters` builds the filter, `cargo xtask test` installs the server.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tidegate_testkit::{Authority, Certificate, Nobody, PATIENCE, RawClient, TestGateway, fill};

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
  redis: { servers: [${servers}], protocol: redis, login: { password: secret, database: 3 }${tls} }
";

/// A server that keeps nothing on disk, killed with the test.
struct Redis {
    /// Its port stays its own while it is gone.
    place: Nobody,
    child: Child,
}

impl Redis {
    fn start() -> Self {
        let place = Nobody::new();
        let child = serve(place.address(), &["--port", &place.address().port().to_string()]);
        Redis { place, child }
    }

    /// Only by TLS, with this certificate.
    fn start_with_tls(folder: &Path, certificate: &Certificate) -> Self {
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            path.display().to_string()
        };
        let (cert, key) = (file("cert.pem", &certificate.cert), file("key.pem", &certificate.key));
        let place = Nobody::new();
        let port = place.address().port().to_string();
        let tls = ["--port", "0", "--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key];
        let clients = ["--tls-ca-cert-file", &cert, "--tls-auth-clients", "no"];
        let child = serve(place.address(), &[&tls[..], &clients].concat());
        Redis { place, child }
    }

    /// Another one where the one was that has ended.
    fn start_again(&mut self) {
        self.child = serve(self.address(), &["--port", &self.address().port().to_string()]);
    }

    fn address(&self) -> SocketAddr {
        self.place.address()
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

/// A server's process, once it listens.
fn serve(address: SocketAddr, arguments: &[&str]) -> Child {
    let child = Command::new("redis-server")
        .args(arguments)
        .args(["--bind", "127.0.0.1", "--requirepass", "secret", "--save", ""])
        .args(["--appendonly", "no", "--dir", "/tmp"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("redis-server: {error}; install Debian's redis-server"));
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < deadline, "redis-server does not listen");
        thread::park_timeout(Duration::from_millis(5));
    }
    child
}

fn gateway(redis: &Redis, away: &str, limits: &str) -> TestGateway {
    gateway_at(&format!("'{}'", redis.address()), away, limits, "", &[])
}

fn gateway_at(servers: &str, away: &str, limits: &str, tls: &str, more: &[(&str, &[u8])]) -> TestGateway {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/filters/rate_limit.wasm");
    let module = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask filters`", path.display()));
    let yaml = fill(CONFIG, &[("away", &away), ("limits", &limits), ("servers", &servers), ("tls", &tls)]);
    TestGateway::start_with(&yaml, &[&[("rate_limit.wasm", &module[..])], more].concat())
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
    let redis = Redis::start();
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
    let redis = Redis::start();
    let limits = "{ name: all, rate: 100/s, global: true }";
    let gateways = [gateway(&redis, "deny", limits), gateway(&redis, "deny", limits)];
    let begun = Instant::now();
    let (mut passed, mut refused) = (Vec::new(), Vec::new());
    while begun.elapsed() < Duration::from_millis(2500) {
        for gateway in &gateways {
            let sent = Instant::now();
            let list = if ask(gateway).0 == 200 { &mut passed } else { &mut refused };
            list.push((sent, Instant::now()));
        }
    }
    assert!(passed.len() >= 100.min(passed.len() + refused.len()), "{} passed", passed.len());
    // Units come back late by a hundredth of the window, and clocks are looked at a little before they are needed: how much
    // is seen by the slowest answer.
    let slowest = passed.iter().chain(&refused).map(|(sent, got)| *got - *sent).max().unwrap_or_default();
    let late = Duration::from_millis(10) + slowest.max(Duration::from_millis(20));
    for (sent, got) in &refused {
        let begin = sent.checked_sub(WINDOW + late);
        let before =
            passed.iter().filter(|(asked, told)| begin.is_none_or(|begin| *told >= begin) && asked <= got);
        let count = before.count();
        assert!(count >= 100, "refused, though only {count} had passed in the second before it");
    }
    for (asked, told) in &passed {
        let inside = |one: &&(Instant, Instant)| one.0 >= *told && one.1 + late < *asked + WINDOW;
        let count = passed.iter().filter(inside).count();
        assert!(count < 100, "{count} behind the first one of a window");
    }
}

const WINDOW: Duration = Duration::from_secs(1);

#[test]
fn a_redis_that_is_away_is_as_configured_and_is_used_again() {
    let mut redis = Redis::start();
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
    redis.start_again();
    let passed = Cell::new(0);
    deny.wait("Redis to be used again", |deny| {
        // Each worker tries again when its own wait is over.
        let status = ask(deny).0;
        passed.set(passed.get() + usize::from(status == 200));
        status == 429
    });
    assert_eq!(passed.get(), 3);
    allow.wait("them to count together again", |allow| ask(allow).0 == 429);
    drop(redis);
}

#[test]
fn costs_are_settled_in_redis() {
    let redis = Redis::start();
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

#[test]
fn a_redis_by_tls_is_verified_and_asked_with_its_password() {
    let folder = std::env::temp_dir().join(format!("tidegate-redis-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let (known, unknown) = (Authority::new(), Authority::new());
    let redis = Redis::start_with_tls(&folder, &known.issue(&["redis.test"]));
    let server = format!("'{}'", redis.address());
    let start = |authority: &Authority| {
        let tls = ", tls: { serverName: redis.test, ca: ca.pem }";
        let limits = "{ name: all, rate: 2/h, global: true }";
        gateway_at(&server, "deny", limits, tls, &[("ca.pem", authority.pem().as_bytes())])
    };
    let statuses = |gateway: &TestGateway| [0; 3].map(|_| ask(gateway).0);
    assert_eq!(statuses(&start(&known)), [200, 200, 429]);
    assert_eq!(statuses(&start(&unknown)), [503; 3]);
    _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn of_several_servers_the_first_that_is_there_counts() {
    let (mut first, second) = (Redis::start(), Redis::start());
    let servers = format!("'{}', '{}'", first.address(), second.address());
    let limits = "{ name: all, rate: 2/h, global: true }";
    let start = || gateway_at(&servers, "deny", limits, "", &[]);
    let (one, other) = (start(), start());
    assert_eq!([ask(&one).0, ask(&other).0], [200, 200]);
    // Nobody has asked the second yet, so there all is left.
    first.stop();
    let passed = Cell::new(0);
    for gateway in [&one, &other] {
        gateway.wait("nothing to be left at the second server", |gateway| {
            // Until a worker has noticed it has no answer for a moment.
            let status = ask(gateway).0;
            passed.set(passed.get() + usize::from(status == 200));
            status == 429
        });
    }
    assert_eq!(passed.get(), 2, "they count together there");
}
