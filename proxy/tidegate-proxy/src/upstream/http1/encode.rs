//! Writes the head of a request and the frame of its body, straight from the parts: nothing is copied but the bytes.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, HeaderMap, TRANSFER_ENCODING};
use http::request::Parts;
use http_body::Body as _;

use crate::http::added::Added;
use crate::http::body::Body;

/// How a request's body is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// This many bytes follow.
    Length(u64),
    /// Chunks follow.
    Chunked,
}

/// Appends the head to `out`, with the fields in `added`. The framing field is the codec's own: what the body knows of
/// itself counts more than what the head says.
pub(super) fn head(out: &mut Vec<u8>, head: &Parts, added: Option<&Added>, body: &Body) -> Framing {
    out.reserve(512 + 48 * head.headers.len());
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.uri.path_and_query().map_or("/", |target| target.as_str()).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    let (mut said, mut host) = (None, &b""[..]);
    for (name, value) in &head.headers {
        if *name == CONTENT_LENGTH {
            said = Some(value);
            continue;
        }
        if *name == TRANSFER_ENCODING {
            continue;
        }
        if *name == HOST {
            host = value.as_bytes();
        }
        field(out, name.as_str(), value.as_bytes());
    }
    if let Some(added) = added {
        added.write(out, host);
    }
    let framing = match (body.size_hint().exact(), said) {
        (Some(length), _) => Framing::Length(length),
        (None, Some(said)) => number(said.as_bytes()).map_or(Framing::Chunked, Framing::Length),
        (None, None) => Framing::Chunked,
    };
    match framing {
        // Most requests have neither a body nor a length.
        Framing::Length(0) if said.is_none() => {}
        Framing::Length(length) => {
            field(out, "content-length", itoa::Buffer::new().format(length).as_bytes());
        }
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
    framing
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Appends what stands before a chunk of this many bytes; after it comes a CRLF. An empty chunk would end the body, so
/// there must be bytes.
pub(super) fn chunk_start(out: &mut Vec<u8>, data: &Bytes) {
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut rest = data.len();
    while rest > 0 && at > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[rest & 15];
        rest >>= 4;
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// Appends the end of a body in chunks.
pub(super) fn last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        field(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
