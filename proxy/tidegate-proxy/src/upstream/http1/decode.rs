//! Reads the head of an answer: its status line, and what its fields say of its body and its connection.

use bytes::BytesMut;
use http::header::HeaderMap;
use http::{StatusCode, Version, response};
use hyper::ext::ReasonPhrase;

use crate::http::h1::{Framing, Garbage, Lines, Said, has_end, read_fields};

/// Bytes of a head.
pub(super) const MAX_HEAD: usize = 128 * 1024;
/// The head of an answer, and what it says to its connection.
pub(crate) struct Head {
    pub(super) parts: response::Parts,
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
    /// No field is about one connection only, and there is one framing at most.
    pub(crate) clean: bool,
}

/// Takes a whole head from the front of `buffer`. `fields` is an empty map to use; `head_only`: the request was HEAD.
/// None: more bytes are needed. `known` are those that were looked at in vain before; `lines`: those of the last head.
pub(super) fn head(
    buffer: &mut BytesMut,
    known: &mut usize,
    lines: &mut Lines,
    fields: &mut HeaderMap,
    head_only: bool,
) -> Result<Option<Head>, Garbage> {
    let expected = b"HTTP/1.".iter().zip(buffer.iter());
    if expected.clone().any(|(expected, byte)| expected != byte) {
        return Err(Garbage::Version);
    }
    if *known > 0 && !has_end(buffer, *known)? {
        *known = buffer.len();
        return too_large(buffer).map(|()| None);
    }
    if !lines.find(buffer)? {
        *known = buffer.len();
        return too_large(buffer).map(|()| None);
    }
    *known = 0;
    let bytes = buffer.split_to(lines.end()).freeze();
    too_large(&bytes)?;
    let mut spans = lines.spans();
    let (start, end) = spans.next().ok_or(Garbage::Version)?;
    let (mut parts, ()) = http::Response::new(()).into_parts();
    status_line(&mut parts, bytes.get(start..end).unwrap_or_default())?;
    parts.headers = std::mem::take(fields);
    let said = read_fields(&bytes, spans, &mut parts.headers)?;
    let framing = framing(&said, &parts, head_only)?;
    let keep_alive = !said.close && (said.keep_alive || parts.version == Version::HTTP_11);
    let clean = !said.odd && !parts.status.is_informational() && parts.status != StatusCode::NO_CONTENT;
    Ok(Some(Head { parts, framing, keep_alive, clean }))
}

fn too_large(bytes: &[u8]) -> Result<(), Garbage> {
    if bytes.len() > MAX_HEAD { Err(Garbage::TooLarge) } else { Ok(()) }
}

/// `HTTP/1.x NNN reason`; the reason may be missing, and the blank before it.
fn status_line(parts: &mut response::Parts, line: &[u8]) -> Result<(), Garbage> {
    parts.version = match line.get(..9) {
        Some(b"HTTP/1.1 ") => Version::HTTP_11,
        Some(b"HTTP/1.0 ") => Version::HTTP_10,
        _ => return Err(Garbage::Version),
    };
    let digits = line.get(9..12).ok_or(Garbage::Status)?;
    parts.status = StatusCode::from_bytes(digits).map_err(|_| Garbage::Status)?;
    let reason = match line.get(12..) {
        None | Some([]) => return Ok(()),
        Some([b' ', reason @ ..]) => reason,
        Some(_) => return Err(Garbage::Status),
    };
    if !reason.is_empty() && Some(reason) != parts.status.canonical_reason().map(str::as_bytes) {
        let reason = ReasonPhrase::try_from(reason).map_err(|_| Garbage::Reason)?;
        parts.extensions.insert(reason);
    }
    Ok(())
}

/// How the body of an answer is framed.
fn framing(said: &Said, parts: &response::Parts, head_only: bool) -> Result<Framing, Garbage> {
    if said.chunked && said.length.is_some() {
        return Err(Garbage::TwoFramings);
    }
    if said.chunked && parts.version != Version::HTTP_11 {
        return Err(Garbage::Coding);
    }
    let status = parts.status;
    let bodiless = head_only
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED;
    Ok(match said.length {
        _ if bodiless => Framing::Length(0),
        _ if said.chunked => Framing::Chunked,
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    })
}
