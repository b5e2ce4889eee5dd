//! A line in the making: a JSON object or a text with fields in it.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use super::timestamp::Timestamp;

/// See the module. What is not printable ASCII is written as `\u00XX` or `\xXX`, so that no client can break a line or a
/// terminal.
pub(crate) struct Line {
    bytes: Vec<u8>,
    json: bool,
}

impl Line {
    /// An empty object.
    pub(crate) fn json() -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.push(b'{');
        Self { bytes, json: true }
    }

    /// An empty text.
    pub(crate) fn plain() -> Self {
        Self { bytes: Vec::with_capacity(256), json: false }
    }

    /// The whole line, without its end.
    pub(crate) fn end(mut self) -> Vec<u8> {
        if self.json {
            self.bytes.push(b'}');
        }
        self.bytes
    }

    /// A part of a text that is the same in each line.
    pub(crate) fn literal(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A field with this name; `put` writes a value, or nothing where there is none.
    pub(crate) fn field(&mut self, name: &str, put: impl FnOnce(&mut Value<'_>)) {
        let before = self.bytes.len();
        let mut value = Value { line: self, name, written: false };
        put(&mut value);
        if !value.written && !self.json {
            self.bytes.truncate(before);
            self.bytes.push(b'-');
        }
    }

    fn key(&mut self, name: &str) {
        if !self.json {
            return;
        }
        if self.bytes.len() > 1 {
            self.bytes.push(b',');
        }
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"\":");
    }

    fn escaped(&mut self, text: &[u8]) {
        for &byte in text {
            match byte {
                b'"' | b'\\' => self.bytes.extend_from_slice(&[b'\\', byte]),
                0x20..0x7f => self.bytes.push(byte),
                _ => {
                    // Writing to bytes cannot fail.
                    _ = match self.json {
                        true => write!(Bytes(&mut self.bytes), "\\u{byte:04x}"),
                        false => write!(Bytes(&mut self.bytes), "\\x{byte:02x}"),
                    };
                }
            }
        }
    }
}

/// Takes one field's value.
pub(crate) struct Value<'a> {
    line: &'a mut Line,
    name: &'a str,
    written: bool,
}

impl Value<'_> {
    fn begin(&mut self) {
        self.written = true;
        self.line.key(self.name);
    }

    fn quote(&mut self) {
        if self.line.json {
            self.line.bytes.push(b'"');
        }
    }

    /// A whole number.
    pub(crate) fn number(&mut self, number: u64) {
        self.begin();
        self.line.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Microseconds.
    pub(crate) fn micros(&mut self, time: Duration) {
        self.number(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// Any bytes.
    pub(crate) fn text(&mut self, text: &[u8]) {
        self.begin();
        self.quote();
        self.line.escaped(text);
        self.quote();
    }

    /// Something that shows itself as printable ASCII without quotes and backslashes.
    pub(crate) fn shown(&mut self, value: impl Display) {
        self.begin();
        self.quote();
        _ = write!(Bytes(&mut self.line.bytes), "{value}");
        self.quote();
    }

    /// A moment since the Unix epoch.
    pub(crate) fn time(&mut self, at: Duration) {
        self.shown(Timestamp(at));
    }

    /// A list in JSON, else separated by commas; nothing where there is none.
    pub(crate) fn list<'a>(&mut self, mut items: impl Iterator<Item = &'a str>) {
        let Some(first) = items.next() else { return };
        self.begin();
        let json = self.line.json;
        for (index, item) in std::iter::once(first).chain(items).enumerate() {
            self.line.bytes.push(match (index, json) {
                (0, true) => b'[',
                (0, false) => {
                    self.line.escaped(item.as_bytes());
                    continue;
                }
                _ => b',',
            });
            self.quote();
            self.line.escaped(item.as_bytes());
            self.quote();
        }
        if json {
            self.line.bytes.push(b']');
        }
    }
}

struct Bytes<'a>(&'a mut Vec<u8>);

impl fmt::Write for Bytes<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(line: &mut Line) {
        line.field("a", |value| value.text(b"x\"\\\n\x1b[31m\xff"));
        line.field("none", |_| {});
        line.field("b", |value| value.number(7));
        line.field("c", |value| value.list(["p", "q\""].into_iter()));
        line.field("d", |value| value.list(std::iter::empty()));
        line.field("e", |value| value.time(Duration::from_millis(1_763_719_200_250)));
    }

    #[test]
    fn text_is_escaped() {
        let text = |line: Line| String::from_utf8(line.end()).expect("is ASCII");
        let mut line = Line::json();
        fill(&mut line);
        assert_eq!(
            text(line),
            r#"{"a":"x\"\\\u000a\u001b[31m\u00ff","b":7,"c":["p","q\""],"e":"2025-11-21T10:00:00.250Z"}"#
        );
        let mut line = Line::plain();
        fill(&mut line);
        assert_eq!(text(line), r#"x\"\\\x0a\x1b[31m\xff-7p,q\"-2025-11-21T10:00:00.250Z"#);
    }
}
