//! Listeners of bytes: what goes in on one side comes out on the other, ends and resets too.

use std::time::Duration;

use tidegate_testkit::{Authority, ByteServer, End, LogFile, Nobody, RawClient, TestGateway, Wire, fill};

const PLAIN: &str = "
listeners: [{ name: db, address: '127.0.0.1:0', protocol: tcp }]
routes: [{ name: db, listeners: [db], rules: [{ name: all, forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
accessLog: { path: '${log}' }
";

/// A gateway in front of one server, with its log.
struct Pair {
    gateway: TestGateway,
    server: ByteServer,
    log: LogFile,
}

impl Pair {
    fn new() -> Self {
        Self::over(PLAIN)
    }

    fn over(config: &str) -> Self {
        let (server, log) = (ByteServer::start(), LogFile::default());
        let yaml = fill(config, &[("up", &server.address()), ("log", &log.path().display())]);
        Self { gateway: TestGateway::start(&yaml), server, log }
    }

    fn connect(&self) -> RawClient {
        RawClient::connect(self.gateway.address("db"))
    }

    /// A connection with both of its sides.
    fn joined(&self) -> (RawClient, Wire) {
        let client = self.connect();
        (client, self.server.accept())
    }

    /// The only line of the log.
    fn line(&self) -> String {
        let mut lines = self.log.lines(1);
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }
}

fn has(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "no {part} in {line}");
    }
}

#[test]
fn the_client_may_end_first() {
    let pair = Pair::new();
    let (mut client, mut server) = pair.joined();
    client.send("question");
    assert_eq!(server.exactly(8).expect("it comes"), b"question");
    client.half_close();
    assert_eq!(server.drain(), (Vec::new(), End::Closed), "the end is passed on");
    server.send(b"a late answer").expect("the other direction is open");
    drop(server);
    assert_eq!(client.rest(), (b"a late answer".to_vec(), End::Closed));
    let line = pair.line();
    let server = format!("\"server\":\"{}\"", pair.server.address());
    has(
        &line,
        &[
            r#""listener":"db","protocol":"tcp","route":"db","rule":"all","upstream":"up""#,
            &server,
            r#""attempts":1,"bytes_received":8,"bytes_sent":13,"closed_by":"client","connect_us":"#,
            r#""duration_us":"#,
        ],
    );
    assert!(!line.contains("reason"), "{line}");
    for (name, value) in [
        ("tidegate_tcp_connections_total", 1.0),
        ("tidegate_tcp_connections_active", 0.0),
        ("tidegate_tcp_received_bytes_total", 8.0),
        ("tidegate_tcp_sent_bytes_total", 13.0),
        ("tidegate_tcp_failures_total", 0.0),
        ("tidegate_route_connections_total", 1.0),
        ("tidegate_upstream_connections_total", 1.0),
        ("tidegate_connections_open", 0.0),
    ] {
        pair.gateway.wait(name, |gateway| gateway.metric(name, "") == value);
    }
}

#[test]
fn the_server_may_speak_and_end_first() {
    let pair = Pair::new();
    let (mut client, mut server) = pair.joined();
    server.send(b"greeting").expect("open");
    server.half_close();
    assert_eq!(client.rest(), (b"greeting".to_vec(), End::Closed));
    assert!(client.send("goodbye"));
    client.half_close();
    assert_eq!(server.drain(), (b"goodbye".to_vec(), End::Closed));
    has(&pair.line(), &[r#""bytes_received":7,"bytes_sent":8,"closed_by":"upstream""#]);
}

#[test]
fn resets_are_passed_on_as_resets() {
    let pair = Pair::new();
    let (mut client, mut server) = pair.joined();
    client.send("half a mess");
    assert_eq!(server.exactly(11).expect("it comes"), b"half a mess");
    client.reset();
    assert_eq!(server.drain(), (Vec::new(), End::Broken));
    has(&pair.line(), &[r#""closed_by":"client","reason":"client_reset""#]);

    let pair = Pair::new();
    let (mut client, mut server) = pair.joined();
    server.send(b"half an ans").expect("open");
    assert_eq!(client.wire().exactly(11).expect("it comes"), b"half an ans");
    server.reset();
    assert_eq!(client.rest(), (Vec::new(), End::Broken));
    has(&pair.line(), &[r#""closed_by":"upstream","reason":"upstream_reset""#]);
    assert_eq!(pair.gateway.metric("tidegate_tcp_failures_total", "upstream_reset"), 1.0);
}

#[test]
fn many_bytes_go_both_ways_at_once() {
    const BYTES: usize = 24 << 20;
    let pattern = |seed: usize| (0..BYTES).map(|at| (at * 31 + seed + at / 4096) as u8).collect::<Vec<_>>();
    let pair = Pair::new();
    let (mut client, mut server) = pair.joined();
    let (up, down) = (pattern(1), pattern(2));
    let mut socket = server.socket().try_clone().expect("a descriptor is free");
    let mut upstream = client.wire().socket().try_clone().expect("a descriptor is free");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::io::Write::write_all(&mut upstream, &up).expect("taken");
            upstream.shutdown(std::net::Shutdown::Write).expect("open");
        });
        scope.spawn(|| {
            std::io::Write::write_all(&mut socket, &down).expect("taken");
            socket.shutdown(std::net::Shutdown::Write).expect("open");
        });
        let got = scope.spawn(|| server.drain());
        let (bytes, end) = client.rest();
        assert!(bytes == down && end == End::Closed, "{} bytes, {end:?}", bytes.len());
        let (bytes, end) = got.join().expect("it does not panic");
        assert!(bytes == up && end == End::Closed, "{} bytes, {end:?}", bytes.len());
    });
}

/// What a server does not take stays with the client, but for the buffers of two sockets and one chunk.
#[test]
fn a_server_that_reads_nothing_holds_the_client_back() {
    let pair = Pair::new();
    let (mut client, mut server) = pair.joined();
    let total = 64 << 20;
    let mut stalled_at = 0;
    let sent = client.wire().fill(total, Duration::from_millis(700), |sent| {
        stalled_at = sent;
        false
    });
    let sent = sent.expect("it stalls, it does not break");
    assert!(stalled_at > 0 && sent < total, "{sent} bytes were taken");
    client.half_close();
    let (bytes, end) = server.drain();
    assert_eq!((bytes.len() as u64, end), (sent, End::Closed), "nothing was lost");
}

#[test]
fn a_server_that_is_away_is_passed_over() {
    let away = Nobody::new();
    let gone = away.address();
    let config =
        PLAIN.replace("servers: ['${up}']", &format!("servers: ['{gone}', '${{up}}'], balance: roundRobin"));
    let pair = Pair::over(&config);
    for _ in 0..8 {
        let (mut client, mut server) = pair.joined();
        server.send(b"x").expect("open");
        assert_eq!(client.wire().exactly(1).expect("it comes"), b"x");
    }
    assert!(pair.gateway.metric("tidegate_upstream_connect_failures_total", "") > 0.0, "it has its turns");

    let log = LogFile::default();
    let yaml = fill(PLAIN, &[("up", &gone), ("log", &log.path().display())]);
    let alone = TestGateway::start(&yaml);
    let mut client = RawClient::connect(alone.address("db"));
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
    has(&log.lines(1)[0], &[r#""attempts":2"#, r#""reason":"upstream_connect""#]);
}

#[test]
fn a_silent_connection_ends_after_the_rules_idle_time() {
    let config = PLAIN.replace("rules: [{ name: all,", "rules: [{ timeouts: { idle: 1s },");
    let pair = Pair::over(&config);
    let (mut client, mut server) = pair.joined();
    let begin = std::time::Instant::now();
    // Each byte gives it time again, whichever way it goes.
    for turn in 0..4 {
        std::thread::park_timeout(Duration::from_millis(400));
        if turn % 2 == 0 {
            client.send("x")
        } else {
            server.send(b"x").is_ok()
        };
    }
    assert_eq!(client.rest(), (b"xx".to_vec(), End::Closed));
    assert!(begin.elapsed() >= Duration::from_millis(1600), "{:?}", begin.elapsed());
    assert_eq!(server.drain().0, b"xx");
    has(&pair.line(), &[r#""reason":"idle""#]);
}

#[test]
fn connections_are_limited_on_both_sides() {
    let config = PLAIN.replace("protocol: tcp", "protocol: tcp, limits: { connections: 1 }");
    let pair = Pair::over(&config);
    let (client, _server) = pair.joined();
    let mut second = pair.connect();
    assert_eq!(second.rest().0, b"");
    assert_eq!(pair.gateway.metric("tidegate_connections_refused_total", ""), 1.0);
    drop(client);

    let config = PLAIN.replace("servers:", "limits: { connections: 1 }, servers:");
    let pair = Pair::over(&config);
    let (_client, _server) = pair.joined();
    let mut second = pair.connect();
    assert_eq!(second.rest(), (Vec::new(), End::Closed));
    has(&pair.line(), &[r#""reason":"overflow""#]);
}

#[test]
fn upstreams_share_connections_by_weight() {
    let (often, never) = (ByteServer::start(), ByteServer::start());
    let yaml = fill(
        "
listeners: [{ name: db, address: '127.0.0.1:0', protocol: tcp }]
routes:
  - { name: db, listeners: [db], rules: [{ forward: [{ upstream: a, weight: 3 }, { upstream: b, weight: 1 }] }] }
upstreams: { a: { servers: ['${a}'] }, b: { servers: ['${b}'] } }
",
        &[("a", &often.address()), ("b", &never.address())],
    );
    let gateway = TestGateway::start(&yaml);
    let clients: Vec<_> = (0..100).map(|_| RawClient::connect(gateway.address("db"))).collect();
    let total = |label: &str| gateway.metric("tidegate_upstream_connections_total", label);
    gateway.wait("all connections", |_| total("") == 100.0);
    assert!((50.0..95.0).contains(&total("\"a\"")), "{}", total("\"a\""));
    drop(clients);
}

#[test]
fn a_reload_leaves_connections_as_they_are() {
    let pair = Pair::new();
    let (mut client, mut server) = pair.joined();
    let other = ByteServer::start();
    let moved = fill(PLAIN, &[("up", &other.address()), ("log", &pair.log.path().display())]);
    pair.gateway.reload(&moved);
    let _new = pair.connect();
    let _elsewhere = other.accept();
    let echo = |client: &mut RawClient, server: &mut Wire| {
        client.send("still");
        assert_eq!(server.exactly(5).expect("it comes"), b"still");
        server.send(b"here").expect("open");
        assert_eq!(client.wire().exactly(4).expect("it comes"), b"here");
    };
    echo(&mut client, &mut server);
    assert_eq!(pair.gateway.generations().len(), 2, "the old one is in use");
    // Not even the listener has to be there any more.
    pair.gateway.reload("listeners: [{ name: web, address: '127.0.0.1:0' }]");
    echo(&mut client, &mut server);
    client.half_close();
    server.half_close();
    drop(_new);
    drop(_elsewhere);
    pair.gateway.wait("old generations to end", |gateway| gateway.generations().len() == 1);
}

#[test]
fn a_drain_waits_for_connections_until_its_deadline() {
    let pair = Pair::new();
    let (mut client, mut server) = pair.joined();
    assert!(!pair.gateway.drain(Duration::from_millis(300)), "a connection is open");
    client.send("on its way");
    assert_eq!(server.exactly(10).expect("it comes"), b"on its way");
    client.half_close();
    server.half_close();
    assert!(pair.gateway.drain(Duration::from_secs(10)));
    drop(client);

    let pair = Pair::new();
    let (mut client, _server) = pair.joined();
    drop(pair.gateway);
    assert_ne!(client.rest().1, End::Open, "what is left is cut");
    has(&pair.log.lines(1)[0], &[r#""reason":"stopped""#]);
}

const TLS: &str = "
listeners:
  - name: db
    address: 127.0.0.1:0
    protocol: tls
    hostnames: ['*.test']
    tls: { certificates: [{ cert: a.pem, key: a.key }] }
    ${more}
routes:
  - { name: a, listeners: [db], hostnames: [a.test], rules: [{ forward: [{ upstream: a }] }] }
  - { name: rest, listeners: [db], hostnames: ['*.b.test'], rules: [{ forward: [{ upstream: b }] }] }
upstreams:
  a: { servers: ['${a}'] }
  b: { servers: ['${b}'] }
accessLog: { path: '${log}' }
";

/// A listener with TLS before two servers.
struct Secure {
    authority: Authority,
    gateway: TestGateway,
    a: ByteServer,
    b: ByteServer,
    log: LogFile,
}

impl Secure {
    fn new() -> Self {
        Self::with("")
    }

    /// With more keys of the listener.
    fn with(more: &str) -> Self {
        let (a, b, log) = (ByteServer::start(), ByteServer::start(), LogFile::default());
        let authority = Authority::new();
        let certificate = authority.issue(&["a.test", "x.b.test", "c.test"]);
        let values: [(&str, &dyn std::fmt::Display); 4] =
            [("a", &a.address()), ("b", &b.address()), ("log", &log.path().display()), ("more", &more)];
        let files = [("a.pem", certificate.cert.as_bytes()), ("a.key", certificate.key.as_bytes())];
        let gateway = TestGateway::start_with(&fill(TLS, &values), &files);
        Self { authority, gateway, a, b, log }
    }

    fn connect(&self, name: &str) -> RawClient {
        let address = self.gateway.address("db");
        RawClient::connect_tls(address, &self.authority, name, &["postgresql"]).expect("hands are shaken")
    }
}

#[test]
fn tls_ends_at_the_listener_and_names_pick_the_route() {
    let secure = Secure::new();
    for (name, server) in [("a.test", &secure.a), ("x.b.test", &secure.b)] {
        let mut client = secure.connect(name);
        assert_eq!(client.alpn(), None, "what is spoken is between client and server");
        let mut server = server.accept();
        client.send("secret");
        assert_eq!(server.exactly(6).expect("it comes"), b"secret");
        server.send(b"answer").expect("open");
        assert_eq!(client.wire().exactly(6).expect("it comes"), b"answer");
        client.half_close();
        assert_eq!(server.drain(), (Vec::new(), End::Closed));
        server.send(b"late").expect("open");
        server.half_close();
        assert_eq!(client.rest(), (b"late".to_vec(), End::Closed));
    }
    let lines = secure.log.lines(2);
    has(&lines[0], &[r#""protocol":"tls","server_name":"a.test","route":"a""#]);
    has(&lines[1], &[r#""server_name":"x.b.test","route":"rest""#]);
    let mut client = secure.connect("c.test");
    assert_eq!(client.rest().0, b"");
    has(&secure.log.lines(3)[2], &[r#""server_name":"c.test","attempts":0"#, r#""reason":"no_route""#]);
}

/// Without close_notify nobody knows whether all has come, so the server must not take it for all.
#[test]
fn a_cut_off_tls_connection_becomes_a_reset() {
    let secure = Secure::new();
    let mut client = secure.connect("a.test");
    let mut server = secure.a.accept();
    client.send("DELETE FROM t");
    assert_eq!(server.exactly(13).expect("it comes"), b"DELETE FROM t");
    client.wire().socket().shutdown(std::net::Shutdown::Write).expect("open");
    assert_eq!(server.drain(), (Vec::new(), End::Broken));
    has(&secure.log.lines(1)[0], &[r#""reason":"client_reset""#]);
}

#[test]
fn a_client_that_does_not_shake_hands_is_left() {
    let secure = Secure::with("timeouts: { handshake: 500ms }");
    let mut client = RawClient::connect(secure.gateway.address("db"));
    assert_eq!(client.rest().0, b"");
    let failures = |gateway: &TestGateway| gateway.metric("tidegate_handshake_failures_total", "");
    secure.gateway.wait("the failure to be counted", |gateway| failures(gateway) == 1.0);
    assert_eq!(secure.gateway.metric("tidegate_tcp_connections_total", ""), 0.0);
}

#[test]
fn upstreams_may_speak_tls() {
    let (server, authority) = (ByteServer::start(), Authority::new());
    let certificate = authority.issue(&["up.test"]);
    let yaml = fill(
        "
listeners: [{ name: db, address: '127.0.0.1:0', protocol: tcp }]
routes: [{ name: db, listeners: [db], rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'], tls: { serverName: up.test, ca: ca.pem } } }
",
        &[("up", &server.address())],
    );
    let gateway = TestGateway::start_with(&yaml, &[("ca.pem", authority.pem().as_bytes())]);
    let mut client = RawClient::connect(gateway.address("db"));
    let (mut wire, agreed) = server.accept_tls(&certificate, &["h2", "http/1.1"]);
    assert_eq!(agreed, None, "bytes are no HTTP");
    client.send("hello");
    assert_eq!(wire.exactly(5).expect("it comes"), b"hello");
    wire.send(b"world").expect("open");
    wire.half_close();
    assert_eq!(client.rest(), (b"world".to_vec(), End::Closed));
    client.half_close();
    assert_eq!(wire.drain(), (Vec::new(), End::Closed));
}

/// The example, with ports that the system chooses.
#[test]
fn the_example_runs() {
    let servers: Vec<ByteServer> = (0..5).map(|_| ByteServer::start()).collect();
    let mut yaml = include_str!("../../../../examples/tcp/tidegate.yaml").to_owned();
    for port in ["15432", "15671", "9900"] {
        yaml = yaml.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0");
    }
    for (port, server) in [5432, 5433, 5672, 5673, 5674].into_iter().zip(&servers) {
        yaml = yaml.replace(&format!("127.0.0.1:{port}\""), &format!("{}\"", server.address()));
    }
    let log = LogFile::default();
    yaml = yaml.replace("accessLog: {}", &format!("accessLog: {{ path: '{}' }}", log.path().display()));
    let authority = Authority::new();
    let certificate = authority.issue(&["*.queue.example"]);
    let files = [
        ("certificates/queues.pem", certificate.cert.as_bytes()),
        ("certificates/queues.key", certificate.key.as_bytes()),
    ];
    let gateway = TestGateway::start_with(&yaml, &files);
    let taken = |route: &str| {
        gateway.wait(route, |gateway| {
            gateway.metric("tidegate_route_connections_total", &format!("\"{route}\"")) == 1.0
        });
    };
    for (name, route) in [("orders.queue.example", "orders"), ("mail.queue.example", "other-queues")] {
        let address = gateway.address("queues");
        let _client = RawClient::connect_tls(address, &authority, name, &[]).expect("hands are shaken");
        taken(route);
    }
    let _client = RawClient::connect(gateway.address("database"));
    taken("database");
}
