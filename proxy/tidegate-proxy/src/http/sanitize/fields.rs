//! The fields of a message head: one pass sees what is there, then only what must go is removed.

use std::error::Error;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

/// More options than this in `connection` fields are an attack.
const MAX_CONNECTION_OPTIONS: usize = 64;

/// Why a head cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum FieldFault {
    #[error("`transfer-encoding` is not one `chunked`")]
    Coding,
    #[error("`transfer-encoding` is not for this HTTP version")]
    CodingVersion,
    #[error("`content-length` and `transfer-encoding` contradict each other")]
    TwoFramings,
    #[error("`content-length` is not one decimal number")]
    Length,
    #[error("`expect` asks for something other than `100-continue`")]
    Expect,
    #[error("a value begins or ends with a blank")]
    Padded,
    #[error("`connection` has more than {MAX_CONNECTION_OPTIONS} options")]
    Options,
}

impl FieldFault {
    /// As the source of a failure.
    pub(super) fn boxed(self) -> Box<dyn Error> {
        Box::new(self)
    }
}

/// What one pass over the fields of a head found.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) hosts: usize,
    pub(super) lengths: usize,
    pub(super) length: Option<u64>,
    pub(super) codings: usize,
    pub(super) upgrades: usize,
    pub(super) upgrade_option: bool,
    pub(super) te: bool,
    pub(super) te_trailers: bool,
    pub(super) expect: bool,
    pub(super) claims: bool,
    pub(super) traced: bool,
    connection: bool,
    listed: bool,
    keep_alive: bool,
    proxy_connection: bool,
    http2_settings: bool,
    underscore: bool,
}

/// Whether a blank is before or behind the value. HTTP/1 has none there: its readers drop them.
pub(super) fn is_padded(value: &HeaderValue) -> bool {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    blank(value.as_bytes().first()) || blank(value.as_bytes().last())
}

/// Drops blanks around values, as a reader of HTTP/1 does.
pub(super) fn trim(headers: &mut HeaderMap) {
    for value in headers.values_mut().filter(|value| is_padded(value)) {
        if let Ok(trimmed) = HeaderValue::from_bytes(value.as_bytes().trim_ascii()) {
            *value = trimmed;
        }
    }
}

/// Looks at each field once.
pub(super) fn scan(headers: &HeaderMap) -> Result<Seen, FieldFault> {
    let mut seen = Seen::default();
    for (name, value) in headers {
        match *name {
            header::HOST => seen.hosts += 1,
            header::CONTENT_LENGTH => seen.add_length(value)?,
            header::TRANSFER_ENCODING => seen.add_coding(value)?,
            header::CONNECTION => seen.add_connection(value),
            header::UPGRADE => seen.upgrades += 1,
            header::TE => {
                seen.te = true;
                seen.te_trailers |= options(value).any(|option| is(option, b"trailers"));
            }
            header::EXPECT => {
                if !is(value.as_bytes(), b"100-continue") {
                    return Err(FieldFault::Expect);
                }
                seen.expect = true;
            }
            header::FORWARDED => seen.claims = true,
            _ => seen.add_other(name.as_str().as_bytes()),
        }
    }
    if seen.codings > 0 && seen.lengths > 0 { Err(FieldFault::TwoFramings) } else { Ok(seen) }
}

impl Seen {
    fn add_length(&mut self, value: &HeaderValue) -> Result<(), FieldFault> {
        let length = decimal(value.as_bytes()).ok_or(FieldFault::Length)?;
        if self.length.is_some_and(|other| other != length) {
            return Err(FieldFault::Length);
        }
        self.lengths += 1;
        self.length = Some(length);
        Ok(())
    }

    fn add_coding(&mut self, value: &HeaderValue) -> Result<(), FieldFault> {
        self.codings += 1;
        if self.codings == 1 && is(value.as_bytes(), b"chunked") { Ok(()) } else { Err(FieldFault::Coding) }
    }

    fn add_connection(&mut self, value: &HeaderValue) {
        self.connection = true;
        for option in options(value) {
            if is(option, b"upgrade") {
                self.upgrade_option = true;
            } else if !is(option, b"keep-alive") && !is(option, b"close") && !is(option, b"te") {
                self.listed = true;
            }
        }
    }

    fn add_other(&mut self, name: &[u8]) {
        match name {
            b"keep-alive" => self.keep_alive = true,
            b"proxy-connection" => self.proxy_connection = true,
            b"http2-settings" => self.http2_settings = true,
            b"x-real-ip" | b"x-request-id" => self.claims = true,
            b"traceparent" | b"b3" | b"uber-trace-id" => self.traced = true,
            _ => {
                self.traced |= name.starts_with(b"x-b3-");
                self.claims |= name.starts_with(b"x-forwarded-");
                self.underscore |= memchr::memchr(b'_', name).is_some();
            }
        }
    }

    /// Removes what is for this connection only (RFC 9110 7.6.1) and makes the length one field. `upgrade` and
    /// names with an underscore are removed as well; in requests only, see there.
    pub(super) fn strip(&self, headers: &mut HeaderMap) -> Result<(), FieldFault> {
        if self.listed {
            remove_listed(headers)?;
        }
        for (present, name) in [
            (self.connection, &header::CONNECTION),
            (self.codings > 0, &header::TRANSFER_ENCODING),
            (self.upgrades > 0, &header::UPGRADE),
            (self.te, &header::TE),
        ] {
            if present {
                headers.remove(name);
            }
        }
        for (present, name) in [
            (self.keep_alive, "keep-alive"),
            (self.proxy_connection, "proxy-connection"),
            (self.http2_settings, "http2-settings"),
        ] {
            if present {
                headers.remove(name);
            }
        }
        if self.lengths > 1
            && let Some(first) = headers.get(header::CONTENT_LENGTH).cloned()
        {
            headers.insert(header::CONTENT_LENGTH, first);
        }
        Ok(())
    }

    /// Removes fields whose name has an underscore: `x_user` and `x-user` are one name to CGI-like servers.
    pub(super) fn strip_underscores(&self, headers: &mut HeaderMap) {
        if self.underscore {
            remove_where(headers, |name| name.contains('_'));
        }
    }
}

/// Removes all fields whose name is like that. Allocates: for rare names only.
pub(super) fn remove_where(headers: &mut HeaderMap, like: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| like(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Removes the fields that `connection` lists, but for those that must not be removable in this way: framing, routing,
/// credentials and what earlier proxies vouch for.
fn remove_listed(headers: &mut HeaderMap) -> Result<(), FieldFault> {
    let values: Vec<HeaderValue> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    let mut count = 0;
    for option in values.iter().flat_map(options) {
        count += 1;
        if count > MAX_CONNECTION_OPTIONS {
            return Err(FieldFault::Options);
        }
        if let Ok(name) = std::str::from_utf8(option)
            && !is_protected(option)
        {
            headers.remove(name);
        }
    }
    Ok(())
}

fn is_protected(name: &[u8]) -> bool {
    const END_TO_END: [&[u8]; 22] = [
        b"age",
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"date",
        b"etag",
        b"expires",
        b"forwarded",
        b"host",
        b"location",
        b"origin",
        b"proxy-authorization",
        b"set-cookie",
        b"vary",
        b"via",
        b"www-authenticate",
        b"x-real-ip",
        b"x-request-id",
    ];
    // Options that `strip` needs to see itself are left to it.
    const OWN: [&[u8]; 6] =
        [b"connection", b"keep-alive", b"te", b"transfer-encoding", b"upgrade", b"http2-settings"];
    const FORWARDED: &[u8] = b"x-forwarded-";
    END_TO_END.iter().chain(&OWN).any(|own| is(name, own))
        || name.get(..FORWARDED.len()).is_some_and(|start| is(start, FORWARDED))
}

/// The members of a comma-separated value.
fn options(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|option| !option.is_empty())
}

fn is(value: &[u8], expected: &[u8]) -> bool {
    value.eq_ignore_ascii_case(expected)
}

/// A number of decimal digits only. A leading zero is refused: some readers take it for octal.
fn decimal(digits: &[u8]) -> Option<u64> {
    if !matches!(digits.len(), 1..=18) || (digits.len() > 1 && digits[0] == b'0') {
        return None;
    }
    digits
        .iter()
        .try_fold(0u64, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}
