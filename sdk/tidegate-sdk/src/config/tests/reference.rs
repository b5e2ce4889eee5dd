//! What is read, and what is refused, is what serde_json reads and refuses: odd texts by hand, and a text that has everything,
//! cut off at each byte and with each byte replaced.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::read;

/// Both read the same, or both refuse. `Debug`, since it tells `-0.0` from `0.0`.
fn compare<C: DeserializeOwned + Debug + 'static>(json: &[u8]) -> bool {
    let (own, reference) = (read::<C>(json), serde_json::from_slice::<C>(json));
    let text = String::from_utf8_lossy(json);
    match (&own, &reference) {
        (Ok(own), Ok(reference)) => {
            let (own, reference) = (format!("{own:?}"), format!("{reference:?}"));
            assert!(same(&own, &reference), "{own}, but {reference} of {text}");
        }
        (Err(_), Err(_)) => {}
        _ => panic!("{own:?}, but {reference:?} of {text}"),
    }
    own.is_ok()
}

/// The same but for the last bits of floating point, which serde_json does not have right.
fn same(own: &str, reference: &str) -> bool {
    let parts = |text: &str| text.split(['(', ')', ' ', ',']).map(str::to_owned).collect::<Vec<_>>();
    let (own, reference) = (parts(own), parts(reference));
    let close = |a: f64, b: f64| (a - b).abs() <= a.abs() * 1e-15;
    own.len() == reference.len()
        && own.iter().zip(&reference).all(|(a, b)| match (a == b, a.parse(), b.parse()) {
            (false, Ok(a), Ok(b)) => close(a, b),
            (same, _, _) => same,
        })
}

#[test]
fn odd_values_are_what_they_are_for_serde_json() {
    let right = [
        "null",
        "true",
        " false ",
        "0",
        "-0",
        "-0.0",
        "1",
        "-1",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775808",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "1.5",
        "-1.5e3",
        "1E5",
        "1e+2",
        "1e-400",
        "0e0",
        "0.10",
        "1.7976931348623157e308",
        "5e-324",
        "\"\"",
        "\"plain\"",
        "\"\u{7f}\"",
        "\"ünï \u{1f30a}\"",
        r#""\"\\\/\b\f\n\r\t""#,
        r#""\u0041\u00e9""#,
        r#""\uD83C\udf0a""#,
        r#""a\ud83c\udf0ab""#,
        r#""\u0000""#,
        r#""\uFFFF""#,
        r#""\ue000""#,
        "[]",
        "[ ]",
        "[1]",
        "[1 , 2]",
        "[[],[[]]]",
        "{ }",
        r#"{"a":1}"#,
        r#"{"":{}}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"a":[{"b":null}]}"#,
        "\t\r\n1\n",
        "{\"a\"\n:\t[ 1\r]}",
    ];
    for json in right {
        assert!(compare::<Value>(json.as_bytes()), "{json} is refused");
    }
    let wrong: [&[u8]; 72] = [
        b"nul",
        b"nulL",
        b"nullx",
        b"True",
        b"tru",
        b"falsey",
        b"-",
        b"+1",
        b"01",
        b"-01",
        b"00",
        b"1.",
        b".5",
        b"1.e1",
        b"1e",
        b"1e+",
        b"0x1",
        b"1_0",
        b"--1",
        b"1e400",
        b"-1e999",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"\"",
        b"\"a",
        b"\"\\\"",
        b"\"\\x41\"",
        b"\"\\u\"",
        b"\"\\u12\"",
        b"\"\\u123g\"",
        b"\"\\u+123\"",
        b"\"\\ud83c\"",
        b"\"\\ud83cx\"",
        b"\"\\ud83c\\n\"",
        b"\"\\ud83c\\u0041\"",
        b"\"\\ud83c\\ud83c\"",
        b"\"\\udf0a\"",
        b"\"\x00\"",
        b"\"\n\"",
        b"\"\x1f\"",
        b"\"\xff\"",
        b"\"\xc3\"",
        b"\"\xed\xa0\x80\"",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"'a'",
        b"a",
        b"[",
        b"[1",
        b"[1,",
        b"[1,]",
        b"[,1]",
        b"[1 2]",
        b"[1,,2]",
        b"]",
        b"[}",
        b"{ ",
        b"{\"a\"",
        b"{\"a\":",
        b"{\"a\":1",
        b"{\"a\":1,",
        b"{\"a\":1,}",
        b"{,}",
        b"{a:1}",
        b"{1:1}",
        b"{\"a\" 1}",
        b"{\"a\":1 \"b\":2}",
        b"{\"a\":}",
        b"{} {}",
        b"[1]]",
        b"1 // why",
    ];
    for json in wrong {
        assert!(!compare::<Value>(json), "{} is read", json.escape_ascii());
    }
}

#[test]
fn there_is_an_end_to_depth() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    assert!(compare::<Value>(nested(127).as_bytes()));
    for depth in [128, 129, 1000, 100_000] {
        assert!(!compare::<Value>(nested(depth).as_bytes()), "{depth}");
        let unknown = format!("{{\"unknown\": {}}}", nested(depth));
        assert!(read::<Loose>(unknown.as_bytes()).is_err(), "{depth}");
    }
    // Lists beside one another are not in one another.
    assert!(compare::<Value>(format!("[{}[]]", "[],".repeat(1000)).as_bytes()));
}

#[derive(Debug, Deserialize)]
struct Loose {}

#[test]
fn whatever_breaks_a_text_breaks_it_for_both() {
    assert!(compare::<Everything>(EVERYTHING.as_bytes()));
    assert!(compare::<Value>(EVERYTHING.as_bytes()));
    let mut read = 0;
    for at in 1..EVERYTHING.len() {
        let text = EVERYTHING.as_bytes();
        compare::<Everything>(&text[..at]);
        compare::<Everything>(&[&text[..at], &text[at + 1..]].concat());
        for byte in *b"\"\\{}],:-05e \xff" {
            let mut text = text.to_vec();
            text[at] = byte;
            read += u32::from(compare::<Everything>(&text));
        }
    }
    assert!(read > 500, "only {read} of the broken ones are whole");
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "its fields are read by Debug")]
struct Everything {
    text: String,
    letter: char,
    flag: bool,
    small: u8,
    signed: i32,
    large: u64,
    wide: i128,
    huge: u128,
    real: f64,
    short: f32,
    maybe: Option<i64>,
    nothing: Option<u8>,
    unit: (),
    list: Vec<i64>,
    pair: (u8, String),
    words: BTreeMap<String, Value>,
    numbers: BTreeMap<u16, bool>,
    flags: BTreeMap<bool, Kind>,
    kinds: Vec<Choice>,
    wrapped: Wrapped,
    tagged: Vec<Tagged>,
    untagged: Vec<Untagged>,
    flat: Flat,
    #[serde(default)]
    left_out: Option<String>,
    boxed: Box<str>,
}

#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
enum Kind {
    One,
    Two,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "its fields are read by Debug")]
enum Choice {
    Unit,
    Newtype(u8),
    Tuple(u8, bool),
    Struct { at: u8 },
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "its field is read by Debug")]
struct Wrapped(u16);

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
#[expect(dead_code, reason = "its fields are read by Debug")]
enum Tagged {
    First { name: String },
    Second { size: f64 },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "its fields are read by Debug")]
enum Untagged {
    Number(i64),
    Text(String),
    Object { key: Vec<u8> },
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "its fields are read by Debug")]
struct Flat {
    own: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// Keys of every type that serde_json reads from one, and enums in one another.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "its fields are read by Debug")]
struct Odd {
    signed: BTreeMap<i8, u8>,
    wide: BTreeMap<i128, u8>,
    huge: BTreeMap<u128, u8>,
    real: BTreeMap<Real, u8>,
    letters: BTreeMap<char, u8>,
    optional: BTreeMap<Option<String>, u8>,
    wrapped: BTreeMap<Name, Option<Option<u8>>>,
    bytes: BTreeMap<Bytes, Bytes>,
    borrowed: Borrowed,
    adjacent: Vec<Adjacent>,
    inner: Vec<Inner>,
    tuple: (i8, Real, Same),
    array: [u8; 2],
    none: [u8; 0],
}

#[derive(Debug, Deserialize)]
struct Real(f64);

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Real {}

impl PartialOrd for Real {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Real {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[derive(Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Name(String);

#[derive(Debug, Deserialize)]
struct Same;

/// What a type of bytes asks for.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_byte_buf(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> serde::de::Visitor<'de> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes(bytes.to_vec()))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Bytes, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = list.next_element()? {
            bytes.push(byte);
        }
        Ok(Bytes(bytes))
    }
}

/// A type that borrows what it reads for a while.
#[derive(Debug)]
#[expect(dead_code, reason = "its field is read by Debug")]
struct Borrowed(Vec<String>);

impl<'de> Deserialize<'de> for Borrowed {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<&str, &str>::deserialize(from)?;
        Ok(Borrowed(map.into_iter().map(|(key, value)| format!("{key}{value}")).collect()))
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", content = "with", rename_all = "camelCase")]
#[expect(dead_code, reason = "its fields are read by Debug")]
enum Adjacent {
    Nothing,
    One(Choice),
    Two(u8, Untagged),
    Named { tagged: Tagged },
}

#[derive(Debug, Deserialize)]
#[serde(tag = "is")]
#[expect(dead_code, reason = "its fields are read by Debug")]
enum Inner {
    Empty,
    Flat(Flat),
    Nested {
        choice: Choice,
        #[serde(flatten)]
        tagged: Tagged,
    },
    #[serde(other)]
    Other,
}

#[test]
fn keys_of_all_types_and_enums_in_enums_are_read_the_same() {
    for json in [
        r#"{"1":1}"#,
        r#"{"1.5":1}"#,
        r#"{"-0":1}"#,
        r#"{"1e400":1}"#,
        r#"{"1e2":1}"#,
        r#"{"":1}"#,
        r#"{" 1":1}"#,
        r#"{"1 ":1}"#,
        r#"{"01":1}"#,
        r#"{"18446744073709551616":1}"#,
        r#"{"-170141183460469231731687303715884105729":1}"#,
        r#"{"true":1}"#,
        r#"{"null":1}"#,
        r#"{"\"":1}"#,
    ] {
        compare::<BTreeMap<u64, u8>>(json.as_bytes());
        compare::<BTreeMap<i64, u8>>(json.as_bytes());
        compare::<BTreeMap<u128, u8>>(json.as_bytes());
        compare::<BTreeMap<i128, u8>>(json.as_bytes());
        compare::<BTreeMap<Real, u8>>(json.as_bytes());
        compare::<BTreeMap<bool, u8>>(json.as_bytes());
        compare::<BTreeMap<char, u8>>(json.as_bytes());
        compare::<BTreeMap<Option<Name>, u8>>(json.as_bytes());
    }
    assert!(compare::<Odd>(ODD.as_bytes()));
    for at in 1..ODD.len() {
        let text = ODD.as_bytes();
        compare::<Odd>(&[&text[..at], &text[at + 1..]].concat());
        for byte in *b"\"}-0" {
            let mut text = text.to_vec();
            text[at] = byte;
            compare::<Odd>(&text);
        }
    }
}

const ODD: &str = r#"{
  "signed": {"-128": 1, "127": 2}, "wide": {"-9223372036854775809": 1}, "huge": {"18446744073709551616": 1, "7": 2},
  "real": {"1.5": 1, "-2": 2}, "letters": {"ü": 1}, "optional": {"a": 1}, "wrapped": {"n": null, "m": 3},
  "bytes": {"key": [1, 2], "b": "text"}, "borrowed": {"k": "v"},
  "adjacent": [{"kind": "nothing"}, {"with": {"Newtype": 5}, "kind": "one"}, {"kind": "two", "with": [1, "x"]},
    {"kind": "named", "with": {"tagged": {"type": "first", "name": "n"}}}],
  "inner": [{"is": "Empty"}, {"own": 3, "is": "Flat", "more": [1.5]}, {"is": "Nested", "choice": {"Tuple": [1, false]},
    "type": "second", "size": 2}, {"is": "New"}],
  "tuple": [-1, 2.5, null], "array": [1, 2], "none": []
}"#;

const EVERYTHING: &str = r#"{
  "text": "a\u00e9\n", "letter": "ü", "flag": true, "small": 200, "signed": -7, "large": 18446744073709551615,
  "wide": -170141183460469231731687303715884105728, "huge": 340282366920938463463374607431768211455,
  "real": 1.5e3, "short": 2, "maybe": -3, "nothing": null, "unit": null, "list": [1, -2, 3], "pair": [1, "b"],
  "words": { "a": [1.25, { "b": false }], "c\"": "\ud83c\udf0a" }, "numbers": { "1": true, "65535": false },
  "flags": { "true": "one", "false": "two" },
  "kinds": ["Unit", { "Newtype": 5 }, { "Tuple": [1, true] }, { "Struct": { "at": 9 } }, { "Unit": null }],
  "wrapped": 12, "tagged": [{ "type": "first", "name": "n" }, { "size": 0.5, "type": "second" }],
  "untagged": [1, "two", { "key": [3] }], "flat": { "own": 1, "more": 2, "other": [] }, "boxed": "x"
}"#;
