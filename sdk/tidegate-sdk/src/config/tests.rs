//! A configuration is read as serde_json reads it, with the path of what is wrong, and never with a value.

mod reference;

use std::collections::HashMap;

use super::*;
use crate::units::Span;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    keys: Vec<String>,
}

fn error(json: &str) -> String {
    read::<Config>(json.as_bytes()).expect_err("a wrong configuration").to_string()
}

#[test]
fn an_error_names_the_key_but_not_the_value() {
    let cases = [
        (r#"{ "keys": ["a", 51] }"#, "config.keys[1]: invalid type: integer, expected a string"),
        (r#"{ "keys": "se, expected \"cret" }"#, "config.keys: invalid type: string, expected a sequence"),
        (r#"{ "kees": [] }"#, "config.kees: unknown field `kees`, expected `keys`"),
        ("5", "config: invalid type: integer, expected struct Config"),
        ("{", "config: not valid JSON: EOF while parsing an object at line 1 column 1"),
        ("{} x", "config: not valid JSON: trailing characters at line 1 column 4"),
    ];
    for (json, expected) in cases {
        assert_eq!(error(json), expected, "for {json}");
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "nothing of it is read; what counts is what is wrong with it")]
struct Nested {
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    by_name: HashMap<String, Rule>,
    #[serde(default)]
    by_number: HashMap<u8, bool>,
    #[serde(default)]
    patience: Option<Span>,
    #[serde(default)]
    pair: Option<(u8, u8)>,
    #[serde(default)]
    untagged: Option<Untagged>,
    #[serde(default)]
    passed_on: Option<PassedOn>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "nothing of it is read")]
struct Rule {
    path: String,
    #[serde(default)]
    limit: Option<u8>,
    #[serde(default)]
    then: Option<Then>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "nothing of it is read")]
enum Then {
    Pass,
    Answer { status: u16 },
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "nothing of it is read")]
enum Untagged {
    Number(u8),
    Texts(Vec<String>),
}

/// A type that says itself what another reader has said.
#[derive(Debug)]
struct PassedOn;

impl<'de> Deserialize<'de> for PassedOn {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let read: Result<u8, _> = serde_json::from_str(&text);
        read.map(|_| PassedOn).map_err(serde::de::Error::custom)
    }
}

#[test]
fn a_problem_has_the_path_of_its_place() {
    let cases = [
        (
            r#"{"rules": [{"path": "/"}, {"path": 5}]}"#,
            "config.rules[1].path: invalid type: integer, expected a string",
        ),
        (r#"{"rules": [{}]}"#, "config.rules[0]: missing field `path`"),
        (r#"{"rules": [{"path": "", "path": ""}]}"#, "config.rules[0]: duplicate field `path`"),
        (
            r#"{"rules": [{"path": "", "limit": 256}]}"#,
            "config.rules[0].limit: invalid value: integer, expected u8",
        ),
        (
            r#"{"rules": [{"path": "", "limit": 1.0}]}"#,
            "config.rules[0].limit: invalid type: floating point, expected u8",
        ),
        (
            r#"{"rules": [{"path": "", "then": "stop"}]}"#,
            "config.rules[0].then: unknown variant `stop`, expected `pass` or `answer`",
        ),
        (
            r#"{"rules": [{"path": "", "then": {"answer": {"status": true}}}]}"#,
            "config.rules[0].then.answer.status: invalid type: boolean, expected u16",
        ),
        (
            r#"{"rules": [{"path": "", "then": {"answer": {"status": 1}, "pass": null}}]}"#,
            "config.rules[0].then: invalid value: map, expected map with a single key",
        ),
        (
            r#"{"rules": [{"path": "", "then": {}}]}"#,
            "config.rules[0].then: invalid value: map, expected map with a single key",
        ),
        (r#"{"rules": [["/"]]}"#, "config.rules[0]: invalid type: sequence, expected struct Rule"),
        (r#"{"rules": {}}"#, "config.rules: invalid type: map, expected a sequence"),
        (
            r#"{"byName": {"a b.c": {"path": null}}}"#,
            "config.byName.a b.c.path: invalid type: null, expected a string",
        ),
        (r#"{"byNumber": {"300": true}}"#, "config.byNumber.300: invalid value: integer, expected u8"),
        (r#"{"byNumber": {"x": true}}"#, "config.byNumber.x: invalid type: string, expected u8"),
        (
            r#"{"patience": "secret"}"#,
            "config.patience: invalid value: string, expected a span of time as 20ms, 5s, 1m30s or 1h, at most 8760h",
        ),
        (r#"{"pair": [1]}"#, "config.pair: invalid length 1, expected a tuple of size 2"),
        (r#"{"pair": [1, 2, 3]}"#, "config.pair: expected no more than 2 elements"),
        (
            r#"{"untagged": true}"#,
            "config.untagged: data did not match any variant of untagged enum Untagged",
        ),
        (
            r#"{"passedOn": "\"se cret\""}"#,
            "config.passedOn: invalid type: string, expected u8 at line 1 column 9",
        ),
        ("[]", "config: invalid type: sequence, expected struct Nested"),
        (
            r#"{"rules": [{"path": }]}"#,
            "config.rules[0].path: not valid JSON: expected value at line 1 column 21",
        ),
        ("{\n \"rules\":\n  [1x]}", "config.rules[0]: invalid type: integer, expected struct Rule"),
        ("{\n \"rules\":\n  [,]}", "config.rules[0]: not valid JSON: expected value at line 3 column 4"),
        ("{\"rules\": []\n", "config: not valid JSON: EOF while parsing an object at line 2 column 0"),
        (r#"{"pair": tru}"#, "config.pair: not valid JSON: expected ident at line 1 column 13"),
    ];
    for (json, expected) in cases {
        let error = read::<Nested>(json.as_bytes()).expect_err("a wrong configuration");
        assert_eq!(error.to_string(), expected, "for {json}");
    }
    let error = read::<Vec<u8>>(b"[1, -1]").expect_err("a wrong configuration");
    assert_eq!(error.to_string(), "config[1]: invalid value: integer, expected u8");
    for name in ["?", ".", "a"] {
        let json = format!("{{\"{name}\": true}}");
        let error = read::<HashMap<String, u8>>(json.as_bytes()).expect_err("a wrong configuration");
        assert_eq!(error.to_string(), format!("config.{name}: invalid type: boolean, expected u8"));
    }
}

#[test]
fn a_filter_without_configuration_refuses_every_key() {
    let cases = [
        (r#"{ "key": 5 }"#, "config.key: the filter has no configuration"),
        (r#"{ "k\"y": 5 }"#, "config: the filter has none, so it must be empty or {}"),
        ("{ x }", "config: the filter has none, so it must be empty or {}"),
        ("{ \"x", "config: the filter has none, so it must be empty or {}"),
        ("5", "config: the filter has none, so it must be empty or {}"),
    ];
    for (json, expected) in cases {
        let error = read::<NoConfig>(json.as_bytes()).expect_err("a wrong configuration");
        assert_eq!(error.to_string(), expected, "for {json}");
    }
}

#[test]
fn no_configuration_is_an_empty_one() {
    for json in ["", " \n", "{}"] {
        assert_eq!(read::<Config>(json.as_bytes()), Ok(Config { keys: Vec::new() }), "for {json:?}");
    }
    for json in ["", " {} ", "{\n}"] {
        assert!(read::<NoConfig>(json.as_bytes()).is_ok(), "for {json:?}");
    }
    for json in ["", " {} "] {
        assert_eq!(read::<()>(json.as_bytes()), Ok(()), "for {json:?}");
    }
    assert!(read::<()>(b"{\"a\": 1}").is_err());
}
