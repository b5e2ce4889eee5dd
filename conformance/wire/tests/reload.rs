//! Reloads under load: no request fails, and nothing of an old configuration stays.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate_testkit::{Authority, Load, LoadOptions, RawClient, ScriptedUpstream, TestGateway, fill};

const RELOADS: usize = 100;

fn yaml(upstream: &ScriptedUpstream, number: usize, module: bool) -> String {
    fill(
        "
workers: 2
listeners:
  - { name: web, address: '127.0.0.1:0', protocol: http }
  - name: secure
    address: 127.0.0.1:0
    protocol: https
    tls: { certificates: [{ cert: site.pem, key: site.key }] }
plugins: { mark: { module: mark.wasm } }
routes:
  - name: main
    rules:
      - filters: [${filter}{ responseHeaders: { set: { x-number: '${number}' } } }]
        forward: [{ upstream: up }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[
            ("up", &upstream.address()),
            ("number", &number),
            ("filter", &if module { "{ plugin: mark }, " } else { "" }),
        ],
    )
}

fn module(number: usize) -> Vec<u8> {
    fill(include_str!("guests/mark.wat"), &[("mark", &format!("{number:08}"))]).into_bytes()
}

struct Site {
    upstream: ScriptedUpstream,
    authority: Arc<Authority>,
    gateway: TestGateway,
}

impl Site {
    fn new(with_module: bool) -> Self {
        Self::graceful(with_module, Duration::from_secs(1))
    }

    fn graceful(with_module: bool, grace: Duration) -> Self {
        let upstream = ScriptedUpstream::plain();
        let authority = Arc::new(Authority::new());
        let certificate = authority.issue(&["a.test"]);
        let files: [(&str, &[u8]); 3] = [
            ("site.pem", certificate.cert.as_bytes()),
            ("site.key", certificate.key.as_bytes()),
            ("mark.wasm", &module(0)),
        ];
        let gateway = TestGateway::start_graceful(&yaml(&upstream, 0, with_module), &files, grace);
        Self { upstream, authority, gateway }
    }

    /// HTTP/1.1 and HTTP/2, in clear text and over TLS.
    fn load(&self) -> Vec<Load> {
        let clear = LoadOptions { connections: 1, ..LoadOptions::new(self.gateway.address("web")) };
        let secure = LoadOptions {
            connections: 1,
            reconnect: 10,
            authority: Some(Arc::clone(&self.authority)),
            ..LoadOptions::new(self.gateway.address("secure"))
        };
        let posts = LoadOptions { body: "some bytes", ..clear.clone() };
        [
            clear.clone(),
            posts,
            LoadOptions { streams: 4, ..clear },
            secure.clone(),
            LoadOptions { streams: 4, ..secure },
        ]
        .iter()
        .map(Load::start)
        .collect()
    }

    fn seen(&self, name: &str) -> String {
        let mut client = RawClient::connect(self.gateway.address("web"));
        let answer = client.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        answer.header(name).unwrap_or_default().to_owned()
    }

    /// Reloads under load; `change` prepares each reload and checks the one before.
    fn reload(&self, with_module: bool, change: impl Fn(usize), check: impl Fn(usize)) {
        let loads = self.load();
        loads.iter().for_each(|load| load.wait_for(20));
        let mut memory = 0;
        for number in 1..=RELOADS {
            change(number);
            self.gateway.reload(&yaml(&self.upstream, number, with_module));
            check(number);
            loads.iter().for_each(|load| load.wait_for(2));
            self.upstream.forget();
            if number == RELOADS / 4 {
                memory = resident();
            }
        }
        let grown = resident().saturating_sub(memory);
        for load in loads {
            let (answered, failures) = load.finish();
            assert!(failures.is_empty(), "{} failures in {answered} requests: {failures:?}", failures.len());
        }
        self.gateway.wait("old generations to be freed", |gateway| gateway.generations().len() == 1);
        assert!(grown < 64 << 20, "{} KiB more after {} reloads", grown >> 10, RELOADS * 3 / 4);
    }
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    number.unwrap_or_default() << 10
}

#[test]
fn of_the_configuration() {
    let site = Site::new(false);
    site.reload(false, |_| {}, |number| assert_eq!(site.seen("x-number"), number.to_string()));
}

#[test]
fn of_a_module() {
    let site = Site::new(true);
    assert_eq!(site.seen("x-filter"), "00000000");
    site.reload(
        true,
        |number| site.gateway.put_file("mark.wasm", &module(number)),
        |number| assert_eq!(site.seen("x-filter"), format!("{number:08}")),
    );
}

#[test]
fn of_a_certificate() {
    let site = Site::new(false);
    let latest = std::cell::RefCell::new(Vec::new());
    site.reload(
        false,
        |_| {
            let certificate = site.authority.issue(&["a.test"]);
            site.gateway.put_file("site.pem", certificate.cert.as_bytes());
            site.gateway.put_file("site.key", certificate.key.as_bytes());
            latest.replace(certificate.leaf());
        },
        |_| {
            let address = site.gateway.address("secure");
            let client = RawClient::connect_tls(address, &site.authority, "a.test", &["http/1.1"]);
            assert_eq!(client.expect("trusted").certificates(), vec![latest.borrow().clone()]);
        },
    );
}

/// What cannot be served is refused as a whole.
#[test]
fn a_bad_configuration_changes_nothing() {
    let site = Site::new(false);
    let good = yaml(&site.upstream, 1, false);
    let loads = site.load();
    let taken = site.gateway.address("web");
    for (name, bad) in [
        ("unknown key", good.replace("workers: 2", "workerz: 2")),
        ("dangling upstream", good.replace("upstream: up }", "upstream: down }")),
        ("no certificate file", good.replace("site.pem", "other.pem")),
        ("a key that is none", good.replace("key: site.key", "key: mark.wasm")),
        (
            "an address in use",
            good.replace(
                "name: web, address: '127.0.0.1:0'",
                &format!("name: more, address: '{}'", site.upstream.address()),
            ),
        ),
    ] {
        assert!(site.gateway.try_reload(&bad).is_err(), "{name}");
        assert_eq!(site.seen("x-number"), "0", "{name}");
        assert_eq!(site.gateway.address("web"), taken, "{name}");
    }
    for load in loads {
        let (_, failures) = load.finish();
        assert!(failures.is_empty(), "{failures:?}");
    }
}

/// Listeners come and go; what is in flight on one that goes is answered.
#[test]
fn listeners_come_and_go() {
    let gate = tidegate_testkit::Gate::new();
    let held = gate.clone();
    let upstream = ScriptedUpstream::start(move |_| {
        use tidegate_testkit::{Answer, Step};
        Answer::steps([
            Step::Wait(held.clone()),
            Step::send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        ])
    });
    let config = |listeners: &str| {
        fill(
            "
listeners: [${listeners}]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
            &[("up", &upstream.address()), ("listeners", &listeners)],
        )
    };
    let web = "{ name: web, address: '127.0.0.1:0', protocol: http }";
    let more = "{ name: more, address: '127.0.0.1:0', protocol: http }";
    let gateway = TestGateway::start(&config(web));
    gateway.reload(&config(&format!("{web}, {more}")));
    let address = gateway.address("more");
    let mut client = RawClient::connect(address);
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    upstream.wait("the request", |c| c.iter().any(|c| !c.requests.is_empty()));
    gateway.reload(&config(web));
    gateway.wait("the listener to close", |_| std::net::TcpStream::connect(address).is_err());
    gate.open();
    let answer = client.response("GET").expect("well formed");
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(
        RawClient::connect(gateway.address("web")).exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").status,
        200
    );
    gateway.wait("old generations to be freed", |gateway| gateway.generations().len() == 1);
}

/// Draining answers what is in flight and ends the rest.
#[test]
fn draining() {
    let site = Site::new(false);
    let mut idle = RawClient::connect(site.gateway.address("web"));
    assert_eq!(idle.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").status, 200);
    let address = site.gateway.address("web");
    assert!(site.gateway.drain(Duration::from_secs(5)), "all ended in time");
    assert!(idle.rest().0.is_empty());
    assert!(std::net::TcpStream::connect(address).is_err(), "the listener is closed");
}

/// Who has an open connection knows nothing of the end: a request that is on its way is served, and the answer tells it. What
/// has just been answered and what has idled for longer are kept in different ways.
#[test]
fn a_connection_that_idles_is_served_once_more() {
    let site = Site::graceful(false, tidegate_testkit::PATIENCE);
    let address = site.gateway.address("web");
    let mut long = RawClient::connect(address);
    assert_eq!(long.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").status, 200);
    let answered = Instant::now();
    site.gateway.wait("it to idle", |_| answered.elapsed() > Duration::from_millis(50));
    let mut short = RawClient::connect(address);
    assert_eq!(short.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").status, 200);
    std::thread::scope(|scope| {
        let draining = scope.spawn(|| site.gateway.drain(tidegate_testkit::PATIENCE));
        site.gateway.wait("the listener to be closed", |_| std::net::TcpStream::connect(address).is_err());
        for mut client in [long, short] {
            let answer = client.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
            assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
            assert!(client.rest().0.is_empty());
        }
        assert!(draining.join().expect("no panic"), "all ended in time");
    });
}

/// Another gateway takes the address over from one that drains: who connects meanwhile is answered by either.
#[test]
fn a_restart_fails_no_request() {
    let upstream = ScriptedUpstream::plain();
    let site = |address: &str| {
        TestGateway::start_graceful(
            &fill(
                "
workers: 2
listeners: [{ name: web, address: '${at}' }]
routes: [{ name: main, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
                &[("at", &address), ("up", &upstream.address())],
            ),
            &[],
            tidegate_testkit::PATIENCE,
        )
    };
    let mut gateway = site("127.0.0.1:0");
    let address = gateway.address("web");
    let fresh = Load::start(&LoadOptions { connections: 4, reconnect: 1, ..LoadOptions::new(address) });
    let kept = Load::start(&LoadOptions { connections: 4, ..LoadOptions::new(address) });
    for _ in 0..20 {
        fresh.wait_for(40);
        let next = site(&address.to_string());
        fresh.wait_for(40);
        assert!(gateway.drain(tidegate_testkit::PATIENCE), "all ended in time");
        gateway = next;
    }
    for load in [fresh, kept] {
        let (answered, failures) = load.finish();
        assert_eq!(failures, Vec::<String>::new(), "of {answered}");
    }
}

/// A gateway that answers with its name.
fn named(address: &str, name: &str, workers: usize) -> TestGateway {
    let yaml = "
workers: ${workers}
listeners: [{ name: web, address: '${at}' }]
routes: [{ name: main, rules: [{ respond: { status: 200, body: ${name} } }] }]
";
    TestGateway::start(&fill(yaml, &[("at", &address), ("name", &name), ("workers", &workers)]))
}

/// While one gateway drains, connections go to the one that has taken its address over, and to any of that one's workers
/// when it is over.
#[test]
fn connections_go_to_the_gateway_that_takes_over() {
    let first = named("127.0.0.1:0", "first", 2);
    let address = first.address("web");
    let second = named(&address.to_string(), "second", 2);
    let names = || {
        let get = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";
        let names = (0..40).map(|_| RawClient::connect(address).exchange(get).text());
        names.collect::<BTreeSet<String>>()
    };
    assert_eq!(names(), ["first".to_owned(), "second".to_owned()].into());
    std::thread::scope(|scope| {
        let draining = scope.spawn(|| first.drain(tidegate_testkit::PATIENCE));
        second.wait("the first to hand over", |_| names() == ["second".to_owned()].into());
        assert!(draining.join().expect("no panic"), "all ended in time");
    });
    assert_eq!(names(), ["second".to_owned()].into());
}

/// A gateway that is cut off while it hands over leaves nothing behind that keeps connections from some of the workers of
/// the one that follows.
#[test]
fn a_gateway_that_is_cut_off_leaves_all_workers_of_the_next_their_connections() {
    let first = named("127.0.0.1:0", "first", 2);
    let address = first.address("web");
    let second = named(&address.to_string(), "second", 4);
    assert!(!first.drain(Duration::ZERO), "its listeners are open still");
    drop(first);
    let clients: Vec<_> = (0..200).map(|_| RawClient::connect(address)).collect();
    second.wait("all to be accepted", |_| second.connections().len() == clients.len());
    let workers: BTreeSet<usize> = second.connections().iter().map(|one| one.worker).collect();
    assert_eq!(workers, (0..4).collect());
}

/// A client that connects just before the end, and asks just after it, is answered.
#[test]
fn a_connection_that_was_made_is_served() {
    let site = Site::graceful(false, tidegate_testkit::PATIENCE);
    let address = site.gateway.address("web");
    let mut fresh = RawClient::connect(address);
    std::thread::scope(|scope| {
        let draining = scope.spawn(|| site.gateway.drain(tidegate_testkit::PATIENCE));
        site.gateway.wait("the listener to be closed", |_| std::net::TcpStream::connect(address).is_err());
        let answer = fresh.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert!(draining.join().expect("no panic"), "all ended in time");
    });
}
