//! The codec on bytes: whatever way a request is cut, it is read the same; and what is written is framed.

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, Version};

use super::answer::{self, Asked, Written};
use super::head::{Reader, reason};
use crate::http::fail::Reason;
use crate::http::h1::pieces::{self, Damage, field, list};
use crate::http::h1::{Decoder, Framing, Garbage, Part};

const LIMIT: usize = 64 * 1024;
const FIELDS: usize = 100;

/// What a reader makes of a request.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    method: String,
    target: String,
    version: Version,
    fields: Vec<(String, Vec<u8>)>,
    framing: Framing,
    keep_alive: bool,
    expects: bool,
    body: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
    whole: bool,
    /// Bytes behind it.
    rest: usize,
}

/// Reads a request that comes in these pieces.
fn read(pieces: &[&[u8]]) -> Result<Option<Read>, Garbage> {
    let mut buffer = BytesMut::new();
    let mut reader = Reader::new(LIMIT, FIELDS);
    let mut found = None;
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if found.is_none() && !buffer.is_empty() {
            found = reader
                .head(&mut buffer)
                .map_err(|refused| refused.garbage)?
                .map(|head| (Decoder::new(head.framing), head));
        }
        let Some((decoder, _)) = &mut found else { continue };
        while let Some(part) = decoder.decode(&mut buffer)? {
            match part {
                Part::Data(data) => body.extend_from_slice(&data),
                Part::Trailers(fields) => trailers = list(&fields),
            }
        }
    }
    Ok(found.map(|(decoder, head)| Read {
        method: head.parts.method.to_string(),
        target: head.parts.uri.to_string(),
        version: head.parts.version,
        fields: list(&head.parts.headers),
        framing: head.framing,
        keep_alive: head.keep_alive,
        expects: head.expects,
        body,
        trailers,
        whole: decoder.is_over(),
        rest: buffer.len(),
    }))
}

/// A bad line may be seen before another one that has not come yet.
fn same(cut: &Result<Option<Read>, Garbage>, whole: &Result<Option<Read>, Garbage>) -> bool {
    cut == whole || (cut.is_err() && whole.is_err())
}

fn read_all_ways(bytes: &[u8]) -> Result<Option<Read>, Garbage> {
    pieces::read_all_ways(bytes, read, same)
}

#[test]
fn requests_are_read() {
    let text =
        "POST /a?b=c HTTP/1.1\r\nHost: a.test\r\nX-A:  b c\t \r\nempty:\r\ncontent-length: 3\r\n\r\nabcX";
    let read = read_all_ways(text.as_bytes()).expect("well formed").expect("a whole head");
    assert_eq!(
        read.fields,
        [field("host", "a.test"), field("x-a", "b c"), field("empty", ""), field("content-length", "3")]
    );
    assert_eq!(
        (read.method.as_str(), read.target.as_str(), read.version),
        ("POST", "/a?b=c", Version::HTTP_11)
    );
    assert_eq!((read.body.as_slice(), read.whole, read.rest), (&b"abc"[..], true, 1));
    for (text, framing, keep_alive, expects) in [
        ("GET / HTTP/1.1\r\n\r\n", Framing::Length(0), true, false),
        ("GET * HTTP/1.1\r\nconnection: x, Close\r\n\r\n", Framing::Length(0), false, false),
        ("GET / HTTP/1.0\r\n\r\n", Framing::Length(0), false, false),
        ("GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n", Framing::Length(0), true, false),
        ("GET / HTTP/1.1\r\nconnection: keep-alive, close\r\n\r\n", Framing::Length(0), false, false),
        (
            "PUT / HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nab",
            Framing::Length(2),
            true,
            false,
        ),
        (
            "PUT / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
            Framing::Length(2),
            true,
            true,
        ),
        (
            "PUT / HTTP/1.0\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
            Framing::Length(2),
            false,
            false,
        ),
        (
            "PUT / HTTP/1.1\r\nTransfer-Encoding: CHUNKED\r\n\r\n1;x\r\na\r\n0\r\n\r\n",
            Framing::Chunked,
            true,
            false,
        ),
    ] {
        let read = read_all_ways(text.as_bytes()).expect("well formed").expect("a whole head");
        assert_eq!((read.framing, read.keep_alive, read.expects), (framing, keep_alive, expects), "{text:?}");
    }
    let text = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\n\r\n";
    let read = read_all_ways(text.as_bytes()).expect("well formed").expect("a whole head");
    assert_eq!((read.trailers, read.whole), (vec![field("x-sum", "7")], true));
}

#[test]
fn bad_heads_are_refused() {
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(101));
    let heads: &[(&str, Garbage, Reason)] = &[
        ("GET /\r\n", Garbage::RequestLine, Reason::Malformed),
        ("GET  / HTTP/1.1\r\n\r\n", Garbage::RequestLine, Reason::Malformed),
        ("GET /  HTTP/1.1\r\n\r\n", Garbage::Version, Reason::Malformed),
        (" GET / HTTP/1.1\r\n\r\n", Garbage::Method, Reason::Malformed),
        ("G\0T / HTTP/1.1\r\n\r\n", Garbage::Method, Reason::Malformed),
        ("GET / HTTP/1.2\r\n\r\n", Garbage::Version, Reason::Malformed),
        ("GET / HTTP/2.0\r\n\r\n", Garbage::Version, Reason::Malformed),
        ("GET / HTTP/1.1 \r\n\r\n", Garbage::Version, Reason::Malformed),
        ("GET / http/1.1\r\n\r\n", Garbage::Version, Reason::Malformed),
        ("GET /#a HTTP/1.1\r\n\r\n", Garbage::Target, Reason::Path),
        ("GET /\0 HTTP/1.1\r\n\r\n", Garbage::Target, Reason::Path),
        ("GET / HTTP/1.1\n\n", Garbage::Line, Reason::Malformed),
        ("GET / HTTP/1.1\r\na: b\n\r\n", Garbage::Line, Reason::Malformed),
        ("GET / HTTP/1.1\r\nabc\r\n\r\n", Garbage::Field, Reason::Malformed),
        ("GET / HTTP/1.1\r\n: b\r\n\r\n", Garbage::Field, Reason::Malformed),
        ("GET / HTTP/1.1\r\na : b\r\n\r\n", Garbage::Field, Reason::Malformed),
        ("GET / HTTP/1.1\r\n a: b\r\n\r\n", Garbage::Field, Reason::Malformed),
        ("GET / HTTP/1.1\r\na: b\r\n c\r\n\r\n", Garbage::Field, Reason::Malformed),
        ("GET / HTTP/1.1\r\na: b\rc\r\n\r\n", Garbage::Field, Reason::Malformed),
        ("GET / HTTP/1.1\r\na: b\0\r\n\r\n", Garbage::Field, Reason::Malformed),
        (&many, Garbage::Fields, Reason::HeadTooLarge),
        (
            "GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            Garbage::Length,
            Reason::Framing,
        ),
        ("GET / HTTP/1.1\r\ncontent-length: 1, 1\r\n\r\n", Garbage::Length, Reason::Framing),
        ("GET / HTTP/1.1\r\ncontent-length: +1\r\n\r\n", Garbage::Length, Reason::Framing),
        ("GET / HTTP/1.1\r\ncontent-length:\r\n\r\n", Garbage::Length, Reason::Framing),
        ("GET / HTTP/1.1\r\ncontent-length: 18446744073709551617\r\n\r\n", Garbage::Length, Reason::Framing),
        ("GET / HTTP/1.1\r\ntransfer-encoding: x\r\n\r\n", Garbage::Coding, Reason::Framing),
        ("GET / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n", Garbage::Coding, Reason::Framing),
        ("GET / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", Garbage::Coding, Reason::Framing),
        (
            "GET / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            Garbage::TwoFramings,
            Reason::Framing,
        ),
    ];
    for (text, garbage, why) in heads {
        assert_eq!(read_all_ways(text.as_bytes()), Err(*garbage), "{text:?}");
        assert_eq!(reason(*garbage), *why, "{text:?}");
    }
}

/// What was understood of a bad head is logged.
#[test]
fn a_refused_head_keeps_its_request_line() {
    for (text, method, target) in [
        ("PUT /a HTTP/1.1\r\nx\r\n\r\n", "PUT", "/a"),
        ("PUT /a HTTP/1.1\r\na: b\n", "PUT", "/a"),
        ("PUT /a HTTP/9\r\na: b\r\n\r\n", "-", "*"),
        ("\x16\x03\x01", "-", "*"),
    ] {
        let refused = Reader::new(LIMIT, FIELDS).head(&mut BytesMut::from(text)).err();
        let parts = refused.expect("a bad head").parts;
        assert_eq!((parts.method.as_str(), parts.uri.to_string().as_str()), (method, target), "{text:?}");
    }
}

#[test]
fn heads_are_bounded() {
    for (start, garbage) in [
        ("GET /", Garbage::TargetTooLong),
        ("GET / HTTP/1.1\r\na: ", Garbage::TooLarge),
        ("GET / HTTP/1.1\r\n", Garbage::TooLarge),
    ] {
        let mut buffer = BytesMut::from(start);
        let mut reader = Reader::new(8192, FIELDS);
        let outcome = loop {
            buffer.extend_from_slice(&[b'b'; 1000]);
            match reader.head(&mut buffer) {
                Ok(None) => assert!(buffer.len() <= 8192),
                outcome => break outcome.map(|_| ()).map_err(|refused| refused.garbage),
            }
        };
        assert_eq!(outcome, Err(garbage), "{start:?}");
        let whole = format!("{start}{}\r\n\r\n", "b".repeat(9000));
        assert!(Reader::new(8192, FIELDS).head(&mut BytesMut::from(whole.as_str())).is_err());
    }
}

/// One reader for all heads of a connection, whose limit counts for each of them.
#[test]
fn as_many_fields_as_the_listener_says() {
    let request = |fields: usize| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(fields));
    let mut reader = Reader::new(LIMIT, 500);
    for fields in [500, 0, 101, 500] {
        let head = reader.head(&mut BytesMut::from(request(fields).as_str()));
        let head = head.expect("well formed").expect("a whole head");
        assert_eq!(head.parts.headers.len(), fields);
    }
    let refused = reader.head(&mut BytesMut::from(request(501).as_str())).err();
    assert_eq!(refused.map(|refused| refused.garbage), Some(Garbage::Fields));
}

#[test]
fn one_empty_line_before_each_head() {
    let mut reader = Reader::new(LIMIT, FIELDS);
    let mut buffer = BytesMut::from("\r\nGET /1 HTTP/1.1\r\n\r\n\r\nGET /2 HTTP/1.1\r\n\r\n\r\n");
    for target in ["/1", "/2"] {
        let head = reader.head(&mut buffer).expect("well formed").expect("a whole head");
        assert_eq!(head.parts.uri, target);
    }
    assert!(matches!(reader.head(&mut buffer), Ok(None)), "it may be the one before a third");
    assert_eq!(
        reader.head(&mut BytesMut::from("\r\n")).err().map(|refused| refused.garbage),
        Some(Garbage::RequestLine)
    );
}

/// Random changes of a request: read the same whatever way they are cut, never a panic, and what is taken for a request
/// is one for `httparse` too, with the same parts.
#[test]
fn damaged_requests_have_one_reading() {
    let good = b"POST /a?b HTTP/1.1\r\nhost: a\r\nc: d\r\ntransfer-encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nt: u\r\n\r\n";
    let mut damage = Damage::new();
    let mut taken = 0;
    for _ in 0..20_000 {
        let bytes = damage.of(good);
        let whole = read(&[&bytes]);
        let (before, behind) = bytes.split_at(damage.below(bytes.len()));
        let cut = read(&[before, behind]);
        let text = Bytes::from(bytes.clone());
        assert!(same(&cut, &whole), "{text:?}");
        let Ok(Some(whole)) = whole else { continue };
        taken += 1;
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut other = httparse::Request::new(&mut fields);
        assert!(other.parse(&bytes).is_ok_and(|status| status.is_complete()), "{text:?}");
        assert_eq!(other.method, Some(whole.method.as_str()), "{text:?}");
        assert_eq!(other.path, Some(whole.target.as_str()), "{text:?}");
        let theirs: Vec<_> =
            other.headers.iter().map(|f| (f.name.to_ascii_lowercase(), f.value.to_vec())).collect();
        let mut ours = whole.fields;
        ours.sort();
        let mut sorted = theirs;
        sorted.sort();
        assert_eq!(ours, sorted, "{text:?}");
    }
    assert!(taken > 1_000, "{taken} were requests");
}

#[test]
fn answers_are_framed_for_their_client() {
    let kept = Asked { version: Version::HTTP_11, keep_alive: true, head_only: false };
    let last = Asked { keep_alive: false, ..kept };
    let old = Asked { version: Version::HTTP_10, ..kept };
    let only = Asked { head_only: true, ..kept };
    let length = |length| Some(Framing::Length(length));
    for (status, said, exact, asked, fields, framing, keep_alive) in [
        (200, None, Some(3), kept, "content-length: 3\r\n", length(3), true),
        (200, Some("7"), Some(3), kept, "content-length: 3\r\n", length(3), true),
        (200, Some("7"), None, kept, "content-length: 7\r\n", length(7), true),
        (200, None, Some(0), kept, "content-length: 0\r\n", length(0), true),
        (200, None, None, kept, "transfer-encoding: chunked\r\n", Some(Framing::Chunked), true),
        (
            200,
            None,
            None,
            last,
            "transfer-encoding: chunked\r\nconnection: close\r\n",
            Some(Framing::Chunked),
            false,
        ),
        (200, None, None, old, "", Some(Framing::Close), false),
        (200, None, Some(3), old, "content-length: 3\r\nconnection: keep-alive\r\n", length(3), true),
        (200, Some("7"), Some(0), only, "content-length: 7\r\n", None, true),
        (200, None, Some(3), only, "content-length: 3\r\n", None, true),
        (200, None, Some(0), only, "", None, true),
        (204, Some("7"), Some(0), kept, "", None, true),
        (304, Some("7"), Some(0), kept, "content-length: 7\r\n", None, true),
        (304, None, Some(0), kept, "", None, true),
        (101, None, Some(0), kept, "", None, true),
    ] {
        let (mut parts, ()) = Response::new(()).into_parts();
        parts.status = StatusCode::from_u16(status).expect("a status");
        parts.headers.insert("date", HeaderValue::from_static("x"));
        if let Some(said) = said {
            parts.headers.insert("content-length", HeaderValue::from_static(said));
        }
        parts.headers.insert("transfer-encoding", HeaderValue::from_static("chunked"));
        let mut out = Vec::new();
        let written = answer::head(&mut out, &parts, exact, asked, b"now");
        let minor = if asked.version == Version::HTTP_10 { 0 } else { 1 };
        let reason = parts.status.canonical_reason().unwrap_or_default();
        let expected = format!("HTTP/1.{minor} {status} {reason}\r\ndate: x\r\n{fields}\r\n");
        assert_eq!(String::from_utf8_lossy(&out), expected, "{status} {said:?} {exact:?} {asked:?}");
        assert_eq!(written, Written { framing, keep_alive }, "{status} {said:?} {exact:?} {asked:?}");
    }
}

#[test]
fn what_an_answer_says_of_the_connection_is_heard() {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.headers.insert("connection", HeaderValue::from_static("close"));
    let asked = Asked { version: Version::HTTP_11, keep_alive: true, head_only: false };
    let mut out = Vec::new();
    let written = answer::head(&mut out, &parts, Some(0), asked, b"now");
    let expected = "HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    assert_eq!((String::from_utf8_lossy(&out).as_ref(), written.keep_alive), (expected, false));
    parts.status = StatusCode::SWITCHING_PROTOCOLS;
    parts.headers.insert("connection", HeaderValue::from_static("upgrade"));
    parts.headers.insert("upgrade", HeaderValue::from_static("websocket"));
    out.clear();
    answer::head(&mut out, &parts, Some(0), asked, b"now");
    let expected =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\ndate: now\r\n\r\n";
    assert_eq!(String::from_utf8_lossy(&out), expected);
}
