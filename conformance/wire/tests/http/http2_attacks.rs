//! Hostile HTTP/2 connections: frames out of order, floods, and windows that never open.

use tidegate_testkit::{Answer, Fate, Frame, Frames, State, Step, flag, kind, literals};
use tidegate_wire::Lab;

const BASE: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/case"), (":authority", "a.test")];
const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/case"), (":authority", "a.test")];

fn connect(lab: &Lab) -> Frames {
    Frames::connect(lab.gateway.address("web"), &[])
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Frame {
    Frame { kind, flags, stream, payload: payload.to_vec() }
}

fn malformed() -> Vec<(&'static str, Vec<Frame>)> {
    let block = literals(&BASE);
    vec![
        ("DATA on the connection", vec![Frame::data(0, b"abc", false)]),
        ("DATA on an idle stream", vec![Frame::data(1, b"abc", true)]),
        ("HEADERS on the connection", vec![Frame::headers(0, &BASE, true)]),
        ("HEADERS on an even stream", vec![Frame::headers(2, &BASE, true)]),
        ("RST_STREAM on the connection", vec![Frame::reset(0, 8)]),
        ("RST_STREAM on an idle stream", vec![Frame::reset(1, 8)]),
        ("RST_STREAM of 3 bytes", vec![frame(kind::RST_STREAM, 0, 1, &[0; 3])]),
        ("WINDOW_UPDATE on an idle stream", vec![Frame::window(1, 1)]),
        ("WINDOW_UPDATE by 0", vec![Frame::window(0, 0)]),
        ("WINDOW_UPDATE past 2^31", vec![Frame::window(0, 0x7fff_ffff)]),
        ("WINDOW_UPDATE of 3 bytes", vec![frame(kind::WINDOW_UPDATE, 0, 0, &[0; 3])]),
        ("SETTINGS of 5 bytes", vec![frame(kind::SETTINGS, 0, 0, &[0; 5])]),
        ("SETTINGS on a stream", vec![frame(kind::SETTINGS, 0, 1, &[0; 6])]),
        ("ACK of SETTINGS with bytes", vec![frame(kind::SETTINGS, flag::ACK, 0, &[0; 6])]),
        ("window of 2^31", vec![Frame::settings(&[(4, 0x8000_0000)])]),
        ("frame size of 1", vec![Frame::settings(&[(5, 1)])]),
        ("push of 2", vec![Frame::settings(&[(2, 2)])]),
        ("PING of 7 bytes", vec![frame(kind::PING, 0, 0, &[0; 7])]),
        ("PING on a stream", vec![frame(kind::PING, 0, 1, &[0; 8])]),
        ("frame larger than allowed", vec![frame(kind::DATA, 0, 1, &[0; 20_000])]),
        ("CONTINUATION first", vec![frame(kind::CONTINUATION, flag::END_HEADERS, 1, &block)]),
        (
            "another frame inside a header block",
            vec![frame(kind::HEADERS, flag::END_STREAM, 1, &block), frame(kind::PING, 0, 0, &[0; 8])],
        ),
        (
            "CONTINUATION of another stream",
            vec![
                frame(kind::HEADERS, flag::END_STREAM, 1, &block),
                frame(kind::CONTINUATION, flag::END_HEADERS, 3, &block),
            ],
        ),
        ("PUSH_PROMISE", vec![frame(5, flag::END_HEADERS, 1, &[0, 0, 0, 2])]),
        ("GOAWAY on a stream", vec![frame(kind::GOAWAY, 0, 1, &[0; 8])]),
        ("field index 0", vec![frame(kind::HEADERS, 5, 1, &[0x80])]),
        ("field index past the tables", vec![frame(kind::HEADERS, 5, 1, &[0xff, 0x80, 0x01])]),
        ("truncated literal", vec![frame(kind::HEADERS, 5, 1, &[0, 5, b'a'])]),
        ("endless integer", vec![frame(kind::HEADERS, 5, 1, &[0xff; 64])]),
        ("table size past the settings", vec![frame(kind::HEADERS, 5, 1, &[0x3f, 0xff, 0xff, 0x03])]),
        ("bad Huffman code", vec![frame(kind::HEADERS, 5, 1, &[0, 0x84, 0xff, 0xff, 0xff, 0xff, 1, b'a'])]),
        ("padding longer than the frame", vec![frame(kind::HEADERS, 5 | 8, 1, &[200, 1, 2])]),
    ]
}

/// Each is a connection error of RFC 9113: the connection ends, nothing complete reaches the upstream but what came
/// before in order, and the gateway serves others.
#[test]
fn malformed_connections_end() {
    let lab = Lab::new();
    let mut failures = Vec::new();
    for (name, sent) in malformed() {
        let mut frames = connect(&lab);
        frames.send_all(&sent);
        let (error, in_time) = frames.ended();
        if !in_time || error.is_none_or(|error| error == 0) {
            failures.push(format!("{name}: ended: {in_time}, GOAWAY: {error:?}"));
        }
        let requests = lab.collect();
        if !requests.is_empty() {
            failures.push(format!("{name}: upstream got {requests:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_stream_number_is_not_used_twice() {
    let lab = Lab::new();
    for second in [1, 3] {
        let mut frames = connect(&lab);
        frames.send(&Frame::headers(5, &BASE, true));
        assert!(matches!(frames.fate(5), Fate::Answered(200, _)));
        frames.send(&Frame::headers(second, &BASE, true));
        assert!(matches!(frames.fate(second), Fate::Reset(..) | Fate::Ended(_)), "{second}");
        assert_eq!(lab.collect().len(), 1, "{second}");
    }
}

#[test]
fn a_bad_preface_ends_the_connection() {
    let lab = Lab::new();
    for bytes in [
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\rX",
        "PRI * HTTP/2.0\r\nhost: a.test\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nGARBAGE",
    ] {
        let mut client = lab.client();
        client.send(bytes);
        client.half_close();
        client.rest();
        assert!(lab.collect().is_empty(), "{bytes:?}");
    }
}

#[test]
fn frames_after_a_reset_are_ignored() {
    let lab = Lab::new();
    let mut frames = connect(&lab);
    frames.send_all(&[
        Frame::headers(1, &POST, false),
        Frame::data(1, b"abc", false),
        Frame::reset(1, 8),
        Frame::window(1, 100),
        frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 1]),
        Frame::reset(1, 8),
        Frame::headers(3, &BASE, true),
    ]);
    assert!(matches!(frames.fate(3), Fate::Answered(200, _)));
    let complete = lab.collect().iter().filter(|r| r.state == State::Complete).count();
    assert_eq!(complete, 1);
}

/// CVE-2023-44487: streams are opened and reset at once.
#[test]
fn rapid_resets_end_the_connection() {
    let lab = Lab::new();
    let mut frames = connect(&lab);
    let mut sent = 0;
    for block in 0..200u32 {
        let flood: Vec<Frame> = (0..50)
            .map(|i| 2 * (block * 50 + i) + 1)
            .flat_map(|stream| [Frame::headers(stream, &BASE, true), Frame::reset(stream, 8)])
            .collect();
        if !frames.send_all(&flood) {
            break;
        }
        sent += 50;
    }
    let (_, in_time) = frames.ended();
    assert!(in_time, "the connection survived {sent} resets");
    let reached = lab.collect().len();
    assert!(reached < 2_000, "{reached} requests reached the upstream");
    lab.upstream.wait("abandoned connections to close", |c| c.iter().filter(|c| !c.finished).count() <= 110);
}

/// CVE-2025-8671: the client makes the server reset its streams.
#[test]
fn resets_provoked_by_the_client_count() {
    let lab = Lab::scripted(|call| match call.head.target.as_str() {
        "/case" => Answer::steps([Step::UntilClosed]),
        target => {
            Answer::reply(format!("HTTP/1.1 200 OK\r\nx-target: {target}\r\ncontent-length: 0\r\n\r\n"))
        }
    });
    let mut frames = connect(&lab);
    for block in 0..100u32 {
        let flood: Vec<Frame> = (0..50)
            .map(|i| 2 * (block * 50 + i) + 1)
            .flat_map(|stream| [Frame::headers(stream, &BASE, true), Frame::window(stream, 0)])
            .collect();
        if !frames.send_all(&flood) {
            break;
        }
    }
    let (_, in_time) = frames.ended();
    assert!(in_time, "the connection survived 5,000 provoked resets");
    lab.collect();
}

/// More frames than fit into the buffers of the sockets: taking all of them needs memory or answers that nobody reads.
const MOST: usize = 3_000_000;

#[test]
fn floods_end_the_connection() {
    let block = literals(&BASE);
    let rows: [(&str, Vec<Frame>, Frame); 5] = [
        (
            "CONTINUATION with fields",
            vec![frame(kind::HEADERS, flag::END_STREAM, 1, &block)],
            frame(kind::CONTINUATION, 0, 1, &literals(&[("x-a", &"b".repeat(1_000))])),
        ),
        (
            "empty CONTINUATION",
            vec![frame(kind::HEADERS, flag::END_STREAM, 1, &block)],
            frame(kind::CONTINUATION, 0, 1, &[]),
        ),
        ("empty DATA", vec![Frame::headers(1, &POST, false)], Frame::data(1, b"", false)),
        ("PING without reading", vec![], frame(kind::PING, 0, 0, &[0; 8])),
        ("SETTINGS without reading", vec![], Frame::settings(&[(4, 65_535)])),
    ];
    for (name, first, flood) in rows {
        let lab = Lab::new();
        let mut frames = Frames::connect_narrow(lab.gateway.address("web"));
        frames.send_all(&first);
        let mut taken = 0;
        let block = vec![flood; 10_000];
        while taken < MOST && frames.send_all(&block) {
            taken += block.len();
        }
        let requests = lab.collect();
        assert!(requests.iter().all(|r| r.state != State::Complete), "{name}: {requests:?}");
        assert!(taken < MOST, "{name}: {taken} frames were taken");
    }
}

#[test]
fn header_lists_have_limits() {
    let many: Vec<(String, String)> = (0..300).map(|i| (format!("x-{i}"), "b".to_owned())).collect();
    let crumbs: Vec<(String, String)> = (0..2_000).map(|_| ("cookie".to_owned(), "a".to_owned())).collect();
    let hosts: Vec<(String, String)> = (0..500).map(|_| ("host".to_owned(), "a.test".to_owned())).collect();
    let large = vec![("x-a".to_owned(), "b".repeat(15_000)); 7];
    for (name, fields) in
        [("many fields", many), ("cookie crumbs", crumbs), ("hosts", hosts), ("many bytes", large)]
    {
        let lab = Lab::new();
        let mut frames = connect(&lab);
        let mut list: Vec<(&str, &str)> = BASE.to_vec();
        list.extend(fields.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let block = literals(&list);
        let mut parts = block.chunks(16_000).peekable();
        let mut sent = Vec::new();
        while let Some(part) = parts.next() {
            let end = if parts.peek().is_none() { flag::END_HEADERS } else { 0 };
            sent.push(match sent.is_empty() {
                true => frame(kind::HEADERS, end | flag::END_STREAM, 1, part),
                false => frame(kind::CONTINUATION, end, 1, part),
            });
        }
        frames.send_all(&sent);
        match frames.fate(1) {
            Fate::Answered(status, _) => assert!((400..500).contains(&status), "{name}: {status}"),
            Fate::Reset(..) | Fate::Ended(_) => {}
        }
        assert!(lab.collect().is_empty(), "{name}");
    }
}

/// One byte of an index stands for a field of 4,000 bytes: 16 KiB would become 64 MiB.
#[test]
fn an_hpack_bomb_is_refused() {
    let lab = Lab::new();
    let mut frames = connect(&lab);
    let mut block = literals(&BASE);
    // Literal with incremental indexing (RFC 7541 section 6.2.1): x-bomb with 3,900 bytes.
    block.extend_from_slice(&[0x40, 6]);
    block.extend_from_slice(b"x-bomb");
    block.extend_from_slice(&[0x7f, 0xbd, 0x1d]);
    block.extend(std::iter::repeat_n(b'b', 127 + 0x3d + 0x1d * 128));
    block.extend(std::iter::repeat_n(0xbe, 12_000));
    frames.send(&frame(kind::HEADERS, 5, 1, &block));
    match frames.fate(1) {
        Fate::Answered(status, _) => assert!((400..500).contains(&status), "{status}"),
        Fate::Reset(..) | Fate::Ended(_) => {}
    }
    assert!(lab.collect().is_empty());
}

#[test]
fn streams_past_the_limit_are_refused() {
    let lab = Lab::scripted(|call| match call.head.target.as_str() {
        "/case" => Answer::steps([Step::UntilClosed]),
        target => {
            Answer::reply(format!("HTTP/1.1 200 OK\r\nx-target: {target}\r\ncontent-length: 0\r\n\r\n"))
        }
    });
    let mut frames = connect(&lab);
    let open: Vec<Frame> = (0..101).map(|i| Frame::headers(2 * i + 1, &BASE, true)).collect();
    frames.send_all(&open);
    let fate = frames.fate(201);
    // 7: REFUSED_STREAM
    assert!(matches!(fate, Fate::Reset(7, _) | Fate::Reset(1, _)), "{fate:?}");
    drop(frames);
    lab.upstream.wait("the end of all requests", |c| c.iter().all(|c| c.finished));
}

/// With a window of zero nothing can be written: what waits is bounded, and ends with the stream.
#[test]
fn closed_windows_stop_the_upstream() {
    let total = 32 << 20;
    let lab = Lab::scripted(move |call| match call.head.target.as_str() {
        "/case" => Answer::steps([
            Step::send(format!("HTTP/1.1 200 OK\r\ncontent-length: {total}\r\n\r\n")),
            Step::Fill(total),
        ]),
        target => {
            Answer::reply(format!("HTTP/1.1 200 OK\r\nx-target: {target}\r\ncontent-length: 0\r\n\r\n"))
        }
    });
    // 4: the initial window
    let mut frames = Frames::connect(lab.gateway.address("web"), &[(4, 0)]);
    let open: Vec<Frame> = (0..8).map(|i| Frame::headers(2 * i + 1, &BASE, true)).collect();
    frames.send_all(&open);
    lab.upstream.wait("all to stall", |c| c.iter().filter(|c| c.stalled_at.is_some()).count() == 8);
    for connection in lab.upstream.connections() {
        let stalled = connection.stalled_at.unwrap_or(total);
        assert!(stalled < 16 << 20, "{stalled} bytes were taken for a window of zero");
    }
    frames.send(&Frame::reset(1, 8));
    lab.upstream.wait("one to end", |c| c.iter().any(|c| c.finished));
    drop(frames);
    lab.upstream.wait("all to end", |c| c.iter().all(|c| c.finished));
}
