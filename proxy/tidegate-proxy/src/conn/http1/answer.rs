//! Writes the head of an answer, with the framing that its client understands.

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING};
use http::{StatusCode, Version, response};
use hyper::ext::ReasonPhrase;

use crate::http::h1::{Framing, field, number};

/// What the client has asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) version: Version,
    /// Another request may follow.
    pub(super) keep_alive: bool,
    /// It wants the head only.
    pub(super) head_only: bool,
}

/// What was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The body's framing; none: no body follows.
    pub(super) framing: Option<Framing>,
    pub(super) keep_alive: bool,
}

/// Appends the head to `out`. `exact` are the body's bytes where it knows them, which counts more than what the head
/// says; `date` is for answers that have none (RFC 9110, 6.6.1).
pub(super) fn head(
    out: &mut Vec<u8>,
    head: &response::Parts,
    exact: Option<u64>,
    asked: Asked,
    date: &[u8],
) -> Written {
    out.reserve(256 + 48 * head.headers.len());
    status_line(out, head, asked.version);
    let switching = head.status == StatusCode::SWITCHING_PROTOCOLS;
    let (mut said, mut dated, mut keep_alive) = (None, false, asked.keep_alive);
    for (name, value) in &head.headers {
        match *name {
            CONTENT_LENGTH => {
                said = number(value.as_bytes());
                continue;
            }
            TRANSFER_ENCODING => continue,
            CONNECTION if !switching => {
                keep_alive &= !value.as_bytes().eq_ignore_ascii_case(b"close");
                continue;
            }
            DATE => dated = true,
            _ => {}
        }
        field(out, name.as_str(), value.as_bytes());
    }
    if !dated {
        field(out, "date", date);
    }
    let (framing, length) = framing(head.status, exact, said, asked);
    if let Some(length) = length {
        field(out, "content-length", itoa::Buffer::new().format(length).as_bytes());
    }
    match framing {
        Some(Framing::Chunked) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Some(Framing::Close) => keep_alive = false,
        _ => {}
    }
    match asked.version {
        _ if switching => {}
        Version::HTTP_10 if keep_alive => out.extend_from_slice(b"connection: keep-alive\r\n"),
        Version::HTTP_10 => {}
        _ if !keep_alive => out.extend_from_slice(b"connection: close\r\n"),
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
    Written { framing, keep_alive }
}

/// The heads of interim answers.
#[cold]
pub(super) fn interim(heads: &[response::Parts]) -> Vec<u8> {
    let mut out = Vec::new();
    for head in heads {
        status_line(&mut out, head, Version::HTTP_11);
        for (name, value) in &head.headers {
            field(&mut out, name.as_str(), value.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn status_line(out: &mut Vec<u8>, head: &response::Parts, version: Version) {
    if head.status == StatusCode::OK && version == Version::HTTP_11 && head.extensions.is_empty() {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(if version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    let unusual = head.extensions.get::<ReasonPhrase>().map(ReasonPhrase::as_bytes);
    let usual = || head.status.canonical_reason().unwrap_or_default().as_bytes();
    out.extend_from_slice(unusual.unwrap_or_else(usual));
    out.extend_from_slice(b"\r\n");
}

/// The framing of the body, and the length that the head tells.
fn framing(
    status: StatusCode,
    exact: Option<u64>,
    said: Option<u64>,
    asked: Asked,
) -> (Option<Framing>, Option<u64>) {
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        return (None, None);
    }
    // What a GET would have brought (RFC 9110, 8.6).
    if status == StatusCode::NOT_MODIFIED {
        return (None, said);
    }
    if asked.head_only {
        return (None, exact.filter(|&exact| exact > 0).or(said));
    }
    match exact.or(said) {
        Some(length) => (Some(Framing::Length(length)), Some(length)),
        None if asked.version == Version::HTTP_10 => (Some(Framing::Close), None),
        None => (Some(Framing::Chunked), None),
    }
}
