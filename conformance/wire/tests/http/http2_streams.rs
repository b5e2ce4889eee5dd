//! HTTP/2 streams that do not stop others: slow ones, those that never end, and pieces however small.

use tidegate_testkit::{
    ByteServer, Fate, Frame, Frames, Http2Client, Http2Options, Http2Upstream, TestGateway, Wire, fill, flag,
    kind,
};

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/case"), (":authority", "a.test")];
const LARGE: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/large"), (":authority", "a.test")];
const OTHER: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/other"), (":authority", "a.test")];
const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/case"), (":authority", "a.test")];

/// A gateway in front of a server of HTTP/2.
fn gateway(server: impl std::fmt::Display) -> TestGateway {
    TestGateway::start(&fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${server}'], protocol: http2, ejection: false } }
",
        &[("server", &server)],
    ))
}

/// A client that knows how much it may send.
fn connect(gateway: &TestGateway) -> Frames {
    let mut client = Frames::connect(gateway.address("web"), &[]);
    // Behind the settings: what it may send on all streams together.
    while client.read().expect("settings and a window").kind != kind::WINDOW_UPDATE {}
    client
}

fn send(wire: &mut Wire, frames: &[Frame]) {
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::bytes).collect();
    wire.send(&bytes).expect("the gateway reads");
}

/// The kind of the next frame; settings are acknowledged.
fn next(wire: &mut Wire) -> u8 {
    let head = wire.exactly(9).expect("a frame");
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let payload = wire.exactly(length as usize).expect("its payload");
    assert_ne!(head[3], kind::GOAWAY, "{}", String::from_utf8_lossy(&payload));
    if head[3] == kind::SETTINGS && head[4] & flag::ACK == 0 {
        send(wire, &[Frame { kind: kind::SETTINGS, flags: flag::ACK, stream: 0, payload: Vec::new() }]);
    }
    head[3]
}

/// A connection of the gateway on which a request has come.
fn asked(server: &ByteServer) -> Wire {
    let mut wire = server.accept();
    wire.exactly(24).expect("a preface");
    send(&mut wire, &[Frame::settings(&[])]);
    while next(&mut wire) != kind::HEADERS {}
    wire
}

/// Many frames of ten bytes.
fn small(stream: u32, count: usize) -> Vec<Frame> {
    vec![Frame::data(stream, b"0123456789", false); count]
}

/// A stream of small messages that nobody takes for a while is no flood.
#[test]
fn many_small_pieces_of_a_request_may_wait() {
    let server = Http2Upstream::start(Http2Options { held: true, ..Http2Options::default() });
    let gateway = gateway(server.address());
    let mut client = connect(&gateway);
    client.send(&Frame::headers(1, &POST, false));
    client.send_all(&small(1, 12_000));
    client.send(&Frame::data(1, b"", true));
    // It has them all when it answers this.
    client.send(&Frame { kind: kind::PING, flags: 0, stream: 0, payload: vec![7; 8] });
    loop {
        let frame = client.read().expect("the connection stays");
        assert_ne!(frame.kind, kind::GOAWAY, "{:?}", frame.error());
        if frame.kind == kind::PING && frame.flags & flag::ACK != 0 {
            break;
        }
    }
    server.answer();
    assert_eq!(client.fate(1), Fate::Answered(200, b"ok".to_vec()));
}

/// Nor are those of an answer, whose client is slow: the connection is of other clients too.
#[test]
fn many_small_pieces_of_an_answer_may_wait() {
    const COUNT: usize = 20_000;
    let server = ByteServer::start();
    let gateway = gateway(server.address());
    let serving = std::thread::spawn(move || {
        let mut wire = asked(&server);
        send(&mut wire, &[Frame::headers(1, &[(":status", "200")], false)]);
        send(&mut wire, &small(1, COUNT));
        send(&mut wire, &[Frame { kind: kind::PING, flags: 0, stream: 0, payload: vec![7; 8] }]);
        // It has them all when it answers that.
        while next(&mut wire) != kind::PING {}
        send(&mut wire, &[Frame::data(1, b"", true)]);
        wire
    });
    // SETTINGS_INITIAL_WINDOW_SIZE of 0: it takes none of the body.
    let mut client = Frames::connect(gateway.address("web"), &[(4, 0)]);
    client.send(&Frame::headers(1, &GET, true));
    let wire = serving.join().expect("the gateway has read all");
    client.send(&Frame::window(1, 1_000_000));
    match client.fate(1) {
        Fate::Answered(200, body) => assert_eq!(body.len(), COUNT * 10),
        fate => panic!("{fate:?}"),
    }
    drop(wire);
}

/// Of one connection to a server, and of different clients here.
#[test]
fn clients_that_take_nothing_do_not_stop_others() {
    let server = Http2Upstream::start(Http2Options { large: 4 << 20, ..Http2Options::default() });
    let gateway = gateway(server.address());
    let mut slow = Frames::connect(gateway.address("web"), &[(4, 0)]);
    for stream in [1, 3, 5, 7, 9, 11, 13, 15] {
        slow.send(&Frame::headers(stream, &LARGE, true));
        // What the server can send is on its way with the head.
        loop {
            let frame = slow.read().expect("a head");
            if frame.kind == kind::HEADERS && frame.stream == stream {
                break;
            }
        }
    }
    let mut other = Frames::connect(gateway.address("web"), &[]);
    other.send(&Frame::headers(1, &GET, true));
    assert_eq!(other.fate(1), Fate::Answered(200, b"ok".to_vec()));
    assert_eq!(server.connections().len(), 1, "they share a connection");
}

/// Of one connection of a client, which may be a proxy with clients of its own: bodies that their server does not take.
#[test]
fn servers_that_take_nothing_do_not_stop_others() {
    let slow = Http2Upstream::start(Http2Options { held: true, ..Http2Options::default() });
    let other = Http2Upstream::start(Http2Options::default());
    let gateway = TestGateway::start(&fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes:
  - name: r
    rules:
      - { matches: [{ path: { prefix: /other } }], forward: [{ upstream: other }] }
      - { forward: [{ upstream: slow }] }
upstreams:
  slow: { servers: ['${slow}'], protocol: http2 }
  other: { servers: ['${other}'], protocol: http2 }
",
        &[("slow", &slow.address()), ("other", &other.address())],
    ));
    let mut client = connect(&gateway);
    for stream in [1, 3, 5, 7, 9, 11, 13] {
        client.send(&Frame::headers(stream, &POST, false));
        // 256 KiB: what it may send ahead.
        client.send_all(&vec![Frame::data(stream, &[b'x'; 16 * 1024], false); 16]);
    }
    client.send(&Frame::headers(15, &OTHER, false));
    client.send(&Frame::data(15, b"abc", true));
    assert_eq!(client.fate(15), Fate::Answered(200, b"ok".to_vec()));
}

/// A client that is still sending when it is answered. Some lose the answer when the stream is reset right behind it.
#[test]
fn a_body_may_come_to_its_end_behind_its_answer() {
    for sent in [1_000, 250_000, 600_000] {
        let gateway = respond();
        let mut client = connect(&gateway);
        client.send(&Frame::headers(1, &POST, false));
        assert_eq!(client.fate(1), Fate::Answered(403, b"no".to_vec()));
        let rest = upload(&mut client, 1, sent).expect("no reset");
        assert_eq!(rest, 0, "all of it was taken");
        client.send(&Frame::data(1, b"", true));
        client.send(&Frame { kind: kind::PING, flags: 0, stream: 0, payload: vec![7; 8] });
        loop {
            let frame = client.read().expect("the connection stays");
            assert_ne!(frame.kind, kind::RST_STREAM, "{sent} bytes");
            if frame.kind == kind::PING && frame.flags & flag::ACK != 0 {
                break;
            }
        }
        client.send(&Frame::headers(3, &POST, true));
        assert!(matches!(client.fate(3), Fate::Answered(_, body) if body == b"no"));
    }
}

/// Nobody reads it: there is an end to what is taken.
#[test]
fn a_body_without_end_is_cut_off_behind_its_answer() {
    let gateway = respond();
    let mut client = connect(&gateway);
    client.send(&Frame::headers(1, &POST, false));
    assert_eq!(client.fate(1), Fate::Answered(403, b"no".to_vec()));
    assert_eq!(upload(&mut client, 1, 4 << 20), Err(0), "NO_ERROR");
}

/// A gateway that answers by itself.
fn respond() -> TestGateway {
    TestGateway::start(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ respond: { status: 403, body: 'no' } }] }]
",
    )
}

/// Sends a body on a new connection's stream as its windows allow, and what of it was left when they closed for good; the
/// error if the stream was reset.
fn upload(client: &mut Frames, stream: u32, bytes: usize) -> Result<usize, u32> {
    let (mut left, mut window) = (bytes, 256 * 1024);
    while left > 0 {
        let piece = left.min(window).min(16 * 1024);
        if piece > 0 {
            client.send(&Frame::data(stream, &vec![b'x'; piece], false));
            (left, window) = (left - piece, window - piece);
            continue;
        }
        let frame = client.read().expect("a window or a reset");
        match frame.kind {
            kind::RST_STREAM => return Err(frame.error().expect("it has one")),
            kind::WINDOW_UPDATE if frame.stream == stream => {
                let more = frame.payload.first_chunk().expect("a number");
                window += u32::from_be_bytes(*more) as usize;
            }
            _ => {}
        }
    }
    Ok(left)
}

/// A client that does not end its body has no place at the server once its answer is over, and is told so (RFC 9113, 8.1).
#[test]
fn a_body_does_not_go_on_behind_its_answer() {
    let server =
        Http2Upstream::start(Http2Options { early: true, streams: Some(1), ..Http2Options::default() });
    let gateway = TestGateway::start(&fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }], timeouts: { request: 10s } }] }]
upstreams: { up: { servers: ['${server}'], protocol: http2, ejection: false } }
",
        &[("server", &server.address())],
    ));
    let mut client = Frames::connect(gateway.address("web"), &[]);
    for stream in [1, 3, 5] {
        client.send_all(&[Frame::headers(stream, &POST, false), Frame::data(stream, b"abc", false)]);
        assert_eq!(client.fate(stream), Fate::Answered(200, b"ok".to_vec()), "{stream}");
    }
    for stream in [1, 3, 5] {
        assert_eq!(client.fate(stream), Fate::Reset(0, Vec::new()), "{stream}: NO_ERROR");
    }
    server.wait("streams to end", |connections| connections.iter().all(|one| one.open == 0));
}

/// Heads of answers may be as long as over HTTP/1.
#[test]
fn a_long_head_of_an_answer_comes() {
    let server = Http2Upstream::start(Http2Options { long: 40_000, ..Http2Options::default() });
    let gateway = gateway(server.address());
    let mut client = Http2Client::connect(gateway.address("web"));
    let answer = client.get("a.test", "/case", &[]);
    assert_eq!((answer.status, answer.header("x-long").map(str::len)), (200, Some(40_000)));
}

/// Where the way to a server is lost the system goes on sending for a quarter of an hour: another connection is opened for what
/// comes behind a request that was given up.
#[test]
fn a_connection_on_which_nothing_comes_gets_no_further_request() {
    let server = ByteServer::start();
    let gateway = TestGateway::start(&fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }], timeouts: { request: 1200ms } }] }]
upstreams: { up: { servers: ['${server}'], protocol: http2, ejection: false } }
",
        &[("server", &server.address())],
    ));
    let mut client = Frames::connect(gateway.address("web"), &[]);
    client.send(&Frame::headers(1, &GET, true));
    let mut wire = asked(&server);
    send(&mut wire, &[Frame::headers(1, &[(":status", "204")], true)]);
    assert!(matches!(client.fate(1), Fate::Answered(204, _)));
    client.send(&Frame::headers(3, &GET, true));
    assert!(matches!(client.fate(3), Fate::Answered(504, _)));
    client.send(&Frame::headers(5, &GET, true));
    let mut other = asked(&server);
    send(&mut other, &[Frame::headers(1, &[(":status", "204")], true)]);
    assert!(matches!(client.fate(5), Fate::Answered(204, _)));
    drop(wire);
}
