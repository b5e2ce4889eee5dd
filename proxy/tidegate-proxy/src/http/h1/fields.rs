//! Reads the fields of a head, strictly (RFC 9112): lines end with CRLF, names are tokens right before their colon,
//! values have no control bytes, one length, one coding.

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use memchr::memchr_iter;
use thiserror::Error;

use super::names;

/// Fields of an answer's head, or of trailers.
pub(crate) const MAX_FIELDS: usize = 100;

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Garbage {
    #[error("the version is neither `HTTP/1.0` nor `HTTP/1.1`")]
    Version,
    #[error("the request line is not a method, a target and a version, each after one blank")]
    RequestLine,
    #[error("the method is not a token")]
    Method,
    #[error("the target is not one of those in RFC 9112, 3.2")]
    Target,
    #[error("the target is longer than 65,534 bytes, or than what a head may have")]
    TargetTooLong,
    #[error("the status is not a number of three digits")]
    Status,
    #[error("the reason after the status has control bytes")]
    Reason,
    #[error("a line does not end with CRLF")]
    Line,
    #[error("a field is not a name, a colon and a value")]
    Field,
    #[error("the head has more fields than it may")]
    Fields,
    #[error("the head has more bytes than it may")]
    TooLarge,
    #[error("the head did not come in time")]
    Late,
    #[error("`content-length` is not one decimal number")]
    Length,
    #[error("`transfer-encoding` is not one `chunked`, or not for this version")]
    Coding,
    #[error("`content-length` and `transfer-encoding` contradict each other")]
    TwoFramings,
    #[error("there are more interim answers, or more bytes of them, than there may be")]
    Interim,
    #[error("a chunk is malformed")]
    Chunk,
    #[error("trailers or chunk extensions are too long")]
    Trailers,
}

/// The lines of a head: where each one ends, its CRLF included. A connection keeps one for all its heads.
pub(crate) struct Lines {
    ends: Vec<u32>,
    /// As many as there may be: the first one, the fields and the empty one.
    most: usize,
}

impl Lines {
    /// For heads of at most so many fields.
    pub(crate) fn new(fields: usize) -> Self {
        Self { ends: Vec::new(), most: fields + 2 }
    }

    /// Finds the lines up to the empty one, which is the last. False: it has not come yet.
    pub(crate) fn find(&mut self, bytes: &[u8]) -> Result<bool, Garbage> {
        self.ends.clear();
        let mut start = 0;
        for at in memchr_iter(b'\n', bytes) {
            if at == start || bytes.get(at - 1) != Some(&b'\r') {
                return Err(Garbage::Line);
            }
            if self.ends.len() == self.most {
                return Err(Garbage::Fields);
            }
            self.ends.push(u32::try_from(at + 1).map_err(|_| Garbage::TooLarge)?);
            if at == start + 1 {
                return Ok(true);
            }
            start = at + 1;
        }
        Ok(false)
    }

    /// The end of the empty line.
    pub(crate) fn end(&self) -> usize {
        self.ends.last().map_or(0, |&end| end as usize)
    }

    /// Beginning and end of each line but the empty one, without CRLF.
    pub(crate) fn spans(&self) -> impl Iterator<Item = (usize, usize)> {
        let ends = self.ends.split_last().map_or(&[][..], |(_, ends)| ends);
        let starts = std::iter::once(0).chain(ends.iter().map(|&end| end as usize));
        starts.zip(ends).map(|(start, &end)| (start, end as usize - 2))
    }
}

/// Whether the empty line has come, behind the first `known` bytes.
pub(crate) fn has_end(bytes: &[u8], known: usize) -> Result<bool, Garbage> {
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

/// What the fields of a head say to the connection.
#[derive(Default)]
pub(crate) struct Said {
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    /// There is an `expect`.
    pub(crate) expects: bool,
    /// There may be a field that must not be passed on as it is.
    pub(crate) odd: bool,
}

/// Reads the fields in these places of `bytes` into `fields`.
pub(crate) fn read_fields(
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
        let name = names::name(name).ok_or(Garbage::Field)?;
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
            header::TE | header::UPGRADE => said.odd = true,
            header::EXPECT => (said.odd, said.expects) = (true, true),
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
pub(crate) fn trailers(buffer: &mut BytesMut) -> Result<Option<HeaderMap>, Garbage> {
    let mut lines = Lines::new(MAX_FIELDS);
    if !lines.find(buffer)? {
        return Ok(None);
    }
    let bytes = buffer.split_to(lines.end()).freeze();
    let mut fields = HeaderMap::new();
    // What trailers say of framing is not believed; they are cleaned before they are passed on.
    for (start, end) in lines.spans() {
        let line = bytes.slice(start..end);
        read_fields(&line, std::iter::once((0, line.len())), &mut fields)?;
    }
    Ok(Some(fields))
}
