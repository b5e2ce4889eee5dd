//! Reads the head of a request (RFC 9112, 3 and 6.3): what is left open here, nobody below could decide any more.

use std::rc::Rc;

use bytes::{Buf, BytesMut};
use http::HeaderMap;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};

use crate::http::fail::{Fail, Reason};
use crate::http::h1::{Framing, Garbage, Lines, Said, has_end, read_fields};

/// Bytes of a target that `Uri` takes.
const MAX_TARGET: usize = 65_534;

/// The head of a request, and what it says to its connection.
pub(super) struct Head {
    pub(super) parts: Rc<Parts>,
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
    /// The client waits for `100 Continue` before it sends its body.
    pub(super) expects: bool,
}

/// A head that cannot be served.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) garbage: Garbage,
    /// What was understood of it.
    pub(super) parts: Rc<Parts>,
}

impl Refused {
    fn nothing_of(garbage: Garbage) -> Self {
        let (mut parts, ()) = Request::new(()).into_parts();
        // As the log shows what was not understood.
        parts.method = Method::from_bytes(b"-").unwrap_or_default();
        parts.uri = Uri::from_static("*");
        Self { garbage, parts: Rc::new(parts) }
    }

    /// Why the request fails.
    pub(super) fn fail(&self) -> Fail {
        Fail::client(reason(self.garbage)).because(self.garbage)
    }
}

/// What a client's garbage means.
pub(super) fn reason(garbage: Garbage) -> Reason {
    match garbage {
        Garbage::Fields | Garbage::TooLarge => Reason::HeadTooLarge,
        Garbage::TargetTooLong => Reason::TargetTooLong,
        Garbage::Target => Reason::Path,
        Garbage::Late => Reason::HeadTimeout,
        Garbage::Length | Garbage::Coding | Garbage::TwoFramings | Garbage::Chunk | Garbage::Trailers => {
            Reason::Framing
        }
        Garbage::Version
        | Garbage::RequestLine
        | Garbage::Method
        | Garbage::Status
        | Garbage::Reason
        | Garbage::Line
        | Garbage::Field
        | Garbage::Interim => Reason::Malformed,
    }
}

/// Reads the heads of one connection, one after the other.
pub(super) struct Reader {
    /// Bytes that a head may have.
    limit: usize,
    lines: Lines,
    /// Bytes at the front of the buffer that were looked at in vain.
    known: usize,
    /// The one empty line that may come before a request was passed over (RFC 9112, 2.2).
    skipped: bool,
    /// An empty map with room, for the next head.
    pub(super) fields: HeaderMap,
}

impl Reader {
    /// For heads of at most so many bytes and fields.
    pub(super) fn new(bytes: usize, fields: usize) -> Self {
        Self { limit: bytes, lines: Lines::new(fields), known: 0, skipped: false, fields: HeaderMap::new() }
    }

    /// Takes a whole head from the front of `buffer`. None: more bytes are needed.
    pub(super) fn head(&mut self, buffer: &mut BytesMut) -> Result<Option<Head>, Refused> {
        if !self.skipped {
            if buffer.starts_with(b"\r\n") {
                buffer.advance(2);
                self.skipped = true;
            }
            if matches!(buffer.as_ref(), b"" | b"\r") {
                return Ok(None);
            }
        }
        if !self.find(buffer).map_err(|garbage| refused(buffer, garbage))? {
            let before = std::mem::replace(&mut self.known, buffer.len());
            return unfinished(buffer, before, self.limit)
                .map(|()| None)
                .map_err(|garbage| refused(buffer, garbage));
        }
        (self.known, self.skipped) = (0, false);
        let (lines, limit) = (&self.lines, self.limit);
        let mut spans = lines.spans();
        let (start, end) = spans.next().unwrap_or_default();
        if lines.end() > limit {
            return Err(refused(buffer, too_large(end, limit)));
        }
        let bytes = buffer.split_to(lines.end()).freeze();
        let line = Line::of(bytes.get(start..end).unwrap_or_default()).map_err(Refused::nothing_of)?;
        let (mut parts, ()) = Request::new(()).into_parts();
        (parts.method, parts.version) = (line.method, line.version);
        match Uri::from_maybe_shared(bytes.slice(line.target.clone())) {
            Ok(uri) if parts.method == Method::OPTIONS => parts.uri = of_options(uri, line.target.len()),
            Ok(uri) => parts.uri = uri,
            Err(_) => return Err(Refused::nothing_of(Garbage::Target)),
        }
        parts.headers = std::mem::take(&mut self.fields);
        let said = read_fields(&bytes, spans, &mut parts.headers)
            .and_then(|said| framing(&said, parts.version).map(|framing| (said, framing)));
        match said {
            Ok((said, framing)) => {
                let keep_alive = !said.close && (said.keep_alive || parts.version == Version::HTTP_11);
                let expects = said.expects && parts.version == Version::HTTP_11;
                Ok(Some(Head { parts: Rc::new(parts), framing, keep_alive, expects }))
            }
            Err(garbage) => Err(Refused { garbage, parts: Rc::new(parts) }),
        }
    }

    /// Whether all lines have come.
    fn find(&mut self, bytes: &[u8]) -> Result<bool, Garbage> {
        if self.known > 0 && !has_end(bytes, self.known)? { Ok(false) } else { self.lines.find(bytes) }
    }
}

/// What can be said of a head that is not complete: there is no sense in waiting for the rest of a bad one.
fn unfinished(bytes: &[u8], known: usize, limit: usize) -> Result<(), Garbage> {
    let line = memchr::memchr(b'\n', bytes);
    if bytes.len() > limit {
        return Err(too_large(line.unwrap_or(bytes.len()), limit));
    }
    match line {
        Some(end) if end >= known => {
            Line::of(bytes.get(..end.saturating_sub(1)).unwrap_or_default()).map(|_| ())
        }
        None if !bytes.first().is_some_and(|first| is_token(*first)) => Err(Garbage::Method),
        _ => Ok(()),
    }
}

/// What is too long of a head whose first line is of `line` bytes.
fn too_large(line: usize, limit: usize) -> Garbage {
    if line > limit { Garbage::TargetTooLong } else { Garbage::TooLarge }
}

/// The target of `OPTIONS`: one of a scheme and an authority alone is about the whole server, as `*` is (RFC 9112, 3.2.4),
/// which shows only by how long it is: what was read has a path in any case.
fn of_options(uri: Uri, bytes: usize) -> Uri {
    let length = uri
        .authority()
        .zip(uri.scheme_str())
        .map(|(authority, scheme)| scheme.len() + "://".len() + authority.as_str().len());
    if length != Some(bytes) {
        return uri;
    }
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static("*"));
    Uri::from_parts(parts).unwrap_or_default()
}

/// With the method and the target, where they can be read.
pub(super) fn refused(bytes: &[u8], garbage: Garbage) -> Refused {
    let mut refused = Refused::nothing_of(garbage);
    let end = memchr::memchr2(b'\r', b'\n', bytes).unwrap_or_default();
    if let Some(line) = bytes.get(..end)
        && let Ok(Line { method, target, version }) = Line::of(line)
        && let Some(Ok(uri)) = line.get(target).map(Uri::try_from)
    {
        let parts = Rc::make_mut(&mut refused.parts);
        (parts.method, parts.uri, parts.version) = (method, uri, version);
    }
    refused
}

/// A request line: `method target HTTP/1.x`.
struct Line {
    method: Method,
    target: std::ops::Range<usize>,
    version: Version,
}

impl Line {
    fn of(line: &[u8]) -> Result<Self, Garbage> {
        let first = line.iter().position(|&byte| byte == b' ').ok_or(Garbage::RequestLine)?;
        let method = line.get(..first).unwrap_or_default();
        let method = Method::from_bytes(method).map_err(|_| Garbage::Method)?;
        let start = first + 1;
        let target = line.get(start..).unwrap_or_default();
        let length = memchr::memchr(b' ', target).filter(|&length| length > 0).ok_or(Garbage::RequestLine)?;
        let version = match target.get(length + 1..) {
            Some(b"HTTP/1.1") => Version::HTTP_11,
            Some(b"HTTP/1.0") => Version::HTTP_10,
            _ => return Err(Garbage::Version),
        };
        if length > MAX_TARGET {
            return Err(Garbage::TargetTooLong);
        }
        // A fragment is not for servers; `Uri` would pass over it.
        if target.get(..length).is_some_and(|target| memchr::memchr(b'#', target).is_some()) {
            return Err(Garbage::Target);
        }
        Ok(Self { method, target: start..start + length, version })
    }
}

/// How the body of a request is framed: one way, or it is refused (RFC 9112, 6.3).
fn framing(said: &Said, version: Version) -> Result<Framing, Garbage> {
    match (said.chunked, said.length) {
        (true, Some(_)) => Err(Garbage::TwoFramings),
        (true, None) if version != Version::HTTP_11 => Err(Garbage::Coding),
        (true, None) => Ok(Framing::Chunked),
        (false, length) => Ok(Framing::Length(length.unwrap_or_default())),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
