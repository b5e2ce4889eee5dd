//! The headers of a message on its way, read from and written to the host one by one.
//!
//! Nothing here panics: values are bytes, names may repeat, and a change that is not possible is an error.

use std::cell::RefCell;
use std::fmt;

use tidegate_abi::MapKind;

use crate::fields::{Fields, Value};
use crate::host;
use crate::host::Refusal;
use crate::{Error, Outcome};

/// The headers or trailers of one message. Names are found in any case; the pseudo-headers (`:path`, `:status`, …) are
/// among a head's.
///
/// [`set`](Headers::set), [`add`](Headers::add) and [`remove`](Headers::remove) return nothing: a change that the host
/// refuses is noted, and the message is then answered with 500 in place of going on without it, since it might have been
/// the removal of a secret. The `try_` forms return the error and leave the decision to the filter.
///
/// ```no_run
/// use tidegate_sdk::{Request, log};
///
/// fn forward(request: &Request) {
///     let headers = request.headers();
///     headers.remove("x-internal");
///     headers.set("x-tenant", "blue");
///     headers.add("via", "1.1 edge");
///     for (name, value) in headers.all().iter() {
///         log::debug!("{name}: {}", value.escape_ascii());
///     }
/// }
/// ```
pub struct Headers {
    map: MapKind,
    /// The first change that was not possible.
    refused: RefCell<Option<Error>>,
}

impl Headers {
    pub(crate) const fn new(map: MapKind) -> Self {
        Headers { map, refused: RefCell::new(None) }
    }

    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<Value> {
        match host::header(self.map, name) {
            Ok(value) => value.map(Value::from),
            Err(refusal) => {
                log::debug!("the header {name} cannot be read: the host answered {refusal}");
                None
            }
        }
    }

    /// The first value of a header, if it is valid UTF-8.
    pub fn get_str(&self, name: &str) -> Option<String> {
        String::from_utf8(self.get(name)?.into_bytes()).ok()
    }

    /// All values of a header, in order.
    pub fn get_all(&self, name: &str) -> Vec<Value> {
        self.all().get_all(name).cloned().collect()
    }

    /// Whether there is such a header.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Every header with its value, in order, read at once. Cheaper than several single ones from about four on.
    pub fn all(&self) -> Fields {
        match host::headers(self.map) {
            Ok(pairs) => Fields::from_pairs(pairs),
            Err(refusal) => {
                log::debug!("the headers cannot be read: the host answered {refusal}");
                Fields::new()
            }
        }
    }

    /// Shows every header with its value, in order, to a function that keeps none of them: as [`all`](Headers::all), but
    /// nothing is copied for it. Names are in lower case, in hosts that follow HTTP/2.
    ///
    /// ```no_run
    /// # fn of(response: &tidegate_sdk::Response) {
    /// let mut cookies = 0;
    /// response.headers().each(|name, _| cookies += usize::from(name == b"set-cookie"));
    /// # }
    /// ```
    pub fn each(&self, show: impl FnMut(&[u8], &[u8])) {
        if let Err(refusal) = host::each_header(self.map, show) {
            log::debug!("the headers cannot be read: the host answered {refusal}");
        }
    }

    /// Gives a header one value, in place of all that it has.
    pub fn set(&self, name: &str, value: impl AsRef<[u8]>) {
        self.note(self.try_set(name, value));
    }

    /// Adds a value to those that a header has.
    pub fn add(&self, name: &str, value: impl AsRef<[u8]>) {
        self.note(self.try_add(name, value));
    }

    /// Removes a header with all its values.
    pub fn remove(&self, name: &str) {
        self.note(self.try_remove(name));
    }

    /// Replaces all headers, the pseudo-headers too.
    pub fn replace_all(&self, fields: &Fields) {
        self.note(self.try_replace_all(fields));
    }

    /// As [`Headers::set`].
    ///
    /// # Errors
    /// When name or value are no header's, or the host refuses.
    pub fn try_set(&self, name: &str, value: impl AsRef<[u8]>) -> Outcome<()> {
        let value = value.as_ref();
        before(name, value)?;
        host::set_header(self.map, name, value).map_err(|refusal| refused("set", name, value, refusal))
    }

    /// As [`Headers::add`].
    ///
    /// # Errors
    /// When name or value are no header's, or the host refuses.
    pub fn try_add(&self, name: &str, value: impl AsRef<[u8]>) -> Outcome<()> {
        let value = value.as_ref();
        before(name, value)?;
        host::add_header(self.map, name, value).map_err(|refusal| refused("add", name, value, refusal))
    }

    /// As [`Headers::remove`].
    ///
    /// # Errors
    /// When it is no header's name, or the host refuses.
    pub fn try_remove(&self, name: &str) -> Outcome<()> {
        checked(name, b"")?;
        host::remove_header(self.map, name).map_err(|refusal| refused("remove", name, b"", refusal))
    }

    /// As [`Headers::replace_all`].
    ///
    /// # Errors
    /// When a name or value is no header's, or the host refuses.
    pub fn try_replace_all(&self, fields: &Fields) -> Outcome<()> {
        for (name, value) in fields.iter() {
            checked(name, value)?;
        }
        host::set_headers(self.map, &fields.to_pairs())
            .map_err(|refusal| Error::refused("replace all headers", refusal))
    }

    fn note(&self, outcome: Outcome<()>) {
        if let Err(error) = outcome {
            self.refused.borrow_mut().get_or_insert(error);
        }
    }

    /// The first change that was not possible, if any.
    pub(crate) fn take_refused(&self) -> Option<Error> {
        self.refused.take()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Headers").field(&self.map).finish()
    }
}

/// Why a header was not written. What no header can be is said in the same way, whoever has looked.
#[cold]
fn refused(verb: &str, name: &str, value: &[u8], refusal: Refusal) -> Error {
    match problem_with(name, value) {
        Some(problem) => bad(name, problem),
        None => Error::refused(format!("{verb} the header {name}"), refusal),
    }
}

/// Looks at a header that is to be written, where the host is one that may not.
#[inline]
fn before(name: &str, value: &[u8]) -> Outcome<()> {
    if host::is_strict() { Ok(()) } else { checked(name, value) }
}

#[inline]
fn checked(name: &str, value: &[u8]) -> Outcome<()> {
    match problem_with(name, value) {
        None => Ok(()),
        Some(problem) => Err(bad(name, problem)),
    }
}

#[cold]
fn bad(name: &str, problem: &'static str) -> Error {
    Error::BadHeader { name: name.to_owned(), problem }
}

/// What is wrong with a header, if anything: a host that is less strict would write a second header or message.
pub(crate) fn problem_with(name: &str, value: &[u8]) -> Option<&'static str> {
    let plain = name.strip_prefix(':').unwrap_or(name);
    if plain.is_empty() || !plain.bytes().all(is_token) {
        return Some("the name is not a header name");
    }
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Some("the value has a line break or a zero byte in it");
    }
    None
}

/// Whether a byte may be in a token (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    const fn half(range: std::ops::Range<u8>) -> u64 {
        let (mut bits, mut byte) = (0, range.start);
        while byte < range.end {
            let symbol = matches!(
                byte,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
            if symbol || byte.is_ascii_alphanumeric() {
                bits |= 1 << (byte - range.start);
            }
            byte += 1;
        }
        bits
    }
    const LOW: u64 = half(0..64);
    const HIGH: u64 = half(64..128);
    match byte {
        0..64 => LOW >> byte & 1 == 1,
        64..128 => HIGH >> (byte - 64) & 1 == 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::problem_with;

    #[test]
    fn only_well_formed_headers_pass() {
        for (name, value) in [("x-a", &b"v"[..]), (":path", b"/"), ("X-B", b""), ("x~|", b"\xff\t")] {
            assert_eq!(problem_with(name, value), None, "{name}");
        }
        for (name, value) in [
            ("", &b""[..]),
            (":", b""),
            ("a b", b""),
            ("a\r\nb", b""),
            ("é", b""),
            ("a", b"b\nc"),
            ("a", b"\0"),
        ] {
            assert!(problem_with(name, value).is_some(), "{name:?}");
        }
    }
}
