//! HTTP/2 requests: what is not a request must not become one on the way to an HTTP/1 upstream.

use tidegate_testkit::{Answer, Fate, Frame, Frames, Received, State, Step, flag, kind, literals};
use tidegate_wire::Lab;

const BASE: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/case"), (":authority", "a.test")];

/// The ordinary fields, with one of the pseudo fields replaced.
fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    BASE.iter().map(|(n, v)| if *n == name { (*n, value) } else { (*n, *v) }).collect()
}

/// The ordinary fields without one.
fn without(name: &str) -> Vec<(&'static str, &'static str)> {
    BASE.iter().filter(|(n, _)| *n != name).copied().collect()
}

/// The ordinary fields with more behind them.
fn plus(fields: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    BASE.iter().chain(fields).copied().collect()
}

fn connect(lab: &Lab) -> Frames {
    Frames::connect(lab.gateway.address("web"), &[])
}

fn refused(fate: &Fate) -> bool {
    match fate {
        Fate::Answered(status, _) => (400..600).contains(status),
        Fate::Reset(..) | Fate::Ended(_) => true,
    }
}

/// Nothing malformed, nothing guarded, at most one complete request.
fn upstream_is_safe(requests: &[Received]) -> Result<(), String> {
    for request in requests {
        if matches!(request.state, State::Malformed(_)) || request.target().starts_with("/admin") {
            return Err(format!("upstream got {} {:?}", request.target(), request.state));
        }
    }
    let complete = requests.iter().filter(|r| r.state == State::Complete).count();
    if complete > 1 { Err(format!("{complete} requests upstream")) } else { Ok(()) }
}

struct Row {
    name: &'static str,
    frames: Vec<Frame>,
    /// Must be refused with nothing complete upstream; else it may also be forwarded as one request.
    refuse: bool,
}

/// Each row has a gateway and an upstream of its own, seen to their ends: a request that is passed on while its stream is
/// reset may reach the upstream late, and must not count for another row.
fn check(rows: Vec<Row>) {
    let count = rows.len();
    let mut failures = Vec::new();
    for row in rows {
        let lab = Lab::new();
        let mut frames = connect(&lab);
        frames.send_all(&row.frames);
        let fate = frames.fate(1);
        drop(frames);
        let requests = lab.finish();
        let complete = requests.iter().any(|r| r.state == State::Complete);
        if let Err(why) = upstream_is_safe(&requests) {
            failures.push(format!("{}: {why}", row.name));
        } else if row.refuse && (complete || !refused(&fate)) {
            failures.push(format!("{}: not refused: {fate:?}, complete upstream: {complete}", row.name));
        } else if !complete && !refused(&fate) {
            failures.push(format!("{}: nothing upstream but {fate:?}", row.name));
        }
    }
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
}

/// Name, whether it must be refused, fields.
type HeadRow = (&'static str, bool, Vec<(&'static str, &'static str)>);

fn heads(rows: Vec<HeadRow>) -> Vec<Row> {
    let row = |(name, refuse, fields): HeadRow| Row {
        name,
        frames: vec![Frame::headers(1, &fields, true)],
        refuse,
    };
    rows.into_iter().map(row).collect()
}

#[test]
fn an_ordinary_request_passes() {
    let lab = Lab::new();
    let mut frames = connect(&lab);
    frames.send(&Frame::headers(
        1,
        &plus(&[("cookie", "a=1"), ("x-a", "b"), ("cookie", "c=2"), ("te", "trailers")]),
        true,
    ));
    assert_eq!(frames.fate(1), Fate::Answered(200, b"ok".to_vec()));
    let request = &lab.collect()[0];
    let head = request.head.as_ref().expect("complete");
    assert_eq!((head.method.as_str(), head.target.as_str(), head.minor), ("GET", "/case", 1));
    assert_eq!((request.header("host"), request.header("x-a")), (Some("a.test"), Some("b")));
    // RFC 9113 section 8.2.3: crumbs become one field.
    assert_eq!(request.header("cookie"), Some("a=1; c=2"));
    assert_eq!(request.header("x-forwarded-proto"), Some("http"));
    assert_eq!(request.header("x-forwarded-host"), Some("a.test"));
}

#[test]
fn bodies_and_trailers_pass() {
    let lab = Lab::scripted(|call| {
        Answer::reply(format!(
            "HTTP/1.1 200 OK\r\nx-target: {}\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
            call.head.target
        ))
    });
    let mut fields = with(":method", "POST");
    fields.push(("content-length", "6"));
    // Announced or not, trailers pass.
    let mut announced = with(":method", "POST");
    announced.push(("trailer", "x-in"));
    let mut frames = connect(&lab);
    frames.send_all(&[
        Frame::headers(1, &fields, false),
        Frame::data(1, b"abc", false),
        Frame::data(1, b"", false),
        Frame::data(1, b"def", true),
        Frame::headers(3, &announced, false),
        Frame::data(3, b"abc", false),
        Frame::headers(3, &[("x-in", "1")], true),
    ]);
    let fates = [frames.fate(1), frames.fate(3)];
    assert!(matches!(&fates[0], Fate::Answered(200, body) if body == b"ok"), "{fates:?}");
    let requests = lab.collect();
    let sized = requests.iter().find(|r| r.header("content-length").is_some()).expect("the first request");
    assert_eq!((sized.body.as_slice(), sized.header("content-length")), (b"abcdef".as_slice(), Some("6")));
    let open = requests.iter().find(|r| r.header("transfer-encoding").is_some()).expect("the second request");
    assert_eq!((open.body.as_slice(), open.trailers.get("x-in")), (b"abc".as_slice(), Some("1")));
}

#[test]
fn bytes_that_would_split_an_http1_message() {
    let smuggled = "b\r\nhost: b.test\r\n\r\nGET /admin/x HTTP/1.1";
    check(heads(vec![
        ("CRLF in a value", true, plus(&[("x-a", "b\r\nx-c: d")])),
        ("a request in a value", true, plus(&[("x-a", smuggled)])),
        ("LF in a value", true, plus(&[("x-a", "b\nc")])),
        ("CR in a value", true, plus(&[("x-a", "b\rc")])),
        ("NUL in a value", true, plus(&[("x-a", "b\0c")])),
        // RFC 9113 section 8.2.1. An HTTP/1 server drops them: a rule or a filter would have compared another value.
        ("blank before a value", true, plus(&[("x-a", " b")])),
        ("blank behind a value", true, plus(&[("x-a", "b ")])),
        ("tab behind a value", true, plus(&[("x-a", "b\t")])),
        ("value of blanks", true, plus(&[("x-a", "  ")])),
        ("blank in a cookie", true, plus(&[("cookie", "a=1; ")])),
        ("blank inside a value", false, plus(&[("x-a", "b c")])),
        ("empty value", false, plus(&[("x-a", "")])),
        ("upper-case name", true, plus(&[("X-A", "b")])),
        ("empty name", true, plus(&[("", "b")])),
        ("space in a name", true, plus(&[("x a", "b")])),
        ("colon in a name", true, plus(&[("x-a: b", "c")])),
        ("CRLF in a name", true, plus(&[("x-a: b\r\nx-c", "d")])),
        ("NUL in a name", true, plus(&[("x\0a", "b")])),
        ("byte above ASCII in a name", true, plus(&[("x\u{e9}", "b")])),
        ("byte above ASCII in a value", false, plus(&[("x-a", "\u{e9}")])),
        ("CRLF in the path", true, with(":path", "/case HTTP/1.1\r\nx: y")),
        ("space in the path", true, with(":path", "/case x")),
        ("NUL in the path", true, with(":path", "/ca\0se")),
        // The parser drops fragments before anything sees them: one reading.
        ("fragment in the path", false, with(":path", "/case#x")),
        ("empty path", true, with(":path", "")),
        ("relative path", true, with(":path", "case")),
        ("star", true, with(":path", "*")),
        ("absolute path", true, with(":path", "http://b.test/case")),
        ("CRLF in the method", true, with(":method", "GET /admin HTTP/1.1\r\nx: y\r\n\r\nGET")),
        ("space in the method", true, with(":method", "GET /admin")),
        ("empty method", true, with(":method", "")),
        ("CRLF in the scheme", true, with(":scheme", "http\r\nx: y")),
        ("a URL as scheme", true, with(":scheme", "http://b.test/admin")),
        ("empty scheme", true, with(":scheme", "")),
        ("other scheme", false, with(":scheme", "https")),
        ("CRLF in the authority", true, with(":authority", "a.test\r\nx: y")),
        ("space in the authority", true, with(":authority", "a.test b")),
        ("path in the authority", true, with(":authority", "a.test/b")),
        ("user in the authority", true, with(":authority", "b@a.test")),
        ("empty authority", true, with(":authority", "")),
        ("bad port in the authority", true, with(":authority", "a.test:b")),
    ]));
}

#[test]
fn pseudo_fields() {
    let twice = |name: &'static str, value: &'static str| {
        let mut fields = vec![(name, value)];
        fields.extend(BASE);
        fields
    };
    let mut late = without(":path");
    late.extend([("x-a", "b"), (":path", "/case")]);
    check(heads(vec![
        ("two methods", true, twice(":method", "POST")),
        ("two schemes", true, twice(":scheme", "http")),
        ("two paths", true, twice(":path", "/admin")),
        ("two authorities", true, twice(":authority", "b.test")),
        ("no method", true, without(":method")),
        ("no scheme", true, without(":scheme")),
        ("no path", true, without(":path")),
        ("no authority, no host", true, without(":authority")),
        ("late", true, late),
        ("unknown", true, twice(":x", "y")),
        ("status in a request", true, twice(":status", "200")),
        ("protocol without CONNECT", true, twice(":protocol", "websocket")),
        ("CONNECT", true, vec![(":method", "CONNECT"), (":authority", "a.test:443")]),
        ("CONNECT with a path", true, with(":method", "CONNECT")),
        ("no fields at all", true, vec![]),
    ]));
}

#[test]
fn hosts_and_authorities() {
    let lab = Lab::new();
    let mut host = without(":authority");
    host.push(("host", "a.test"));
    let mut frames = connect(&lab);
    frames.send(&Frame::headers(1, &host, true));
    assert!(matches!(frames.fate(1), Fate::Answered(200, _)));
    assert_eq!(lab.collect()[0].header("host"), Some("a.test"));
    check(heads(vec![
        ("host unlike the authority", true, plus(&[("host", "b.test")])),
        ("host like the authority", false, plus(&[("host", "a.test")])),
        ("two hosts", true, plus(&[("host", "a.test"), ("host", "b.test")])),
    ]));
}

/// RFC 9110 section 7.6.2, as over HTTP/1.
#[test]
fn options_are_forwarded_as_often_as_they_may_be() {
    for (value, status, want) in [("0", 200, None), ("3", 200, Some("2")), ("x", 400, None)] {
        let lab = Lab::new();
        let mut frames = connect(&lab);
        let mut fields = with(":method", "OPTIONS");
        fields.push(("max-forwards", value));
        frames.send(&Frame::headers(1, &fields, true));
        let fate = frames.fate(1);
        assert!(matches!(&fate, Fate::Answered(found, _) if *found == status), "{value}: {fate:?}");
        let requests = lab.collect();
        let sent = requests.first().and_then(|request| request.header("max-forwards"));
        assert_eq!((requests.len(), sent), (usize::from(want.is_some()), want), "{value}");
    }
}

#[test]
fn fields_of_a_connection() {
    check(heads(vec![
        ("transfer-encoding", true, plus(&[("transfer-encoding", "chunked")])),
        ("connection", true, plus(&[("connection", "close")])),
        ("connection with a name", true, plus(&[("connection", "x-a"), ("x-a", "b")])),
        ("keep-alive", true, plus(&[("keep-alive", "timeout=5")])),
        ("proxy-connection", true, plus(&[("proxy-connection", "keep-alive")])),
        ("upgrade", true, plus(&[("upgrade", "websocket")])),
        ("te", true, plus(&[("te", "gzip")])),
        ("http2-settings", false, plus(&[("http2-settings", "AAMAAABkAAQAAP__")])),
    ]));
}

/// A length that differs from the body must not survive: the rest would be the next request. Where the body's first
/// frame has the stated length, the request was whole when it was passed on; what follows is dropped with the stream.
#[test]
fn lengths_that_lie() {
    let hidden = b"GET /admin/x HTTP/1.1\r\nhost: a.test\r\n\r\n";
    let post = |length: &'static [&'static str]| {
        let mut fields = with(":method", "POST");
        fields.extend(length.iter().map(|l| ("content-length", *l)));
        fields
    };
    let body = |name, refuse, length, data: &[&[u8]]| {
        let mut frames = vec![Frame::headers(1, &post(length), data.is_empty())];
        frames.extend(data.iter().enumerate().map(|(i, d)| Frame::data(1, d, i + 1 == data.len())));
        Row { name, frames, refuse }
    };
    check(vec![
        body("right", false, &["3"], &[b"abc"]),
        body("right, then an empty frame", false, &["3"], &[b"abc", b""]),
        body("no body", true, &["3"], &[]),
        body("empty body", true, &["3"], &[b""]),
        body("too short", true, &["10"], &[b"abc"]),
        body("too short by the end", true, &["10"], &[b"abc", b""]),
        body("too long", true, &["3"], &[b"abcdef"]),
        body("too long in two frames", false, &["3"], &[b"abc", b"def"]),
        body("zero with a hidden request", false, &["0"], &[hidden]),
        body("short with a hidden request", false, &["3"], &[b"abc", hidden]),
        body("plus", true, &["+3"], &[b"abc"]),
        body("minus", true, &["-3"], &[b"abc"]),
        body("empty", true, &[""], &[b"abc"]),
        body("list", false, &["3, 3"], &[b"abc"]),
        body("unequal", true, &["3", "4"], &[b"abc"]),
        body("equal", false, &["3", "3"], &[b"abc"]),
        body("2^64 + 3", true, &["18446744073709551619"], &[b"abc"]),
    ]);
}

#[test]
fn trailer_sections() {
    let row = |name, refuse, trailers: &[(&str, &str)], end| {
        let frames = vec![
            Frame::headers(1, &with(":method", "POST"), false),
            Frame::data(1, b"abc", false),
            Frame::headers(1, trailers, end),
        ];
        Row { name, frames, refuse }
    };
    check(vec![
        row("plain", false, &[("x-a", "b")], true),
        // The parser drops pseudo fields of trailers; nothing of them can reach the upstream.
        row("pseudo field", false, &[(":path", "/admin")], true),
        row("without the end of the stream", true, &[("x-a", "b")], false),
        row("length", false, &[("content-length", "9")], true),
        row("coding", false, &[("transfer-encoding", "chunked")], true),
        row("host", false, &[("host", "b.test")], true),
        row("CRLF", true, &[("x-a", "b\r\nc: d")], true),
        row("upper-case name", true, &[("X-A", "b")], true),
    ]);
    let lab = Lab::new();
    let mut frames = connect(&lab);
    let mut fields = with(":method", "POST");
    fields.push(("content-length", "5"));
    frames.send_all(&[
        Frame::headers(1, &fields, false),
        Frame::data(1, b"abc", false),
        Frame::headers(1, &[("x-a", "b")], true),
    ]);
    assert!(refused(&frames.fate(1)), "trailers after a body that is too short");
    assert!(lab.collect().iter().all(|r| r.state == State::CutOff));
}

/// The upstream's failures reach an HTTP/2 client as errors, not as answers that end early.
#[test]
fn answers_that_break_off_reset_the_stream() {
    for (name, answer) in [
        ("length", Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").then(Step::Close)),
        (
            "chunks",
            Answer::reply("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
                .then(Step::Close),
        ),
        ("reset", Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").then(Step::Reset)),
    ] {
        let lab = Lab::scripted(move |call| match call.head.target.as_str() {
            "/case" => answer.clone(),
            target => {
                Answer::reply(format!("HTTP/1.1 200 OK\r\nx-target: {target}\r\ncontent-length: 0\r\n\r\n"))
            }
        });
        let mut frames = connect(&lab);
        frames.send(&Frame::headers(1, &BASE, true));
        let fate = frames.fate(1);
        assert!(matches!(fate, Fate::Reset(..) | Fate::Answered(502, _)), "{name}: {fate:?}");
        // The connection lives on.
        frames.send(&Frame::headers(3, &with(":path", "/other"), true));
        assert!(matches!(frames.fate(3), Fate::Answered(200, _)), "{name}");
    }
}

#[test]
fn fields_of_an_upstream_connection_do_not_reach_the_client() {
    let lab = Lab::scripted(|call| {
        Answer::reply(format!(
            "HTTP/1.1 200 OK\r\nx-target: {}\r\nconnection: x-up\r\nx-up: 1\r\nkeep-alive: timeout=5\r\ncontent-length: 2\r\n\r\nok",
            call.head.target
        ))
    });
    // The frame reader does not decode fields; a client that enforces RFC 9113 section 8.2.2 would refuse them.
    let mut frames = connect(&lab);
    frames.send(&Frame::headers(1, &BASE, true));
    let mut block = Vec::new();
    loop {
        let frame = frames.read().expect("an answer");
        if frame.kind == kind::HEADERS {
            block = frame.payload.clone();
        }
        if frame.stream == 1 && frame.flags & flag::END_STREAM != 0 {
            break;
        }
    }
    assert!(block.len() < 200 && !block.is_empty());
    for plain in ["x-up", "keep-alive"] {
        assert!(!block.windows(plain.len()).any(|w| w == plain.as_bytes()), "{plain}");
    }
    assert_eq!(literals(&[("a", "b")]), [0, 1, b'a', 1, b'b']);
}

#[test]
fn a_client_that_resets_a_stream_ends_the_request_upstream() {
    let lab = Lab::scripted(|call| match call.head.target.as_str() {
        "/case" => Answer::steps([Step::UntilClosed]),
        target => {
            Answer::reply(format!("HTTP/1.1 200 OK\r\nx-target: {target}\r\ncontent-length: 0\r\n\r\n"))
        }
    });
    let mut frames = connect(&lab);
    frames.send(&Frame::headers(1, &BASE, true));
    lab.upstream.wait("the request", |c| c.iter().any(|c| !c.requests.is_empty()));
    // 8: CANCEL
    frames.send(&Frame::reset(1, 8));
    lab.upstream.wait("its end", |c| c.iter().all(|c| c.finished));
    frames.send(&Frame::headers(3, &with(":path", "/other"), true));
    assert!(matches!(frames.fate(3), Fate::Answered(200, _)));
}

/// What the gateway itself answers to HEAD has no body on the wire, whatever the same answer to GET has.
#[test]
fn answers_to_head_have_no_body() {
    let lab = Lab::new();
    for (path, status) in [("/admin/x", 403), ("/case", 200)] {
        let mut fields = with(":method", "HEAD");
        fields.iter_mut().for_each(|field| {
            if field.0 == ":path" {
                field.1 = path;
            }
        });
        let mut frames = connect(&lab);
        frames.send(&Frame::headers(1, &fields, true));
        assert_eq!(frames.fate(1), Fate::Answered(status, Vec::new()), "{path}");
    }
}
