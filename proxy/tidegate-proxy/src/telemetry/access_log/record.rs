//! A record of OTLP in the making: protobuf, written where the exchange ends, so that nobody looks at it again on its way.
//! See opentelemetry/proto/logs/v1/logs.proto.

use std::time::Duration;

use bytes::BufMut as _;

/// Numbers of fields of a `LogRecord`. All that are used here are below 16, so that a key is one byte.
const TIME: u8 = 1;
const SEVERITY: u8 = 2;
const SEVERITY_TEXT: u8 = 3;
const BODY: u8 = 5;
const ATTRIBUTE: u8 = 6;
const FLAGS: u8 = 8;
const TRACE: u8 = 9;
const SPAN: u8 = 10;
const OBSERVED: u8 = 11;
/// Of a `KeyValue`.
const KEY: u8 = 1;
const VALUE: u8 = 2;
/// Of an `AnyValue`, and of an `ArrayValue`.
const TEXT: u8 = 1;
const WHOLE: u8 = 3;
const ARRAY: u8 = 5;
const ITEM: u8 = 1;

/// How fields are encoded.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// How bad it is, by number and name: `WARN` for what failed, as for syslog, else `INFO`.
pub(super) fn severity(out: &mut Vec<u8>, failed: bool) {
    let (number, name) = if failed { (13, "WARN") } else { (9, "INFO") };
    out.extend_from_slice(&[SEVERITY << 3 | VARINT, number]);
    bytes(out, SEVERITY_TEXT, name.as_bytes());
}

/// When it happened and was noted; since the Unix epoch.
pub(super) fn moment(out: &mut Vec<u8>, at: Duration) {
    let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
    for field in [TIME, OBSERVED] {
        out.put_u8(field << 3 | FIXED64);
        out.put_u64_le(nanos);
    }
}

/// What people read.
pub(super) fn body(out: &mut Vec<u8>, text: &str) {
    begin(out, BODY, length_of(text.len()));
    bytes(out, TEXT, text.as_bytes());
}

/// The trace that it is part of, and whether that is sampled.
pub(super) fn trace(out: &mut Vec<u8>, trace: u128, sampled: bool) {
    bytes(out, TRACE, &trace.to_be_bytes());
    out.put_u8(FLAGS << 3 | FIXED32);
    out.put_u32_le(u32::from(sampled));
}

/// The span.
pub(super) fn span(out: &mut Vec<u8>, span: u64) {
    bytes(out, SPAN, &span.to_be_bytes());
}

/// An attribute that is text.
pub(super) fn text(out: &mut Vec<u8>, name: &str, text: &str) {
    attribute(out, name, length_of(text.len()));
    bytes(out, TEXT, text.as_bytes());
}

/// An attribute that is a whole number.
pub(super) fn number(out: &mut Vec<u8>, name: &str, number: u64) {
    // Larger ones would be read as negative.
    let number = usize::try_from(number.min(i64::MAX as u64)).unwrap_or(usize::MAX);
    attribute(out, name, 1 + prost::length_delimiter_len(number));
    out.put_u8(WHOLE << 3 | VARINT);
    varint(out, number);
}

/// An attribute that is a list of texts.
pub(super) fn list<'a>(out: &mut Vec<u8>, name: &str, items: &[&'a str]) {
    let item = |text: &&'a str| length_of(length_of(text.len()));
    let whole = items.iter().map(item).sum();
    attribute(out, name, length_of(whole));
    begin(out, ARRAY, whole);
    for text in items {
        begin(out, ITEM, length_of(text.len()));
        bytes(out, TEXT, text.as_bytes());
    }
}

/// The attribute's name and the key of its value, whose bytes follow.
fn attribute(out: &mut Vec<u8>, name: &str, value: usize) {
    begin(out, ATTRIBUTE, length_of(name.len()) + length_of(value));
    bytes(out, KEY, name.as_bytes());
    begin(out, VALUE, value);
}

fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    begin(out, field, content.len());
    out.extend_from_slice(content);
}

/// The key and the length of a field whose bytes follow.
fn begin(out: &mut Vec<u8>, field: u8, length: usize) {
    out.put_u8(field << 3 | BYTES);
    varint(out, length);
}

/// The length of a field with so many bytes in it.
fn length_of(content: usize) -> usize {
    1 + prost::length_delimiter_len(content) + content
}

fn varint(out: &mut Vec<u8>, number: usize) {
    // A vector has room for as much as memory has.
    _ = prost::encode_length_delimiter(number, out);
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::telemetry::otlp::messages::any_value::Value;
    use crate::telemetry::otlp::messages::{AnyValue, ArrayValue, KeyValue, LogRecord};

    #[test]
    fn a_record_is_what_protobuf_makes_of_it() {
        let long = "x".repeat(300);
        let mut out = Vec::new();
        moment(&mut out, Duration::from_nanos(1_763_719_200_250_000_001));
        severity(&mut out, true);
        body(&mut out, &long);
        text(&mut out, "a", "b");
        text(&mut out, &long, &long);
        number(&mut out, "n", u64::MAX);
        number(&mut out, "zero", 0);
        list(&mut out, "l", &["p", &long]);
        list(&mut out, "none", &[]);
        trace(&mut out, 0xab << 100 | 7, true);
        span(&mut out, 0xf00d);
        let text = |text: &str| AnyValue { value: Some(Value::StringValue(text.to_owned())) };
        let array = |values| AnyValue { value: Some(Value::ArrayValue(ArrayValue { values })) };
        let attribute = |key: &str, value| KeyValue { key: key.to_owned(), value: Some(value) };
        let whole = |number| AnyValue { value: Some(Value::IntValue(number)) };
        let expected = LogRecord {
            time_unix_nano: 1_763_719_200_250_000_001,
            observed_time_unix_nano: 1_763_719_200_250_000_001,
            severity_number: 13,
            severity_text: "WARN".to_owned(),
            body: Some(text(&long)),
            attributes: vec![
                attribute("a", text("b")),
                attribute(&long, text(&long)),
                attribute("n", whole(i64::MAX)),
                attribute("zero", whole(0)),
                attribute("l", array(vec![text("p"), text(&long)])),
                attribute("none", array(Vec::new())),
            ],
            flags: 1,
            trace_id: (0xab_u128 << 100 | 7).to_be_bytes().to_vec(),
            span_id: 0xf00d_u64.to_be_bytes().to_vec(),
        };
        assert_eq!(LogRecord::decode(&*out), Ok(expected));
    }
}
