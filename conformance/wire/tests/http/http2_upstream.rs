//! Requests towards servers of HTTP/2: what is told of those that fail, and how bodies are cut into frames.

use std::time::Duration;

use tidegate_testkit::{
    Answer, ByteServer, Fate, Frame, Frames, Gate, Http2Options, Http2Upstream, LogFile, RawClient, Step,
    TestGateway, Wire, fill, flag, kind,
};
use tidegate_wire::Lab;

const CANCEL: u32 = 8;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A gateway in front of this server of HTTP/2, and its log.
fn gateway(server: &str, rule: &str) -> (TestGateway, LogFile) {
    let log = LogFile::default();
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }], ${rule} }] }]
upstreams: { up: { servers: ['${server}'], protocol: http2, ejection: false } }
accessLog: { path: '${log}' }
",
        &[("server", &server), ("rule", &rule), ("log", &log.path().display())],
    );
    (TestGateway::start(&yaml), log)
}

/// The next connection of the gateway, which is told these settings.
fn accept(server: &ByteServer, settings: &[(u16, u32)]) -> Wire {
    let mut wire = server.accept();
    wire.exactly(24).expect("a preface");
    send(&mut wire, &[Frame::settings(settings)]);
    wire
}

fn send(wire: &mut Wire, frames: &[Frame]) {
    wire.send(&frames.iter().flat_map(Frame::bytes).collect::<Vec<_>>()).expect("the gateway reads");
}

/// The next frame that is wanted.
fn next(wire: &mut Wire, wanted: impl Fn(&Frame) -> bool) -> Frame {
    loop {
        let head = wire.exactly(9).expect("a frame");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let payload = wire.exactly(length as usize).expect("its payload");
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let frame = Frame { kind: head[3], flags: head[4], stream, payload };
        if wanted(&frame) {
            return frame;
        }
    }
}

/// The body of a request, and in how many frames it came.
fn body(wire: &mut Wire) -> (Vec<u8>, usize) {
    let (mut body, mut frames) = (Vec::new(), 0);
    loop {
        let frame = next(wire, |frame| frame.kind == kind::DATA);
        frames += 1;
        body.extend_from_slice(&frame.payload);
        if frame.flags & flag::END_STREAM != 0 {
            return (body, frames);
        }
    }
}

fn ok(stream: u32) -> Frame {
    Frame::headers(stream, &[(":status", "200")], true)
}

/// A server that allows one stream and has answered it, while what it does not read keeps the end of that stream from
/// leaving: the next request, of which the client has sent half of the body, waits in the gateway.
fn crowded(server: &ByteServer, gateway: &TestGateway) -> (Wire, u32, RawClient) {
    let mut first = RawClient::connect(gateway.address("web"));
    first.send("POST /first HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1000000000\r\n\r\n");
    let mut full = accept(server, &[(MAX_CONCURRENT_STREAMS, 1), (INITIAL_WINDOW_SIZE, 0x7fff_ffff)]);
    send(&mut full, &[Frame::window(0, 0x7000_0000)]);
    let stream = next(&mut full, |frame| frame.kind == kind::HEADERS).stream;
    first
        .wire()
        .fill(1_000_000_000, Duration::from_millis(300), |_| false)
        .expect("the gateway takes a part");
    send(&mut full, &[ok(stream)]);
    assert_eq!(first.response("POST").expect("an answer").status, 200);

    let mut client = RawClient::connect(gateway.address("web"));
    client.send("POST /case HTTP/1.1\r\nhost: a.test\r\nx-mine: 1\r\ncontent-length: 8\r\n\r\nbody");
    gateway.wait("the second request to begin", |gateway| {
        gateway.metric("tidegate_upstream_requests_total", r#"upstream="up""#) == 2.0
    });
    (full, stream, client)
}

/// GOAWAY: this stream was the last one, and there is no error.
fn goes_away(last: u32) -> Frame {
    Frame { kind: kind::GOAWAY, flags: 0, stream: 0, payload: [last.to_be_bytes(), [0; 4]].concat() }
}

/// Nobody has seen it, nor taken of its body.
#[test]
fn a_body_that_waits_for_its_stream_is_sent_on_another_connection() {
    let server = ByteServer::start();
    let (gateway, log) = gateway(&server.address().to_string(), "retries: { attempts: 1, bodyLimit: 0 }");
    let (mut full, stream, mut client) = crowded(&server, &gateway);
    send(&mut full, &[goes_away(stream)]);
    let mut wire = accept(&server, &[]);
    let head = next(&mut wire, |frame| frame.kind == kind::HEADERS);
    client.send("rest");
    assert_eq!(body(&mut wire).0, b"bodyrest");
    send(&mut wire, &[ok(head.stream)]);
    assert_eq!(client.response("POST").expect("an answer").status, 200);
    assert!(log.lines(2)[1].contains(r#""status":200"#), "{:?}", log.lines(2));
    drop(full);
}

/// A server that is about to go away may act on all streams that were on their way (RFC 9113, 6.8): one of them is not sent
/// again on another connection.
#[test]
fn a_stream_that_a_server_takes_before_it_goes_away_is_sent_once() {
    let server = ByteServer::start();
    let (gateway, log) = gateway(&server.address().to_string(), "retries: { attempts: 1, bodyLimit: 0 }");
    let (mut full, stream, mut client) = crowded(&server, &gateway);
    send(&mut full, &[goes_away(0x7fff_ffff)]);
    // It reads on: the first stream ends, the second one begins.
    let head = next(&mut full, |frame| frame.kind == kind::HEADERS);
    assert!(head.stream > stream);
    client.send("rest");
    let sent = next(&mut full, |frame| frame.stream == head.stream);
    assert_eq!((sent.kind, sent.payload), (kind::DATA, b"body".to_vec()));
    send(&mut full, &[ok(head.stream)]);
    assert_eq!(client.response("POST").expect("an answer").status, 200);
    assert!(log.lines(2)[1].contains(r#""attempts":1"#), "{:?}", log.lines(2));
}

/// As over HTTP/1: who sends what is no HTTP is not told to have reset anything.
#[test]
fn what_is_no_http2_is_told_as_garbage() {
    type Row = (&'static str, fn(u32) -> Vec<Frame>, &'static str);
    let rows: [Row; 4] = [
        ("a reset", |s| vec![Frame::reset(s, CANCEL)], "upstream_reset"),
        ("no status", |s| vec![Frame::headers(s, &[("server", "s")], true)], "upstream_garbage"),
        (
            "two lengths",
            |s| {
                let fields = [(":status", "200"), ("content-length", "1"), ("content-length", "2")];
                vec![Frame::headers(s, &fields, false)]
            },
            "upstream_garbage",
        ),
        // A connection error.
        ("data on no stream", |_| vec![Frame::data(0, b"a", false)], "upstream_garbage"),
    ];
    for (name, frames, reason) in rows {
        let server = ByteServer::start();
        let (gateway, log) = gateway(&server.address().to_string(), "retries: { attempts: 0 }");
        let mut client = RawClient::connect(gateway.address("web"));
        client.send("GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let mut wire = accept(&server, &[]);
        let head = next(&mut wire, |frame| frame.kind == kind::HEADERS);
        send(&mut wire, &frames(head.stream));
        assert_eq!(client.response("GET").expect("an answer").status, 502, "{name}");
        let line = &log.lines(1)[0];
        assert!(line.contains(&format!(r#""reason":"{reason}""#)), "{name}: {line}");
    }
}

/// The gateway refuses the stream of an answer whose head is too large: its server has acted on the request all the same.
#[test]
fn a_request_whose_answer_is_refused_is_not_sent_again() {
    let server = Http2Upstream::start(Http2Options { long: 200_000, ..Http2Options::default() });
    let (gateway, log) =
        gateway(&server.address().to_string(), "retries: { attempts: 2, on: [reset, connect] }");
    let mut client = RawClient::connect(gateway.address("web"));
    let answer = client.exchange("POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 2\r\n\r\nab");
    assert_eq!(answer.status, 502);
    assert!(log.lines(1)[0].contains(r#""reason":"upstream_garbage""#), "{:?}", log.lines(1));
    assert_eq!(server.connections().iter().map(|connection| connection.requests).sum::<usize>(), 1);
}

/// The server is told that nobody wants it any more, not that the gateway is broken.
#[test]
fn a_client_that_breaks_its_body_off_cancels_the_stream() {
    let server = ByteServer::start();
    let (gateway, _log) = gateway(&server.address().to_string(), "retries: { attempts: 0 }");
    for rest in ["", "6\r\nmore"] {
        let mut client = RawClient::connect(gateway.address("web"));
        client.send("POST /case HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n");
        let mut wire = accept(&server, &[]);
        let stream = next(&mut wire, |frame| frame.kind == kind::HEADERS).stream;
        next(&mut wire, |frame| frame.kind == kind::DATA && frame.payload == b"half");
        client.send(rest);
        drop(client);
        let end = next(&mut wire, |frame| {
            frame.kind == kind::RST_STREAM || frame.kind == kind::DATA && frame.flags & flag::END_STREAM != 0
        });
        assert_eq!((end.kind, end.stream, end.error()), (kind::RST_STREAM, stream, Some(CANCEL)), "{rest:?}");
    }
}

/// RFC 9113, 8.2.1 does not know such values; over HTTP/1 nobody would see the blanks.
#[test]
fn blanks_around_values_of_an_answer_are_dropped() {
    let server = ByteServer::start();
    let (gateway, _log) = gateway(&server.address().to_string(), "retries: { attempts: 0 }");
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("GET /case HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n");
    let mut wire = accept(&server, &[]);
    let stream = next(&mut wire, |frame| frame.kind == kind::HEADERS).stream;
    let head = [(":status", "200"), ("x-a", " b c\t"), ("x-d", "  "), ("x-e", "f")];
    let frames = [
        Frame::headers(stream, &[(":status", "103"), ("link", " </x> ")], false),
        Frame::headers(stream, &head, false),
        Frame::data(stream, b"ok", false),
        Frame::headers(stream, &[("x-t", "\tu ")], true),
    ];
    send(&mut wire, &frames);
    let text = String::from_utf8(client.rest().0).expect("text");
    assert!(text.contains("\r\nlink: </x>\r\n"), "{text}");
    assert!(text.contains("\r\nx-a: b c\r\nx-d: \r\nx-e: f\r\n"), "{text}");
    assert!(text.ends_with("\r\n0\r\nx-t: u\r\n\r\n"), "{text}");
}

const PIECES: usize = 400;

/// Peers count frames, and each one costs: what is ready goes together, both ways.
#[test]
fn small_pieces_that_are_ready_share_frames() {
    let chunks = "2\r\nab\r\n".repeat(PIECES) + "0\r\n\r\n";
    let expected = b"ab".repeat(PIECES);

    let server = ByteServer::start();
    let (gateway, _log) = gateway(&server.address().to_string(), "retries: { attempts: 0 }");
    let mut client = RawClient::connect(gateway.address("web"));
    client.send(format!("POST /case HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"));
    let mut wire = accept(&server, &[]);
    let stream = next(&mut wire, |frame| frame.kind == kind::HEADERS).stream;
    let (sent, frames) = body(&mut wire);
    assert_eq!(sent, expected);
    assert!(frames <= 8, "{frames} frames to the server");
    send(&mut wire, &[ok(stream)]);
    assert_eq!(client.response("POST").expect("an answer").status, 200);

    let lab = Lab::scripted(move |_| {
        Answer::reply(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"))
    });
    let mut client = Frames::connect(lab.gateway.address("web"), &[]);
    let head = [(":method", "GET"), (":scheme", "http"), (":path", "/case"), (":authority", "a.test")];
    client.send(&Frame::headers(1, &head, true));
    let (mut got, mut frames) = (Vec::new(), 0);
    loop {
        let frame = client.read().expect("a frame");
        if frame.kind == kind::DATA {
            frames += 1;
            got.extend_from_slice(&frame.payload);
            if frame.flags & flag::END_STREAM != 0 {
                break;
            }
        }
    }
    assert_eq!(got, expected);
    assert!(frames <= 8, "{frames} frames to the client");
}

/// What is ready does not wait for what is not, and trailers end what was gathered.
#[test]
fn pieces_that_are_ready_wait_for_no_others() {
    let gate = Gate::new();
    let held = gate.clone();
    let lab = Lab::scripted(move |_| {
        Answer::steps([
            Step::send(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n1\r\na\r\n1\r\nb\r\n",
            ),
            Step::Wait(held.clone()),
            Step::send("1\r\nc\r\n1\r\nd\r\n0\r\nx-sum: 4\r\n\r\n"),
        ])
    });
    let mut client = Frames::connect(lab.gateway.address("web"), &[]);
    let head = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/case"),
        (":authority", "a.test"),
        ("te", "trailers"),
    ];
    client.send(&Frame::headers(1, &head, true));
    let mut got = Vec::new();
    while got.len() < 2 {
        let frame = client.read().expect("a frame");
        if frame.kind == kind::DATA {
            got.extend_from_slice(&frame.payload);
        }
    }
    assert_eq!(got, b"ab");
    gate.open();
    assert_eq!(client.fate(1), Fate::Answered(0, b"cd".to_vec()));
}
