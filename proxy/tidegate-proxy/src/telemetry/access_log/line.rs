//! A line in the making: a JSON object, a text with fields in it, or a record of OTLP.

use std::fmt::{Display, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use super::kept::{Kept, Key};
use super::record;
use super::text::{self, Bytes};
use super::timestamp::Timestamp;

/// See the module. What is not printable ASCII is written as `\u00XX` or `\xXX`, so that no client can break a line or a
/// terminal.
pub(crate) struct Line {
    bytes: Vec<u8>,
    /// Where it begins: lines before it may be there.
    start: usize,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Plain,
    Record,
}

impl Line {
    /// An empty object behind these bytes.
    pub(crate) fn json(bytes: Vec<u8>) -> Self {
        Self { start: bytes.len(), bytes, form: Form::Json }
    }

    /// An empty text behind these bytes.
    pub(crate) fn plain(bytes: Vec<u8>) -> Self {
        Self { start: bytes.len(), bytes, form: Form::Plain }
    }

    /// A record with what people read of it; fields are its attributes, by the names of OpenTelemetry.
    pub(crate) fn record(failed: bool, text: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(1024);
        record::severity(&mut bytes, failed);
        record::body(&mut bytes, &String::from_utf8_lossy(text));
        Self { bytes, start: 0, form: Form::Record }
    }

    /// Several fields, as they were written for the same key before.
    pub(crate) fn kept(&mut self, kept: &Kept, key: &Key, put: impl FnOnce(&mut Self)) {
        if kept.find(key, |part| self.bytes.extend_from_slice(part.bytes())).is_some() {
            return;
        }
        let before = self.bytes.len();
        put(self);
        kept.keep(key, self.bytes.get(before..).unwrap_or_default());
    }

    /// A field that says a time, which `put` writes: all before its milliseconds is as it was kept for the same second.
    pub(crate) fn moment(&mut self, kept: &Kept, at: Duration, after: After, put: impl FnOnce(&mut Self)) {
        let Some(key) = After::key(at) else { return put(self) };
        self.kept(kept, &key, |line| {
            put(line);
            let without = line.bytes.len().saturating_sub(3 + after.0.len());
            line.bytes.truncate(without);
        });
        text::last_three(&mut self.bytes, at.subsec_millis());
        self.bytes.extend_from_slice(after.0);
    }

    /// What is written so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The whole line, without its end.
    pub(crate) fn end(mut self) -> Vec<u8> {
        if self.form == Form::Json {
            // Each field begins with a comma: that of the first one is the place of the brace.
            match self.bytes.get_mut(self.start) {
                Some(comma) => *comma = b'{',
                None => self.bytes.push(b'{'),
            }
            self.bytes.push(b'}');
        }
        self.bytes
    }

    /// A part of a text that is the same in each line.
    pub(crate) fn literal(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    /// A field with this name, which is a [`json_key`] in an object; `put` writes a value, or nothing where there is none.
    pub(crate) fn field(&mut self, name: &str, put: impl FnOnce(&mut Value<'_>)) {
        let before = self.bytes.len();
        let mut value = Value { line: self, name, written: false };
        put(&mut value);
        if !value.written && self.form == Form::Plain {
            self.bytes.truncate(before);
            self.bytes.push(b'-');
        }
    }

    fn key(&mut self, name: &str) {
        if self.form == Form::Json {
            self.bytes.extend_from_slice(name.as_bytes());
        }
    }

    fn escaped(&mut self, bytes: &[u8]) {
        text::escaped(&mut self.bytes, bytes, self.form == Form::Json);
    }
}

/// What is written of a time behind its milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct After(&'static [u8]);

impl After {
    /// As a number it ends with them.
    pub(crate) const MILLIS: Self = Self(b"");
    /// The end of [`Timestamp`].
    pub(crate) const PLAIN: Self = Self(b"Z");
    /// The same in an object.
    pub(crate) const QUOTED: Self = Self(b"Z\"");

    /// What tells one second from another; none in the first one, when a number of milliseconds has fewer digits.
    #[inline]
    pub(crate) fn key(at: Duration) -> Option<Key> {
        (at.as_secs() > 0).then_some(Key::new([at.as_secs(), 0, 0]))
    }

    #[inline]
    pub(crate) fn bytes(self) -> &'static [u8] {
        self.0
    }
}

/// What a field of this name is called in an object: as [`Line::field`] wants it, with all that goes before a value.
pub(crate) fn json_key(name: &str) -> String {
    format!(",\"{name}\":")
}

/// Takes one field's value.
pub(crate) struct Value<'a> {
    line: &'a mut Line,
    name: &'a str,
    written: bool,
}

impl<'a> Value<'a> {
    fn begin(&mut self) {
        self.written = true;
        self.line.key(self.name);
    }

    fn quote(&mut self) {
        if self.line.form == Form::Json {
            self.line.bytes.push(b'"');
        }
    }

    /// The bytes of a record that is being made.
    #[inline]
    fn record(&mut self) -> Option<&mut Vec<u8>> {
        (self.line.form == Form::Record).then_some(&mut self.line.bytes)
    }

    /// Where OpenTelemetry has another name for this value than for others of the field.
    pub(crate) fn named(&mut self, name: &'a str) -> &mut Self {
        if self.line.form == Form::Record {
            self.name = name;
        }
        self
    }

    /// A whole number.
    pub(crate) fn number(&mut self, number: u64) {
        let name = self.name;
        if let Some(out) = self.record() {
            return record::number(out, name, number);
        }
        self.begin();
        text::number(&mut self.line.bytes, number);
    }

    /// Microseconds.
    pub(crate) fn micros(&mut self, time: Duration) {
        self.number(micros(time));
    }

    /// Any bytes.
    pub(crate) fn text(&mut self, text: &[u8]) {
        let name = self.name;
        if let Some(out) = self.record() {
            return record::text(out, name, &String::from_utf8_lossy(text));
        }
        self.begin();
        self.quote();
        self.line.escaped(text);
        self.quote();
    }

    /// Something that shows itself as printable ASCII without quotes and backslashes.
    pub(crate) fn shown(&mut self, value: impl Display) {
        let name = self.name;
        if let Some(out) = self.record() {
            return record::text(out, name, &value.to_string());
        }
        self.begin();
        self.quote();
        _ = write!(Bytes(&mut self.line.bytes), "{value}");
        self.quote();
    }

    /// A moment since the Unix epoch.
    pub(crate) fn time(&mut self, at: Duration) {
        self.shown(Timestamp(at));
    }

    /// The same in milliseconds; the time of a record.
    pub(crate) fn moment(&mut self, at: Duration) {
        match self.record() {
            Some(out) => record::moment(out, at),
            None => self.number(millis(at)),
        }
    }

    /// The trace of a record, else its number in hexadecimal.
    pub(crate) fn trace(&mut self, trace: u128, sampled: bool) {
        match self.record() {
            Some(out) => record::trace(out, trace, sampled),
            None => self.shown(format_args!("{trace:032x}")),
        }
    }

    /// The span of a record, else its number in hexadecimal.
    pub(crate) fn span(&mut self, span: u64) {
        match self.record() {
            Some(out) => record::span(out, span),
            None => self.shown(format_args!("{span:016x}")),
        }
    }

    /// The value of a field of a head, of which there may be several.
    pub(crate) fn header(&mut self, text: &[u8]) {
        let name = self.name;
        match self.record() {
            Some(out) => record::list(out, name, &[&String::from_utf8_lossy(text)]),
            None => self.text(text),
        }
    }

    /// An address with its port.
    pub(crate) fn address(&mut self, address: SocketAddr) {
        if self.line.form == Form::Record {
            return self.shown(address);
        }
        self.begin();
        self.quote();
        text::address(&mut self.line.bytes, address);
        self.quote();
    }

    /// An address; its port is an attribute of its own.
    pub(crate) fn client(&mut self, client: SocketAddr) {
        let Some(out) = self.record() else { return self.address(client) };
        record::text(out, "client.address", &client.ip().to_string());
        if client.port() != 0 {
            record::number(out, "client.port", client.port().into());
        }
    }

    /// A host with or without a port, which is an attribute of its own.
    pub(crate) fn host(&mut self, host: &[u8]) {
        let Some(out) = self.record() else { return self.text(host) };
        let host = String::from_utf8_lossy(host);
        let parts = host.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = parts.map_or((&*host, None), |(host, port): (_, u16)| (host, Some(port)));
        if !host.is_empty() {
            record::text(out, "server.address", host.trim_matches(['[', ']']));
        }
        if let Some(port) = port {
            record::number(out, "server.port", port.into());
        }
    }

    /// A path with its query, which is an attribute of its own.
    pub(crate) fn target(&mut self, target: &[u8]) {
        let Some(out) = self.record() else { return self.text(target) };
        let target = String::from_utf8_lossy(target);
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        record::text(out, "url.path", path);
        if !query.is_empty() {
            record::text(out, "url.query", query);
        }
    }

    /// A version of HTTP.
    pub(crate) fn version(&mut self, version: http::Version) {
        let Some(out) = self.record() else {
            return self.text(match version {
                http::Version::HTTP_10 => b"HTTP/1.0",
                http::Version::HTTP_2 => b"HTTP/2.0",
                http::Version::HTTP_3 => b"HTTP/3.0",
                _ => b"HTTP/1.1",
            });
        };
        record::text(out, "network.protocol.name", "http");
        let text = match version {
            http::Version::HTTP_10 => "1.0",
            http::Version::HTTP_2 => "2",
            http::Version::HTTP_3 => "3",
            _ => "1.1",
        };
        record::text(out, "network.protocol.version", text);
    }

    /// Text; in a record another one.
    pub(crate) fn either(&mut self, text: &str, of_record: &str) {
        let name = self.name;
        match self.record() {
            Some(out) => record::text(out, name, of_record),
            None => self.text(text.as_bytes()),
        }
    }

    /// A list in JSON and in a record, else separated by commas; nothing where there is none.
    pub(crate) fn list<'b>(&mut self, mut items: impl Iterator<Item = &'b str>) {
        let Some(first) = items.next() else { return };
        let name = self.name;
        if let Some(out) = self.record() {
            let all: Vec<&str> = std::iter::once(first).chain(items).collect();
            return record::list(out, name, &all);
        }
        self.begin();
        let json = self.line.form == Form::Json;
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

/// Whole microseconds.
pub(crate) fn micros(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(time.subsec_micros()))
}

fn millis(at: Duration) -> u64 {
    at.as_secs().saturating_mul(1_000).saturating_add(u64::from(at.subsec_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(line: &mut Line, called: fn(&str) -> String) {
        line.field(&called("a"), |value| value.text(b"x\"\\\n\x1b[31m\xff"));
        line.field(&called("none"), |_| {});
        line.field(&called("b"), |value| value.number(7));
        line.field(&called("c"), |value| value.list(["p", "q\""].into_iter()));
        line.field(&called("d"), |value| value.list(std::iter::empty()));
        line.field(&called("e"), |value| value.time(Duration::from_millis(1_763_719_200_250)));
    }

    #[test]
    fn text_is_escaped() {
        let text = |line: Line| String::from_utf8(line.end()).expect("is ASCII");
        let mut line = Line::json(b"before\n".to_vec());
        fill(&mut line, json_key);
        assert_eq!(
            text(line),
            "before\n".to_owned()
                + r#"{"a":"x\"\\\u000a\u001b[31m\u00ff","b":7,"c":["p","q\""],"e":"2025-11-21T10:00:00.250Z"}"#
        );
        let mut line = Line::plain(b"before\n".to_vec());
        fill(&mut line, str::to_owned);
        assert_eq!(
            text(line),
            "before\n".to_owned() + r#"x\"\\\x0a\x1b[31m\xff-7p,q\"-2025-11-21T10:00:00.250Z"#
        );
    }
}
