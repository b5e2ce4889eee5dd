//! Peers that take nothing, or too slowly: what waits for them is bounded in bytes and in time.

use std::time::Duration;

use tidegate_testkit::{
    Answer, Authority, Fate, Frame, Frames, Gate, RawClient, ReadError, ScriptedUpstream, Step, TestGateway,
    fill, kind,
};

const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/case"), (":authority", "a.test")];
const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/case"), (":authority", "a.test")];

fn gateway(upstream: &ScriptedUpstream, rule: &str) -> TestGateway {
    TestGateway::start(&fill(
        "
listeners:
  - { name: web, address: '127.0.0.1:0', protocol: http, timeouts: { headers: 300ms, body: 300ms, idle: 300ms } }
routes: [{ name: r, rules: [{ forward: [{ upstream: up }]${rule} }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address()), ("rule", &rule)],
    ))
}

fn endless() -> ScriptedUpstream {
    ScriptedUpstream::start(|_| {
        Answer::steps([
            Step::send("HTTP/1.1 200 OK\r\ncontent-length: 1073741824\r\n\r\n"),
            Step::Fill(1 << 30),
        ])
    })
}

/// CVE-2019-9511 and slow readers of HTTP/1: an answer that nobody takes does not stay for ever.
#[test]
fn answers_that_nobody_takes_end() {
    let upstream = endless();
    let gateway = gateway(&upstream, ", timeouts: { idle: 300ms }");
    let mut silent = RawClient::connect_narrow(gateway.address("web"));
    silent.send("GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let mut closed = Frames::connect(gateway.address("web"), &[(4, 0)]);
    closed.send(&Frame::headers(1, &GET, true));
    upstream.wait("both requests", |c| c.iter().filter(|c| !c.requests.is_empty()).count() == 2);
    // 300 ms and six seconds of grace, of which bytes that moved meanwhile may make twice as much.
    upstream.wait_within(Duration::from_secs(20), "both to be given up", |c| c.iter().all(|c| c.finished));
}

/// A client that takes a little now and then is alive, though all of it takes longer than it may be idle.
#[test]
fn slow_is_not_dead() {
    let upstream = ScriptedUpstream::start(|_| {
        Answer::steps([Step::send("HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n"), Step::Fill(30)])
    });
    let gateway = gateway(&upstream, ", timeouts: { idle: 1200ms }");
    let mut frames = Frames::connect(gateway.address("web"), &[(4, 0)]);
    frames.send(&Frame::headers(1, &GET, true));
    let mut taken = 0;
    while taken < 30 {
        std::thread::park_timeout(Duration::from_millis(150));
        frames.send(&Frame::window(1, 3));
        let frame = loop {
            let frame = frames.read().expect("the connection stays");
            if matches!(frame.kind, kind::DATA | kind::RST_STREAM) {
                break frame;
            }
        };
        assert_eq!(frame.kind, kind::DATA, "after {taken} bytes");
        taken += frame.payload.len();
    }
}

/// What a client says about the connection itself is not the beginning of a request that would have to be complete soon.
#[test]
fn pings_do_not_end_a_connection() {
    let upstream = ScriptedUpstream::plain();
    let gateway = TestGateway::start(&fill(
        "
listeners:
  - { name: web, address: '127.0.0.1:0', protocol: http, timeouts: { headers: 200ms, idle: 20s } }
routes: [{ name: r, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address())],
    ));
    let mut frames = Frames::connect(gateway.address("web"), &[]);
    for stream in [1, 3, 5, 7] {
        frames.send(&Frame::headers(stream, &GET, true));
        assert_eq!(frames.fate(stream), Fate::Answered(200, b"ok".to_vec()), "stream {stream}");
        frames.send(&Frame { kind: kind::PING, flags: 0, stream: 0, payload: vec![7; 8] });
        std::thread::park_timeout(Duration::from_millis(400));
    }
}

/// The windows of an upload open only as fast as the upstream takes it.
#[test]
fn an_upstream_that_does_not_read_closes_the_windows() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = ScriptedUpstream::start(move |_| {
        Answer::steps([
            Step::Wait(held.clone()),
            Step::ReadBody,
            Step::send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        ])
    });
    let gateway = gateway(&upstream, "");
    let mut frames = Frames::connect(gateway.address("web"), &[]);
    frames.send(&Frame::headers(1, &POST, false));
    let (mut stream, mut connection, mut sent) = (65_535i64, 65_535i64, 0i64);
    // A PING that comes back says that all before it was seen; when ten in a row bring no window, it is closed.
    let mut quiet = 0;
    while quiet < 10 {
        let before = sent;
        while stream >= 16_000 && connection >= 16_000 {
            assert!(frames.send(&Frame::data(1, &[b'x'; 16_000], false)));
            (stream, connection, sent) = (stream - 16_000, connection - 16_000, sent + 16_000);
            assert!(sent < 24 << 20, "{sent} bytes were taken before the upstream read one");
        }
        quiet = if sent == before { quiet + 1 } else { 0 };
        std::thread::park_timeout(Duration::from_millis(20));
        frames.send(&Frame { kind: kind::PING, flags: 0, stream: 0, payload: vec![7; 8] });
        loop {
            let frame = frames.read().expect("the connection stays");
            match (frame.kind, frame.payload.as_slice()) {
                (kind::PING, [7, ..]) => break,
                (kind::WINDOW_UPDATE, [a, b, c, d]) => {
                    let more = i64::from(u32::from_be_bytes([*a, *b, *c, *d]));
                    let window = if frame.stream == 0 { &mut connection } else { &mut stream };
                    *window += more;
                }
                (kind::SETTINGS, values) => {
                    for value in values.chunks_exact(6).filter(|v| v[..2] == [0, 4]) {
                        let initial = u32::from_be_bytes([value[2], value[3], value[4], value[5]]);
                        stream += i64::from(initial) - 65_535;
                    }
                }
                (kind::RST_STREAM, _) => panic!("reset after {sent} bytes"),
                _ => {}
            }
        }
    }
    gate.open();
    frames.send(&Frame::data(1, b"", true));
    assert!(matches!(frames.fate(1), Fate::Answered(200, _)));
    let body = upstream.requests()[0].body.len();
    assert_eq!(i64::try_from(body).expect("small"), sent);
}

/// Draining tells HTTP/2 clients to go away, and answers what they have in flight.
#[test]
fn draining_says_goaway() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = ScriptedUpstream::start(move |_| {
        Answer::steps([
            Step::Wait(held.clone()),
            Step::send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        ])
    });
    let gateway = gateway(&upstream, "");
    let mut frames = Frames::connect(gateway.address("web"), &[]);
    frames.send(&Frame::headers(1, &GET, true));
    upstream.wait("the request", |c| c.iter().any(|c| !c.requests.is_empty()));
    std::thread::scope(|scope| {
        let draining = scope.spawn(|| gateway.drain(Duration::from_secs(8)));
        let away = loop {
            let frame = frames.read().expect("the connection stays");
            if frame.kind == kind::GOAWAY {
                break frame;
            }
        };
        assert_eq!(away.error(), Some(0), "no error");
        gate.open();
        assert!(matches!(frames.fate(1), Fate::Answered(200, _)));
        let (_, in_time) = frames.ended();
        assert!(in_time, "the connection ends");
        assert!(draining.join().expect("no panic"), "all ended in time");
    });
}

/// Certificates of clients: required, from the right authority.
#[test]
fn clients_show_their_certificates() {
    let (servers, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let upstream = ScriptedUpstream::plain();
    let own = servers.issue(&["a.test"]);
    for (mode, anonymous) in [("required", false), ("optional", true)] {
        let yaml = fill(
            "
listeners:
  - name: web
    address: 127.0.0.1:0
    protocol: https
    tls: { certificates: [{ cert: a.pem, key: a.key }], clientAuth: { ca: clients.pem, mode: ${mode} } }
routes: [{ name: r, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
            &[("up", &upstream.address()), ("mode", &mode)],
        );
        let authorities = clients.pem();
        let files: [(&str, &[u8]); 3] = [
            ("a.pem", own.cert.as_bytes()),
            ("a.key", own.key.as_bytes()),
            ("clients.pem", authorities.as_bytes()),
        ];
        let gateway = TestGateway::start_with(&yaml, &files);
        let address = gateway.address("web");
        let served = |client: std::io::Result<RawClient>| {
            let Ok(mut client) = client else { return false };
            client.send("GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n");
            match client.response("GET") {
                Ok(answer) => answer.status == 200,
                Err(ReadError::Timeout) => panic!("{mode}: neither served nor refused"),
                Err(_) => false,
            }
        };
        let shown = |authority: &Authority| {
            RawClient::connect_with(address, &servers, "a.test", &authority.issue(&["client.test"]))
        };
        assert!(served(shown(&clients)), "{mode}");
        assert!(!served(shown(&others)), "{mode}: another authority");
        let nobody = RawClient::connect_tls(address, &servers, "a.test", &["http/1.1"]);
        assert_eq!(served(nobody), anonymous, "{mode}: no certificate");
    }
}
