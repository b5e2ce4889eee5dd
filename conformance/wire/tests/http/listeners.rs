//! The client's side of connections: certificates, protocols, limits and time.

use std::io::Read;
use std::time::Duration;

use tidegate_testkit::{
    Authority, End, Fate, Frame, Frames, PATIENCE, RawClient, ScriptedUpstream, TestGateway, fill,
};

const GET: &str = "GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n";

struct Secure {
    authority: Authority,
    gateway: TestGateway,
    upstream: ScriptedUpstream,
    leaves: [Vec<u8>; 2],
}

impl Secure {
    fn new() -> Self {
        Self::with("")
    }

    /// With more keys of the listener.
    fn with(more: &str) -> Self {
        let (authority, upstream) = (Authority::new(), ScriptedUpstream::plain());
        let (a, b) = (authority.issue(&["a.test"]), authority.issue(&["b.test", "*.c.test"]));
        let yaml = fill(
            "
listeners:
  - name: web
    address: 127.0.0.1:0
    protocol: https
    tls: { certificates: [{ cert: a.pem, key: a.key }, { cert: b.pem, key: b.key }] }
    ${more}
routes: [{ name: r, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
            &[("up", &upstream.address()), ("more", &more)],
        );
        let files: [(&str, &[u8]); 4] = [
            ("a.pem", a.cert.as_bytes()),
            ("a.key", a.key.as_bytes()),
            ("b.pem", b.cert.as_bytes()),
            ("b.key", b.key.as_bytes()),
        ];
        let gateway = TestGateway::start_with(&yaml, &files);
        Self { authority, gateway, upstream, leaves: [a.leaf(), b.leaf()] }
    }

    fn connect(&self, name: &str, protocols: &[&str]) -> std::io::Result<RawClient> {
        RawClient::connect_tls(self.gateway.address("web"), &self.authority, name, protocols)
    }
}

#[test]
fn certificates_are_picked_by_server_name() {
    let secure = Secure::new();
    for (name, leaf) in [("a.test", 0), ("b.test", 1), ("x.c.test", 1)] {
        let mut client = secure.connect(name, &["http/1.1"]).expect("trusted");
        assert_eq!(client.certificates(), vec![secure.leaves[leaf].clone()], "{name}");
        let answer = client.exchange(format!("GET / HTTP/1.1\r\nhost: {name}\r\n\r\n"));
        assert_eq!(answer.status, 200, "{name}");
    }
    // Nobody's name gets the first certificate, which such a client does not trust.
    assert!(secure.connect("d.test", &["http/1.1"]).is_err());
    assert_eq!(secure.upstream.requests()[0].header("x-forwarded-proto"), Some("https"));
}

#[test]
fn alpn_picks_the_protocol() {
    let secure = Secure::new();
    let agreed = |protocols: &[&str]| secure.connect("a.test", protocols).expect("trusted").alpn();
    assert_eq!(agreed(&["h2", "http/1.1"]).as_deref(), Some("h2"));
    assert_eq!(agreed(&["http/1.1"]).as_deref(), Some("http/1.1"));
    assert_eq!(agreed(&[]), None);
    let mut client = secure.connect("a.test", &[]).expect("trusted");
    assert_eq!(client.exchange(GET).status, 200);
    let mut frames = Frames::connect_tls(secure.gateway.address("web"), &secure.authority, "a.test");
    let head = [(":method", "GET"), (":scheme", "https"), (":path", "/case"), (":authority", "a.test")];
    frames.send(&Frame::headers(1, &head, true));
    assert_eq!(frames.fate(1), Fate::Answered(200, b"ok".to_vec()));
}

/// RFC 9110 section 7.4: a connection for one certificate is not a way to a host of another.
#[test]
fn a_host_outside_of_the_certificate_is_421() {
    let secure = Secure::new();
    let mut client = secure.connect("a.test", &["http/1.1"]).expect("trusted");
    let answer = client.exchange("GET / HTTP/1.1\r\nhost: b.test\r\n\r\n");
    assert_eq!(answer.status, 421);
    assert!(secure.upstream.requests().is_empty());
}

#[test]
fn hostile_handshakes_cost_only_themselves() {
    // Long enough for the handshake that comes after these.
    let secure = Secure::with("timeouts: { handshake: 2s }");
    let address = secure.gateway.address("web");
    for (name, bytes) in [
        ("clear text", GET.as_bytes().to_vec()),
        ("HTTP/2 in clear text", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("a record of garbage", [&[0x16, 3, 1, 0, 200][..], &[7; 200]].concat()),
        ("a record that is too long", [&[0x16, 3, 1, 0xff, 0xff][..], &[0; 1000]].concat()),
        ("an alert", vec![0x15, 3, 3, 0, 2, 2, 40]),
        ("half a record", vec![0x16, 3, 1]),
        ("nothing", Vec::new()),
    ] {
        let mut client = RawClient::connect(address);
        client.send(&bytes);
        let (answer, end) = client.rest();
        assert_ne!(end, End::Open, "{name}: the handshake has no limit");
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{name}");
    }
    assert_eq!(secure.connect("a.test", &["http/1.1"]).expect("trusted").exchange(GET).status, 200);
}

fn limited(keys: &str) -> (TestGateway, ScriptedUpstream) {
    graceful(keys, Duration::from_secs(1))
}

fn graceful(keys: &str, grace: Duration) -> (TestGateway, ScriptedUpstream) {
    let upstream = ScriptedUpstream::plain();
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http, ${keys} }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address()), ("keys", &keys)],
    );
    (TestGateway::start_graceful(&yaml, &[], grace), upstream)
}

#[test]
fn slow_clients_are_not_waited_for() {
    let (gateway, upstream) = limited("timeouts: { headers: 300ms, body: 300ms, idle: 300ms }");
    let (late, stalled) = (Some(("408", "head_timeout")), Some(("408", "client_timeout")));
    for (name, bytes, expected) in [
        ("nothing", "", None),
        ("a method", "P", late),
        ("half a request line", "GET /ca", late),
        ("half a head", "GET /case HTTP/1.1\r\nhost: a.te", late),
        ("half a body", "POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 9\r\n\r\nabc", stalled),
        (
            "half a chunk",
            "POST /case HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc",
            stalled,
        ),
        ("half of HTTP/2's preface", "PRI * HTTP/2.0\r\n", Some(("400", "malformed"))),
    ] {
        let failures =
            |reason: &str| gateway.metric("tidegate_request_failures_total", &format!("reason=\"{reason}\""));
        let before = expected.map(|(_, reason)| failures(reason));
        let mut client = RawClient::connect(gateway.address("web"));
        client.send(bytes);
        let (answer, end) = client.rest();
        assert_ne!(end, End::Open, "{name}");
        let text = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(text.get(9..12), expected.map(|(status, _)| status), "{name}: {text}");
        assert_eq!(text.contains("\r\nconnection: close\r\n"), expected.is_some(), "{name}: {text}");
        let Some((_, reason)) = expected else { continue };
        gateway.wait(name, |_| Some(failures(reason)) > before);
    }
    let mut client = RawClient::connect(gateway.address("web"));
    assert_eq!(client.exchange(GET).status, 200);
    assert_eq!(client.rest(), (Vec::new(), End::Closed), "an idle connection is closed in order");
    let complete =
        upstream.requests().iter().filter(|r| r.state == tidegate_testkit::State::Complete).count();
    assert_eq!(complete, 1);
}

/// A head that comes byte by byte is still one head with one limit.
#[test]
fn dribbling_does_not_extend_the_time() {
    let (gateway, upstream) = limited("timeouts: { headers: 400ms }");
    let mut client = RawClient::connect(gateway.address("web"));
    let started = std::time::Instant::now();
    client.send("GET /case HTTP/1.1\r\nhost: a.test\r\n");
    let reads = client.wire().socket().try_clone().expect("a socket");
    let answer = std::thread::spawn(move || {
        let mut bytes = [0; 12];
        (&reads).read_exact(&mut bytes).map(|()| bytes)
    });
    while !answer.is_finished() && started.elapsed() < std::time::Duration::from_secs(5) {
        client.send("x-a: b\r\n");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
    assert!(answer.is_finished(), "the head may take for ever");
    assert_eq!(answer.join().expect("no panic").expect("an answer"), *b"HTTP/1.1 408");
    assert!(upstream.requests().is_empty());
}

/// What had begun when the time was over is served if it is whole by then, and so is what comes after other requests.
#[test]
fn a_late_head_after_others() {
    let (gateway, upstream) = limited("timeouts: { headers: 300ms, idle: 20s }");
    let mut client = RawClient::connect(gateway.address("web"));
    client.send(format!("{GET}{GET}GET /late HTTP/1.1\r\nhost: a.test\r\n"));
    let statuses: Vec<_> = (0..3).map(|_| client.response("GET").map(|answer| answer.status).ok()).collect();
    assert_eq!(statuses, [Some(200), Some(200), Some(408)]);
    assert_eq!(client.rest().1, End::Closed);
    assert_eq!(upstream.requests().len(), 2);
}

#[test]
fn limits_of_a_listener() {
    let (gateway, _upstream) = limited("limits: { headerBytes: 8KiB, headers: 20 }");
    let ask = |fields: String| {
        let mut client = RawClient::connect(gateway.address("web"));
        client.exchange(format!("GET /case HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n")).status
    };
    assert_eq!(ask("x-a: b\r\n".repeat(15)), 200);
    assert_eq!(ask("x-a: b\r\n".repeat(25)), 431);
    assert_eq!(ask(format!("x-a: {}\r\n", "b".repeat(6_000))), 200);
    assert_eq!(ask(format!("x-a: {}\r\n", "b".repeat(10_000))), 431);
}

/// In either version, since upstreams are spoken to in HTTP/1 and in HTTP/2.
#[test]
fn a_listener_may_allow_many_fields() {
    let (gateway, upstream) = limited("limits: { headers: 300 }");
    let ask = |fields: usize| {
        let mut client = RawClient::connect(gateway.address("web"));
        let fields = "x-a: b\r\n".repeat(fields);
        client.exchange(format!("GET /case HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n")).status
    };
    assert_eq!((ask(299), ask(300)), (200, 431));
    assert_eq!(upstream.requests()[0].headers().all("x-a").len(), 299);
    let mut frames = Frames::connect(gateway.address("web"), &[]);
    let mut head =
        vec![(":method", "GET"), (":scheme", "http"), (":path", "/case"), (":authority", "a.test")];
    head.extend([("x-a", "b"); 299]);
    frames.send(&Frame::headers(1, &head, true));
    assert_eq!(frames.fate(1), Fate::Answered(200, b"ok".to_vec()));
    head.push(("x-a", "b"));
    frames.send(&Frame::headers(3, &head, true));
    assert!(matches!(frames.fate(3), Fate::Answered(431, _)));
}

#[test]
fn connections_past_the_limit_are_closed() {
    let (gateway, _upstream) = limited("limits: { connections: 3 }");
    let mut clients: Vec<RawClient> = (0..3).map(|_| RawClient::connect(gateway.address("web"))).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.exchange(GET).status, 200));
    let mut fourth = RawClient::connect(gateway.address("web"));
    fourth.send(GET);
    assert!(fourth.response("GET").map_or(true, |answer| answer.status == 503));
    drop(clients);
    gateway.wait("room for another", |gateway| {
        let mut client = RawClient::connect(gateway.address("web"));
        client.send(GET);
        client.response("GET").is_ok_and(|answer| answer.status == 200)
    });
}

/// A client that says it is done sending still gets its answers, those to requests that it sent ahead too.
#[test]
fn half_closed_clients_are_answered() {
    let (gateway, _upstream) = graceful("timeouts: { idle: 5s }", PATIENCE);
    for requests in [1, 20] {
        let mut client = RawClient::connect(gateway.address("web"));
        client.send(GET.repeat(requests));
        client.half_close();
        for _ in 0..requests {
            let answer = client.response("GET").expect("an answer to each");
            assert_eq!(answer.text(), "ok");
        }
        assert_eq!(client.rest(), (Vec::new(), End::Closed));
    }
}
