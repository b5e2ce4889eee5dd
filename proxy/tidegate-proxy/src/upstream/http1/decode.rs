//! Reads the head of an answer, strictly (RFC 9112): lines end with CRLF, names are tokens right before their colon,
//! values have no control bytes, one framing.

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, Version, response};
use hyper::ext::ReasonPhrase;
use memchr::memchr_iter;
use thiserror::Error;

/// Bytes of a head, interim ones before it included.
pub(super) const MAX_HEAD: usize = 128 * 1024;
/// Fields of a head, or of trailers.
const MAX_FIELDS: usize = 100;

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Garbage {
    #[error("the answer does not start with `HTTP/1.0` or `HTTP/1.1`")]
    Version,
    #[error("the status is not a number of three digits")]
    Status,
    #[error("the reason after the status has control bytes")]
    Reason,
    #[error("a line does not end with CRLF")]
    Line,
    #[error("a field is not a name, a colon and a value")]
    Field,
    #[error("more than {MAX_FIELDS} fields")]
    Fields,
    #[error("head longer than {MAX_HEAD} bytes")]
    TooLarge,
    #[error("`content-length` is not one decimal number")]
    Length,
    #[error("`transfer-encoding` is not one `chunked`, or not for this version")]
    Coding,
    #[error("`content-length` and `transfer-encoding` contradict each other")]
    TwoFramings,
    #[error("a chunk is malformed")]
    Chunk,
    #[error("trailers or chunk extensions are too long")]
    Trailers,
}

/// How the body of an answer is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// Up to the end of the connection.
    Close,
}

/// The head of an answer, and what it says to its connection.
pub(crate) struct Head {
    pub(super) parts: response::Parts,
    pub(super) framing: Framing,
    pub(super) keep_alive: bool,
    /// No field is about one connection only, and there is one framing at most.
    pub(crate) clean: bool,
}

/// The lines of a head: where each one ends, its CRLF included.
struct Lines {
    ends: [u32; MAX_FIELDS + 2],
    count: usize,
}

impl Lines {
    /// The lines up to the empty one, which is the last. None: it has not come yet.
    fn of(bytes: &[u8]) -> Result<Option<Self>, Garbage> {
        let mut lines = Self { ends: [0; MAX_FIELDS + 2], count: 0 };
        let mut start = 0;
        for at in memchr_iter(b'\n', bytes) {
            if at == start || bytes.get(at - 1) != Some(&b'\r') {
                return Err(Garbage::Line);
            }
            let end = lines.ends.get_mut(lines.count).ok_or(Garbage::Fields)?;
            *end = u32::try_from(at + 1).map_err(|_| Garbage::TooLarge)?;
            lines.count += 1;
            if at == start + 1 {
                return Ok(Some(lines));
            }
            start = at + 1;
        }
        Ok(None)
    }

    /// The end of the empty line.
    fn end(&self) -> usize {
        self.count.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |&end| end as usize)
    }

    /// Beginning and end of each line but the empty one, without CRLF.
    fn spans(&self) -> impl Iterator<Item = (usize, usize)> {
        let ends = self.ends.get(..self.count.saturating_sub(1)).unwrap_or_default();
        let starts = std::iter::once(0).chain(ends.iter().map(|&end| end as usize));
        starts.zip(ends).map(|(start, &end)| (start, end as usize - 2))
    }
}

/// Takes a whole head from the front of `buffer`. `fields` is an empty map to use; `head_only`: the request was HEAD.
/// None: more bytes are needed. `known` are those that were looked at in vain before.
pub(super) fn head(
    buffer: &mut BytesMut,
    known: &mut usize,
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
    let Some(lines) = Lines::of(buffer)? else {
        *known = buffer.len();
        return too_large(buffer).map(|()| None);
    };
    *known = 0;
    let bytes = buffer.split_to(lines.end()).freeze();
    too_large(&bytes)?;
    let mut spans = lines.spans();
    let (start, end) = spans.next().ok_or(Garbage::Version)?;
    let (mut parts, ()) = http::Response::new(()).into_parts();
    status_line(&mut parts, bytes.get(start..end).unwrap_or_default())?;
    parts.headers = std::mem::take(fields);
    let said = read_fields(&bytes, spans, &mut parts.headers)?;
    let framing = said.framing(&parts, head_only)?;
    let keep_alive = !said.close && (said.keep_alive || parts.version == Version::HTTP_11);
    let clean = !said.odd && !parts.status.is_informational() && parts.status != StatusCode::NO_CONTENT;
    Ok(Some(Head { parts, framing, keep_alive, clean }))
}

fn too_large(bytes: &[u8]) -> Result<(), Garbage> {
    if bytes.len() > MAX_HEAD { Err(Garbage::TooLarge) } else { Ok(()) }
}

/// Whether the empty line has come, behind the first `known` bytes.
fn has_end(bytes: &[u8], known: usize) -> Result<bool, Garbage> {
    for at in memchr_iter(b'\n', bytes.get(known..).unwrap_or_default()) {
        let before = bytes.get(..known + at).unwrap_or_default();
        if before.ends_with(b"\r\n\r") {
            return Ok(true);
        }
        if !before.ends_with(b"\r") {
            return Err(Garbage::Line);
        }
    }
    Ok(false)
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

/// What the fields of a head say to the connection.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    /// There may be a field that must not be passed on as it is.
    odd: bool,
}

impl Said {
    fn framing(&self, parts: &response::Parts, head_only: bool) -> Result<Framing, Garbage> {
        if self.chunked && self.length.is_some() {
            return Err(Garbage::TwoFramings);
        }
        if self.chunked && parts.version != Version::HTTP_11 {
            return Err(Garbage::Coding);
        }
        let status = parts.status;
        let bodiless = head_only
            || status.is_informational()
            || status == StatusCode::NO_CONTENT
            || status == StatusCode::NOT_MODIFIED;
        Ok(match self.length {
            _ if bodiless => Framing::Length(0),
            _ if self.chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::Close,
        })
    }
}

fn read_fields(
    bytes: &Bytes,
    spans: impl Iterator<Item = (usize, usize)>,
    fields: &mut HeaderMap,
) -> Result<Said, Garbage> {
    let mut said = Said::default();
    for (start, end) in spans {
        let line = bytes.get(start..end).unwrap_or_default();
        // Names are short: looking for their end costs less than a call.
        let colon = line.iter().position(|&byte| byte == b':').ok_or(Garbage::Field)?;
        // Refuses blanks too: before the colon, and at the start of a line that would continue the one before.
        let name = line.get(..colon).unwrap_or_default();
        let name = HeaderName::from_bytes(name).map_err(|_| Garbage::Field)?;
        let is_blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
        let raw = line.get(colon + 1..).unwrap_or_default();
        let before = raw.iter().take_while(is_blank).count();
        let after = raw.get(before..).unwrap_or_default().iter().rev().take_while(is_blank).count();
        let value = bytes.slice(start + colon + 1 + before..end - after);
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| Garbage::Field)?;
        match name {
            header::CONTENT_LENGTH => said.add_length(value.as_bytes())?,
            header::TRANSFER_ENCODING => said.add_coding(value.as_bytes())?,
            header::CONNECTION => said.add_options(value.as_bytes()),
            header::TE | header::UPGRADE | header::EXPECT => said.odd = true,
            // `keep-alive`, `http2-settings` and `proxy-connection` are as long; the others are only looked at again.
            _ => said.odd |= matches!(name.as_str().len(), 10 | 14 | 16),
        }
        fields.append(name, value);
    }
    Ok(said)
}

impl Said {
    fn add_length(&mut self, digits: &[u8]) -> Result<(), Garbage> {
        let decimal = matches!(digits.len(), 1..=18) && digits.iter().all(u8::is_ascii_digit);
        let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse::<u64>().ok());
        let length = length.filter(|_| decimal).ok_or(Garbage::Length)?;
        if self.length.is_some_and(|other| other != length) {
            return Err(Garbage::Length);
        }
        // A leading zero is for the sanitizer to refuse.
        self.odd |= self.length.is_some() || (digits.len() > 1 && digits.starts_with(b"0"));
        self.length = Some(length);
        Ok(())
    }

    fn add_coding(&mut self, value: &[u8]) -> Result<(), Garbage> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Garbage::Coding);
        }
        (self.chunked, self.odd) = (true, true);
        Ok(())
    }

    fn add_options(&mut self, value: &[u8]) {
        self.odd = true;
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

/// Takes the trailers of a body in chunks from the front of `buffer`; an empty map where there are none. None: more
/// bytes are needed.
pub(super) fn trailers(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, Garbage> {
    let Some(lines) = Lines::of(buffer)? else { return Ok(None) };
    let bytes = buffer.split_to(lines.end()).freeze();
    let mut fields = HeaderMap::new();
    // What trailers say of framing is not believed; they are cleaned before they are passed on.
    for (start, end) in lines.spans() {
        let line = bytes.slice(start..end);
        read_fields(&line, std::iter::once((0, line.len())), &mut fields)?;
    }
    Ok(Some(fields))
}
