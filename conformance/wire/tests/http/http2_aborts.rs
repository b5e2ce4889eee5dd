//! HTTP/2 streams that are reset with NO_ERROR: what was whole before is whole, everything else is cut off (RFC 9113, 8.1).

use tidegate_testkit::{
    Answer, ByteServer, Fate, Frame, Frames, RawClient, State, Step, TestGateway, Wire, fill, flag, kind,
};
use tidegate_wire::Lab;

const NO_ERROR: u32 = 0;
const CANCEL: u32 = 8;

/// Reads frames up to the next request and tells its stream; settings are acknowledged on the way.
fn request(wire: &mut Wire) -> u32 {
    loop {
        let head = wire.exactly(9).expect("a frame");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        wire.exactly(length as usize).expect("its payload");
        if head[3] == kind::SETTINGS && head[4] & flag::ACK == 0 {
            let ack = Frame { kind: kind::SETTINGS, flags: flag::ACK, stream: 0, payload: Vec::new() };
            wire.send(&ack.bytes()).expect("the gateway reads");
        }
        if head[3] == kind::HEADERS {
            return u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        }
    }
}

/// What a client gets, over HTTP/1 and over HTTP/2, when a server answers with these frames: the body, if it was whole.
fn relayed(name: &str, frames: fn(u32) -> Vec<Frame>) -> [Option<Vec<u8>>; 2] {
    let server = ByteServer::start();
    let gateway = TestGateway::start(&fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${server}'], protocol: http2, ejection: false, pool: { maxRequests: 1 } } }
",
        &[("server", &server.address())],
    ));
    let serving = std::thread::spawn(move || {
        let mut wires = Vec::new();
        for _ in 0..2 {
            let mut wire = server.accept();
            wire.exactly(24).expect("a preface");
            wire.send(&Frame::settings(&[]).bytes()).expect("the gateway reads");
            let stream = request(&mut wire);
            let bytes: Vec<u8> = frames(stream).iter().flat_map(Frame::bytes).collect();
            wire.send(&bytes).expect("the gateway reads");
            wires.push(wire);
        }
        wires
    });
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let first = client.response("GET").ok().map(|answer| {
        assert_eq!(answer.status, 200, "{name}");
        answer.body
    });
    let mut client = Frames::connect(gateway.address("web"), &[]);
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/case"), (":authority", "a.test")];
    client.send(&Frame::headers(1, &fields, true));
    let second = match client.fate(1) {
        Fate::Answered(status, body) => {
            assert_eq!(status, 200, "{name}");
            Some(body)
        }
        // There are clients that take what they have for all of it when they are told so.
        Fate::Reset(code, _) => {
            assert_ne!(code, NO_ERROR, "{name}");
            None
        }
        Fate::Ended(_) => None,
    };
    drop(serving.join().expect("both were asked for"));
    [first, second]
}

fn head(stream: u32) -> Frame {
    Frame::headers(stream, &[(":status", "200")], false)
}

/// A server that breaks off says so with any error, NO_ERROR too.
#[test]
fn answers_that_are_reset_before_their_end_are_cut_off() {
    type Row = (&'static str, fn(u32) -> Vec<Frame>);
    let rows: [Row; 4] = [
        ("no body yet", |s| vec![head(s), Frame::reset(s, NO_ERROR)]),
        ("in the body", |s| vec![head(s), Frame::data(s, b"part", false), Frame::reset(s, NO_ERROR)]),
        ("in the body, cancelled", |s| {
            vec![head(s), Frame::data(s, b"part", false), Frame::reset(s, CANCEL)]
        }),
        ("in a body of a known length", |s| {
            let head = Frame::headers(s, &[(":status", "200"), ("content-length", "9")], false);
            vec![head, Frame::data(s, b"part", false), Frame::reset(s, NO_ERROR)]
        }),
    ];
    for (name, frames) in rows {
        assert_eq!(relayed(name, frames), [None, None], "{name}");
    }
}

/// A server that has answered may ask for the rest of the request not to be sent.
#[test]
fn answers_that_are_reset_after_their_end_are_whole() {
    let whole = Some(b"whole".to_vec());
    let data = |s| vec![head(s), Frame::data(s, b"whole", true), Frame::reset(s, NO_ERROR)];
    assert_eq!(relayed("data", data), [whole.clone(), whole.clone()]);
    let trailers = |s| {
        let trailers = Frame::headers(s, &[("x-sum", "7")], true);
        vec![head(s), Frame::data(s, b"whole", false), trailers, Frame::reset(s, NO_ERROR)]
    };
    assert_eq!(relayed("trailers", trailers), [whole.clone(), whole]);
}

/// As towards clients: a server that is told NO_ERROR may take half an upload for a whole one.
#[test]
fn a_request_that_is_reset_without_an_error_is_cancelled() {
    let server = ByteServer::start();
    let gateway = TestGateway::start(&fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${server}'], protocol: http2 } }
",
        &[("server", &server.address())],
    ));
    let mut client = Frames::connect(gateway.address("web"), &[]);
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/case"), (":authority", "a.test")];
    client.send_all(&[Frame::headers(1, &fields, false), Frame::data(1, b"half", false)]);
    let mut wire = server.accept();
    wire.exactly(24).expect("a preface");
    wire.send(&Frame::settings(&[]).bytes()).expect("the gateway reads");
    let stream = request(&mut wire);
    client.send(&Frame::reset(1, NO_ERROR));
    let (kind, code) = loop {
        let head = wire.exactly(9).expect("a frame");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let payload = wire.exactly(length as usize).expect("its payload");
        if head[3] == kind::RST_STREAM || head[3] == kind::DATA && head[4] & flag::END_STREAM != 0 {
            assert_eq!(u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]), stream);
            break (head[3], payload);
        }
    };
    assert_eq!((kind, code.as_slice()), (kind::RST_STREAM, CANCEL.to_be_bytes().as_slice()));
}

/// Half an upload must not reach a server as a whole one.
#[test]
fn requests_that_are_reset_before_their_end_are_cut_off() {
    for error in [NO_ERROR, CANCEL] {
        let lab = Lab::scripted(|_| Answer::steps([Step::ReadBody, Step::UntilClosed]));
        let mut client = Frames::connect(lab.gateway.address("web"), &[]);
        let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/case"), (":authority", "a.test")];
        client.send_all(&[Frame::headers(1, &fields, false), Frame::data(1, b"half", false)]);
        lab.upstream.wait("the request", |c| c.iter().any(|c| !c.requests.is_empty()));
        client.send(&Frame::reset(1, error));
        lab.upstream.wait("its end", |c| c.iter().all(|c| c.finished));
        let requests = lab.upstream.requests();
        assert_eq!(requests.len(), 1, "{error}: {requests:?}");
        assert_ne!(requests[0].state, State::Complete, "{error}: {:?}", requests[0]);
    }
}
