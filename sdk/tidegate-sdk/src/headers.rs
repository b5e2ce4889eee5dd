//! The headers of a request or response, read from and written to the host one by one.
//!
//! Nothing here panics: values are bytes, names may repeat, and a change that is not possible is noted (see
//! [`Decision`](crate::Decision)).

use tidegate_abi::MapKind;

use crate::host::{self, Change};
use crate::message::Refusals;

/// The headers of one message. Names are found in any case; the pseudo-headers (`:path`, `:status`, …) are among them.
#[derive(Debug)]
pub struct Headers {
    map: MapKind,
    refusals: Refusals,
}

impl Headers {
    pub(crate) fn new(map: MapKind) -> Self {
        Headers { map, refusals: Refusals::default() }
    }

    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The first value of a header.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        host::header(self.map, name).unwrap_or_else(|failure| {
            log::warn!("cannot read the header {name}: {failure}");
            None
        })
    }

    /// The first value of a header, if it is valid UTF-8.
    pub fn get_str(&self, name: &str) -> Option<String> {
        String::from_utf8(self.get(name)?).ok()
    }

    /// All values of a header, in order.
    pub fn get_all(&self, name: &str) -> Vec<Vec<u8>> {
        let pairs = self.pairs().into_iter();
        pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value).collect()
    }

    /// Every header with its value, in order.
    pub fn pairs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        host::headers(self.map).unwrap_or_else(|failure| {
            log::warn!("cannot read the headers: {failure}");
            Vec::new()
        })
    }

    /// Gives a header one value, in place of all that it has.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.change(name, Change::Set(value.as_ref()));
    }

    /// Adds a value to those that a header has.
    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.change(name, Change::Add(value.as_ref()));
    }

    /// Removes a header with all its values.
    pub fn remove(&mut self, name: &str) {
        self.change(name, Change::Remove);
    }

    fn change(&mut self, name: &str, change: Change<'_>) {
        let problem = problem_with(name, change.value());
        let outcome = match problem {
            Some(problem) => Err(problem.to_owned()),
            None => host::change_header(self.map, name, change).map_err(|failure| failure.to_string()),
        };
        if let Err(problem) = outcome {
            self.refusals.note(format!("{}: {problem}", name.escape_debug()));
        }
    }
}

/// What is wrong with a header, if anything: a host that is less strict would write a second header or message.
pub(crate) fn problem_with(name: &str, value: &[u8]) -> Option<&'static str> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let plain = name.strip_prefix(':').unwrap_or(name);
    if plain.is_empty() || !plain.bytes().all(token) {
        return Some("the name is not a header name");
    }
    if value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Some("the value has a line break or a zero byte in it");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::problem_with;

    #[test]
    fn only_well_formed_headers_pass() {
        for (name, value) in [("x-a", &b"v"[..]), (":path", b"/"), ("X-B", b""), ("x", b"\xff\t")] {
            assert_eq!(problem_with(name, value), None, "{name}");
        }
        for (name, value) in
            [("", &b""[..]), (":", b""), ("a b", b""), ("a\r\nb", b""), ("a", b"b\nc"), ("a", b"\0")]
        {
            assert!(problem_with(name, value).is_some(), "{name:?}");
        }
    }
}
