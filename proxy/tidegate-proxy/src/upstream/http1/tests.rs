//! The codec on bytes: whatever way they are cut, they are read the same.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};

use super::decode::{Head, MAX_HEAD, head};
use super::encode;
use crate::http::body::Body;
use crate::http::h1::pieces::{self, Damage, field, list};
use crate::http::h1::{Decoder, Framing, Garbage, Lines, MAX_FIELDS, Part, chunk_start, last_chunk};

/// What a reader makes of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    status: u16,
    fields: Vec<(String, Vec<u8>)>,
    keep_alive: bool,
    body: Vec<u8>,
    trailers: Vec<(String, Vec<u8>)>,
    /// The body has ended, without the end of the connection.
    whole: bool,
    /// Bytes behind it.
    rest: usize,
}

/// Reads an answer that comes in these pieces.
fn read(pieces: &[&[u8]], head_only: bool) -> Result<Option<Read>, Garbage> {
    let mut buffer = BytesMut::new();
    let (mut known, mut lines, mut fields) = (0, Lines::new(MAX_FIELDS), HeaderMap::new());
    let mut found: Option<(Head, Decoder)> = None;
    let (mut body, mut trailers) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while found.is_none() && !buffer.is_empty() {
            let Some(next) = head(&mut buffer, &mut known, &mut lines, &mut fields, head_only)? else {
                break;
            };
            if !next.parts.status.is_informational() {
                let decoder = Decoder::new(next.framing);
                found = Some((next, decoder));
            }
        }
        let Some((_, decoder)) = &mut found else { continue };
        while let Some(part) = decoder.decode(&mut buffer)? {
            match part {
                Part::Data(data) => {
                    assert!(!data.is_empty());
                    body.extend_from_slice(&data);
                }
                Part::Trailers(fields) => trailers = list(&fields),
            }
        }
    }
    Ok(found.map(|(head, decoder)| Read {
        status: head.parts.status.as_u16(),
        fields: list(&head.parts.headers),
        keep_alive: head.keep_alive,
        body,
        trailers,
        whole: decoder.is_over(),
        rest: buffer.len(),
    }))
}

/// Reads it whole, cut in two at each place, and byte by byte: always the same.
fn read_all_ways(bytes: &[u8], head_only: bool) -> Result<Option<Read>, Garbage> {
    pieces::read_all_ways(bytes, |pieces| read(pieces, head_only), |cut, whole| cut == whole)
}

fn answer(text: &str) -> Read {
    read_all_ways(text.as_bytes(), false).expect("well formed").expect("a whole head")
}

#[test]
fn answers_are_read() {
    let read = answer("HTTP/1.1 200 OK\r\nX-A:  b c\t \r\nContent-Length: 3\r\nempty:\r\n\r\nabc");
    assert_eq!(read.fields, [field("x-a", "b c"), field("content-length", "3"), field("empty", "")]);
    assert_eq!((read.status, read.body.as_slice(), read.whole, read.rest), (200, &b"abc"[..], true, 0));
    assert!(read.keep_alive);
    for (text, body, whole, rest, keep_alive) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabX", "ab", true, 1, true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", "ab", false, 0, true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nab", "ab", true, 0, true),
        ("HTTP/1.1 200\r\ncontent-length: 0\r\nconnection: x, Close\r\n\r\n", "", true, 0, false),
        ("HTTP/1.1 200 \r\n\r\nab", "ab", false, 0, true),
        ("HTTP/1.0 200 OK\r\n\r\nab", "ab", false, 0, false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 1\r\nconnection: keep-alive\r\n\r\na", "a", true, 0, true),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", "", true, 0, true),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\nHTTP", "", true, 4, true),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na",
            "a",
            true,
            0,
            true,
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "abc", true, 0, true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n00A \t;x=\"y\"\r\n0123456789\r\n000;z\r\n\r\nX",
            "abc0123456789",
            true,
            1,
            true,
        ),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", "abc", false, 0, true),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n",
            "abc",
            false,
            6,
            true,
        ),
    ] {
        let read = answer(text);
        assert_eq!(
            (String::from_utf8_lossy(&read.body).as_ref(), read.whole, read.rest, read.keep_alive),
            (body, whole, rest, keep_alive),
            "{text:?}"
        );
    }
    let read =
        answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\nb:c\r\n\r\n");
    assert_eq!((read.trailers, read.whole), (vec![field("x-sum", "7"), field("b", "c")], true));
    let read = read_all_ways(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", true);
    assert!(read.is_ok_and(|read| read.is_some_and(|read| read.whole)));
}

#[test]
fn an_unusual_reason_is_kept() {
    let (mut known, mut lines, mut fields) = (0, Lines::new(MAX_FIELDS), HeaderMap::new());
    let mut reason = |bytes: &[u8]| {
        let mut buffer = BytesMut::from(bytes);
        let head = head(&mut buffer, &mut known, &mut lines, &mut fields, false).expect("well formed");
        let parts = head.expect("a whole head").parts;
        assert_eq!((parts.status, parts.version), (StatusCode::OK, Version::HTTP_11));
        parts.extensions.get::<hyper::ext::ReasonPhrase>().map(|reason| reason.as_bytes().to_vec())
    };
    assert_eq!(reason(b"HTTP/1.1 200 Fine \xe9\r\n\r\n"), Some(b"Fine \xe9".to_vec()));
    assert_eq!(reason(b"HTTP/1.1 200 OK\r\n\r\n"), None);
}

#[test]
fn garbage_is_refused() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101));
    let heads: &[(&str, Garbage)] = &[
        ("garbage\r\n\r\n", Garbage::Version),
        ("\r\nHTTP/1.1 200 OK\r\n\r\n", Garbage::Version),
        ("HTTP/2.0 200 OK\r\n\r\n", Garbage::Version),
        ("HTTP/1.2 200 OK\r\n\r\n", Garbage::Version),
        ("HTTP/1.1  200 OK\r\n\r\n", Garbage::Status),
        ("HTTP/1.1 20 OK\r\n\r\n", Garbage::Status),
        ("HTTP/1.1 2000 OK\r\n\r\n", Garbage::Status),
        ("HTTP/1.1 000 OK\r\n\r\n", Garbage::Status),
        ("HTTP/1.1 +20 OK\r\n\r\n", Garbage::Status),
        ("HTTP/1.1\r\n\r\n", Garbage::Version),
        ("HTTP/1.1 200 O\0K\r\n\r\n", Garbage::Reason),
        ("HTTP/1.1 200 O\rK\r\n\r\n", Garbage::Reason),
        ("HTTP/1.1 200 OK\n\n", Garbage::Line),
        ("HTTP/1.1 200 OK\r\na: b\nc: d\r\n\r\n", Garbage::Line),
        ("HTTP/1.1 200 OK\r\na: b\r\n\n", Garbage::Line),
        ("HTTP/1.1 200 OK\r\nabc\r\n\r\n", Garbage::Field),
        ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", Garbage::Field),
        ("HTTP/1.1 200 OK\r\na : b\r\n\r\n", Garbage::Field),
        ("HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", Garbage::Field),
        ("HTTP/1.1 200 OK\r\na: b\r\n c: d\r\n\r\n", Garbage::Field),
        ("HTTP/1.1 200 OK\r\na\0: b\r\n\r\n", Garbage::Field),
        ("HTTP/1.1 200 OK\r\na: b\0\r\n\r\n", Garbage::Field),
        ("HTTP/1.1 200 OK\r\na: b\rc: d\r\n\r\n", Garbage::Field),
        ("HTTP/1.1 200 OK\r\na: b\x7f\r\n\r\n", Garbage::Field),
        ("HTTP/1.1 200 OK\r\na: b\r\r\n\r\n", Garbage::Field),
        (&many, Garbage::Fields),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", Garbage::Length),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\n", Garbage::Length),
        ("HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\n", Garbage::Length),
        ("HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n", Garbage::Length),
        ("HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551618\r\n\r\n", Garbage::Length),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", Garbage::Coding),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            Garbage::Coding,
        ),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Garbage::Coding),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", Garbage::TwoFramings),
        ("HTTP/1.1 204 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n", Garbage::TwoFramings),
    ];
    for (text, garbage) in heads {
        assert_eq!(read_all_ways(text.as_bytes(), false), Err(*garbage), "{text:?}");
    }
}

#[test]
fn bad_chunks_are_refused() {
    let long = format!("3;{}\r\nabc\r\n", "x".repeat(17_000));
    let many = format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "b".repeat(1_000)).repeat(20));
    let flood = format!("0\r\n{}\r\n", "a: b\r\n".repeat(120));
    let fat = format!("0\r\na: {}", "b".repeat(17_000));
    for (chunks, garbage) in [
        ("\r\n", Garbage::Chunk),
        (" 3\r\n", Garbage::Chunk),
        ("+3\r\n", Garbage::Chunk),
        ("0x3\r\n", Garbage::Chunk),
        ("z\r\n", Garbage::Chunk),
        (";x\r\n", Garbage::Chunk),
        ("0_3\r\n", Garbage::Chunk),
        ("3 3\r\n", Garbage::Chunk),
        ("3\n", Garbage::Chunk),
        ("3\rabc", Garbage::Chunk),
        ("3\r\r\n", Garbage::Chunk),
        ("3;a\nabc", Garbage::Chunk),
        ("3;a\rb\r\n", Garbage::Chunk),
        ("3;\0\r\n", Garbage::Chunk),
        ("10000000000000003\r\n", Garbage::Chunk),
        ("ffffffffffffffff\r\n", Garbage::Chunk),
        ("3\r\nabcX", Garbage::Chunk),
        ("3\r\nabc\n", Garbage::Chunk),
        ("3\r\nabc\rX", Garbage::Chunk),
        ("2\r\nabc\r\n", Garbage::Chunk),
        ("3\r\nabc\r\nzzz\r\n", Garbage::Chunk),
        ("0\r\nabc\r\n\r\n", Garbage::Field),
        ("0\r\na : b\r\n\r\n", Garbage::Field),
        ("0\r\na: b\r\n c\r\n\r\n", Garbage::Field),
        ("0\r\na: b\n\r\n", Garbage::Line),
        ("0\r\n\n", Garbage::Line),
        (&long, Garbage::Trailers),
        (&many, Garbage::Trailers),
        (&flood, Garbage::Fields),
        (&fat, Garbage::Trailers),
    ] {
        let text = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}");
        let read = if chunks.len() < 1_000 {
            read_all_ways(text.as_bytes(), false)
        } else {
            read(&[text.as_bytes()], false)
        };
        assert_eq!(read, Err(garbage), "{:.60}", chunks);
    }
}

#[test]
fn heads_are_bounded() {
    let mut buffer = BytesMut::from(&b"HTTP/1.1 200 OK\r\na: "[..]);
    let (mut known, mut lines, mut fields) = (0, Lines::new(MAX_FIELDS), HeaderMap::new());
    let outcome = loop {
        buffer.extend_from_slice(&[b'b'; 4096]);
        match head(&mut buffer, &mut known, &mut lines, &mut fields, false) {
            Ok(None) => assert!(buffer.len() <= MAX_HEAD),
            outcome => break outcome.map(|_| ()),
        }
    };
    assert_eq!(outcome, Err(Garbage::TooLarge));
}

#[test]
fn only_a_body_to_the_end_may_end_with_the_connection() {
    for (framing, bytes, ends) in [
        (Framing::Close, "abc", true),
        (Framing::Close, "", true),
        (Framing::Length(3), "abc", true),
        (Framing::Length(4), "abc", false),
        (Framing::Length(0), "", true),
        (Framing::Chunked, "", false),
        (Framing::Chunked, "3\r\nabc\r\n", false),
        (Framing::Chunked, "0\r\n", false),
        (Framing::Chunked, "0\r\n\r\n", true),
    ] {
        let mut decoder = Decoder::new(framing);
        let mut buffer = BytesMut::from(bytes);
        while decoder.decode(&mut buffer).expect("well formed").is_some() {}
        assert_eq!(decoder.close(), ends, "{framing:?} {bytes:?}");
    }
}

/// Random bytes and random changes of an answer: read the same whatever way they are cut, and never a panic.
#[test]
fn damaged_answers_have_one_reading() {
    let good =
        b"HTTP/1.1 200 OK\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nt: u\r\n\r\n";
    let mut damage = Damage::new();
    for _ in 0..2_000 {
        let bytes = damage.of(good);
        let whole = read(&[&bytes], false);
        let cut = damage.below(bytes.len());
        let (before, behind) = bytes.split_at(cut);
        assert_eq!(read(&[before, behind], false), whole, "{:?}", Bytes::from(bytes.clone()));
    }
}

fn written(request: Request<()>, body: &Body) -> (String, Framing) {
    let mut out = Vec::new();
    let framing = encode::head(&mut out, &request.into_parts().0, None, body);
    (String::from_utf8(out).expect("ASCII"), framing)
}

struct Unknown;

impl http_body::Body for Unknown {
    type Data = Bytes;
    type Error = crate::http::body::BodyError;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        std::task::Poll::Ready(None)
    }
}

#[test]
fn requests_are_written_with_one_framing() {
    let request = |length: Option<&'static str>| {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = "/a?b=c".parse().expect("a target");
        request.headers_mut().insert("host", HeaderValue::from_static("h"));
        if let Some(length) = length {
            request.headers_mut().insert("content-length", HeaderValue::from_static(length));
        }
        request
    };
    let start = "POST /a?b=c HTTP/1.1\r\nhost: h\r\n";
    for (length, body, field, framing) in [
        (None, Body::Empty, "", Framing::Length(0)),
        (Some("0"), Body::Empty, "content-length: 0\r\n", Framing::Length(0)),
        (Some("7"), Body::Empty, "content-length: 0\r\n", Framing::Length(0)),
        (None, Body::full("abc"), "content-length: 3\r\n", Framing::Length(3)),
        (Some("7"), Body::full("abc"), "content-length: 3\r\n", Framing::Length(3)),
        (Some("7"), Body::stream(Unknown), "content-length: 7\r\n", Framing::Length(7)),
        (None, Body::stream(Unknown), "transfer-encoding: chunked\r\n", Framing::Chunked),
    ] {
        let expected = (format!("{start}{field}\r\n"), framing);
        assert_eq!(written(request(length), &body), expected, "{length:?}, {body:?}");
    }
}

#[test]
fn chunks_are_written() {
    for (size, start) in [(1, "1\r\n"), (16, "10\r\n"), (0xabc, "abc\r\n"), (65_536, "10000\r\n")] {
        let mut out = Vec::new();
        chunk_start(&mut out, &Bytes::from(vec![b'x'; size]));
        assert_eq!(out, start.as_bytes());
    }
    let mut out = Vec::new();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", HeaderValue::from_static("7"));
    last_chunk(&mut out, Some(&trailers));
    assert_eq!(out, b"0\r\nx-sum: 7\r\n\r\n");
}
