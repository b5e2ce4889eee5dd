//! HTTP/1 messages as the tests see them: a strict reader, written independently of the gateway's own parser.
//!
//! Whatever RFC 9112 does not plainly allow in a message that a gateway generates is [`ReadError::Malformed`], so
//! that a message with two readings shows as an error instead of being quietly accepted.

use std::io;

use crate::wire::Wire;

/// Header or trailer fields in wire order; values are Latin-1 decoded, so no byte is lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The value of the only field of that name; none if it is absent.
    ///
    /// # Panics
    /// If there is more than one.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.all(name).into_iter();
        let first = values.next();
        assert!(values.next().is_none(), "more than one {name} in {self:?}");
        first
    }

    /// All values of the fields of that name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// Whether there is a field of that name.
    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }
}

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// As sent.
    pub method: String,
    /// The request target as sent.
    pub target: String,
    /// 0 or 1: the minor version.
    pub minor: u8,
    /// All header fields.
    pub headers: Fields,
}

/// A response with its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Interim responses (1xx but 101) that came before it.
    pub interim: Vec<u16>,
    /// The final status.
    pub status: u16,
    /// 0 or 1: the minor version.
    pub minor: u8,
    /// All header fields.
    pub headers: Fields,
    /// The whole body, without chunk framing.
    pub body: Vec<u8>,
    /// Trailer fields of a chunked body.
    pub trailers: Fields,
    /// The body ended with the connection, so that the connection cannot be used again.
    pub until_close: bool,
}

impl Response {
    /// The only header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Why no message could be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The connection ended before the first byte of a message.
    #[error("closed without a message")]
    Closed,
    /// The connection ended inside a message.
    #[error("cut off {0}")]
    CutOff(&'static str),
    /// The bytes are not a message.
    #[error("malformed: {0}")]
    Malformed(String),
    /// The deadline passed.
    #[error("no complete message before the deadline")]
    Timeout,
    /// The connection broke.
    #[error("connection broke: {0}")]
    Broken(io::Error),
}

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// By content-length.
    Length(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection (responses only).
    UntilClose,
}

/// A body with its trailers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Body {
    /// Without framing.
    pub bytes: Vec<u8>,
    /// After the last chunk.
    pub trailers: Fields,
}

/// Reads a request head and says how its body is delimited.
///
/// # Errors
/// See [`ReadError`].
pub fn read_request_head(wire: &mut Wire) -> Result<(RequestHead, Framing), ReadError> {
    let line = wire.first_line()?;
    let mut parts = line.split(' ');
    let (method, target, version) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(method), Some(target), Some(version), None) => (method, target, version),
        _ => return Err(malformed(format!("request line {line:?}"))),
    };
    if !is_token(method) {
        return Err(malformed(format!("method {method:?}")));
    }
    let origin_form = target.starts_with('/') || (target == "*" && method == "OPTIONS");
    if !origin_form || target.contains('#') || !target.bytes().all(|b| (0x21..=0x7e).contains(&b)) {
        return Err(malformed(format!("target {target:?}")));
    }
    let minor = minor_version(version)?;
    let headers = read_fields(wire, "inside the request head")?;
    let host = headers.all("host");
    // Empty where the target had no authority (RFC 9112 section 3.2): an HTTP/1.0 client need not send one.
    let host_ok = host.len() == 1 && host.iter().all(|h| h.bytes().all(|b| b.is_ascii_graphic()));
    if !host_ok {
        return Err(malformed(format!("host fields {host:?}")));
    }
    let framing = framing(&headers, minor)?.unwrap_or(Framing::Empty);
    Ok((RequestHead { method: method.to_owned(), target: target.to_owned(), minor, headers }, framing))
}

/// Reads a response to a request of that method, passing over interim responses.
///
/// # Errors
/// See [`ReadError`].
pub fn read_response(wire: &mut Wire, method: &str) -> Result<Response, ReadError> {
    let mut interim = Vec::new();
    loop {
        let (status, minor, headers) = read_response_head(wire)?;
        if (100..200).contains(&status) && status != 101 {
            interim.push(status);
            continue;
        }
        let framing = response_framing(status, minor, &headers, method)?;
        let body = read_body(wire, framing)?;
        let until_close = framing == Framing::UntilClose;
        let Body { bytes, trailers } = body;
        return Ok(Response { interim, status, minor, headers, body: bytes, trailers, until_close });
    }
}

/// Reads one status line with its fields, interim or final.
///
/// # Errors
/// See [`ReadError`].
pub fn read_response_head(wire: &mut Wire) -> Result<(u16, u8, Fields), ReadError> {
    let line = wire.first_line()?;
    let bad = || malformed(format!("status line {line:?}"));
    let (version, rest) = line.split_once(' ').ok_or_else(bad)?;
    let (code, _reason) = rest.split_once(' ').ok_or_else(bad)?;
    let status = match code.as_bytes() {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')
        }
        _ => return Err(bad()),
    };
    let minor = minor_version(version)?;
    Ok((status, minor, read_fields(wire, "inside the response head")?))
}

/// How the body of a response is delimited.
///
/// # Errors
/// [`ReadError::Malformed`] when the fields contradict each other.
pub fn response_framing(
    status: u16,
    minor: u8,
    headers: &Fields,
    method: &str,
) -> Result<Framing, ReadError> {
    let stated = framing(headers, minor)?;
    let bodiless = method == "HEAD" || status == 101 || status == 204 || status == 304;
    if (status == 204 || status == 101) && stated.is_some() {
        return Err(malformed(format!("{status} with framing {headers:?}")));
    }
    Ok(if bodiless { Framing::Empty } else { stated.unwrap_or(Framing::UntilClose) })
}

/// Reads a body.
///
/// # Errors
/// See [`ReadError`].
pub fn read_body(wire: &mut Wire, framing: Framing) -> Result<Body, ReadError> {
    let mut body = Body::default();
    read_body_into(wire, framing, &mut body).map(|()| body)
}

/// Reads a body into `body`, which keeps what arrived before an error.
///
/// # Errors
/// See [`ReadError`].
pub fn read_body_into(wire: &mut Wire, framing: Framing, body: &mut Body) -> Result<(), ReadError> {
    match framing {
        Framing::Empty => Ok(()),
        Framing::Length(length) => wire.take(length, &mut body.bytes, "inside a body with a length"),
        Framing::UntilClose => wire.take_all(&mut body.bytes),
        Framing::Chunked => loop {
            let size = chunk_size(&wire.line("at a chunk size")?)?;
            if size == 0 {
                body.trailers = read_fields(wire, "inside the trailers")?;
                return match FRAMING_FIELDS.iter().find(|name| body.trailers.has(name)) {
                    Some(name) => Err(malformed(format!("{name} as a trailer"))),
                    None => Ok(()),
                };
            }
            wire.take(size, &mut body.bytes, "inside a chunk")?;
            if !wire.line("after a chunk")?.is_empty() {
                return Err(malformed("a chunk is longer than its size".to_owned()));
            }
        },
    }
}

fn framing(headers: &Fields, minor: u8) -> Result<Option<Framing>, ReadError> {
    let (lengths, codings) = (headers.all("content-length"), headers.all("transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(None),
        ([length], []) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
            let length = length.parse::<i64>().map_err(|_| malformed(format!("content-length {length}")))?;
            Ok(Some(Framing::Length(length.unsigned_abs())))
        }
        ([], [coding]) if minor == 1 && coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        _ => Err(malformed(format!(
            "framing in HTTP/1.{minor}: content-length {lengths:?}, transfer-encoding {codings:?}"
        ))),
    }
}

fn read_fields(wire: &mut Wire, place: &'static str) -> Result<Fields, ReadError> {
    let mut fields = Fields::default();
    loop {
        let line = wire.line(place)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) =
            line.split_once(':').ok_or_else(|| malformed(format!("field {line:?} without colon")))?;
        if !is_token(name) {
            return Err(malformed(format!("field name {name:?}")));
        }
        let value = value.trim_matches([' ', '\t']);
        if value.chars().any(|c| (c < ' ' && c != '\t') || c == '\u{7f}') {
            return Err(malformed(format!("value of {name}: {value:?}")));
        }
        fields.0.push((name.to_owned(), value.to_owned()));
    }
}

fn chunk_size(line: &str) -> Result<u64, ReadError> {
    let hex = !line.is_empty() && line.len() <= 16 && line.bytes().all(|b| b.is_ascii_hexdigit());
    if !hex {
        return Err(malformed(format!("chunk size {line:?}")));
    }
    u64::from_str_radix(line, 16).map_err(|_| malformed(format!("chunk size {line:?}")))
}

fn minor_version(version: &str) -> Result<u8, ReadError> {
    match version {
        "HTTP/1.1" => Ok(1),
        "HTTP/1.0" => Ok(0),
        _ => Err(malformed(format!("version {version:?}"))),
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

pub(crate) fn malformed(what: String) -> ReadError {
    ReadError::Malformed(what)
}

const FRAMING_FIELDS: [&str; 3] = ["content-length", "transfer-encoding", "host"];
