//! The filter's behaviour and its configuration's errors, natively.

use tidegate_sdk_test::{Gateway, get};

use crate::ApiKey;

fn gateway(config: &str) -> Gateway<ApiKey> {
    Gateway::start(config).expect("a correct configuration")
}

const TWO_KEYS: &str =
    r#"{ "keys": ["alpha", { "key": "beta", "consumer": "billing" }], "consumerHeader": "X-Consumer" }"#;

#[test]
fn a_request_without_a_key_is_refused() {
    let answer = gateway(TWO_KEYS).send(get("/orders"));
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.header("www-authenticate"), Some("ApiKey header=\"x-api-key\""));
    assert_eq!(answer.metric("api_key_refused_total"), 1);
    assert!(answer.upstream().is_none());
}

#[test]
fn only_a_whole_known_key_passes() {
    let cases: [(&[u8], bool); 8] = [
        (b"alpha", true),
        (b"beta", true),
        (b" alpha ", true),
        (b"alph", false),
        (b"alphabet", false),
        (b"Alpha", false),
        (b"", false),
        (b"\xff\xfe", false),
    ];
    for (key, passes) in cases {
        let answer = gateway(TWO_KEYS).send(get("/").header("X-Api-Key", key));
        assert_eq!(answer.upstream().is_some(), passes, "{key:?}");
        assert_eq!(answer.status(), if passes { 200 } else { 401 }, "{key:?}");
    }
}

#[test]
fn the_upstream_never_sees_the_key() {
    let request = get("/").header("x-api-key", "alpha").header("x-api-key", "second");
    let answer = gateway(TWO_KEYS).send(request);
    assert!(answer.upstream().is_some());
    assert_eq!(answer.upstream().and_then(|seen| seen.header("x-api-key")), None);
}

#[test]
fn the_consumer_is_told_and_cannot_be_forged() {
    let gateway = gateway(TWO_KEYS);
    let known = gateway.send(get("/").header("x-api-key", "beta").header("x-consumer", "admin"));
    assert_eq!(known.upstream().and_then(|seen| seen.header("x-consumer")), Some("billing"));
    let unnamed = gateway.send(get("/").header("x-api-key", "alpha").header("x-consumer", "admin"));
    assert!(unnamed.upstream().is_some());
    assert_eq!(unnamed.upstream().and_then(|seen| seen.header("x-consumer")), None);
}

#[test]
fn a_string_of_several_lines_is_several_keys() {
    let gateway = gateway(r#"{ "keys": ["one\r\n\n  two\n", { "key": "three\n", "consumer": "c" }] }"#);
    for key in ["one", "two", "three"] {
        assert_eq!(gateway.send(get("/").header("x-api-key", key)).status(), 200, "{key}");
    }
    assert_eq!(gateway.send(get("/").header("x-api-key", "one two")).status(), 401);
}

#[test]
fn the_authorization_header_may_name_a_scheme() {
    let gateway = gateway(r#"{ "header": "Authorization", "keys": ["alpha"] }"#);
    for value in ["alpha", "Bearer alpha", "bearer  alpha", "ApiKey alpha"] {
        let answer = gateway.send(get("/").header("authorization", value));
        assert_eq!(answer.status(), 200, "{value}");
        assert_eq!(answer.upstream().and_then(|seen| seen.header("authorization")), None);
    }
    for value in ["Basic alpha", "Bearer", "Bearer beta"] {
        let answer = gateway.send(get("/").header("authorization", value));
        assert_eq!(answer.status(), 401, "{value}");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_the_key_that_is_wrong() {
    let cases = [
        ("", "config: missing field `keys`"),
        (r#"{ "keys": [] }"#, "config.keys: no key is listed, so every request would be refused"),
        (r#"{ "keys": ["\n"] }"#, "config.keys: no key is listed, so every request would be refused"),
        (r#"{ "keys": "secret" }"#, "config.keys: invalid type: string, expected a list of keys"),
        (
            r#"{ "keys": ["a", 5] }"#,
            "config.keys[1]: invalid type: integer, expected a key as a string, or { key, consumer }",
        ),
        (r#"{ "keys": ["a", "b", "a"] }"#, "config.keys: entry 2 repeats a key of an earlier one"),
        (
            r#"{ "keys": [{ "kex": "a" }] }"#,
            "config.keys[0]: unknown field `kex`, expected `key` or `consumer`",
        ),
        (r#"{ "keys": [{ "consumer": "a" }] }"#, "config.keys[0]: missing field `key`"),
        (
            r#"{ "keys": [{ "key": "a", "consumer": "a\nb" }] }"#,
            "config.keys[0]: consumer: is empty or has a control character in it",
        ),
        (
            r#"{ "keys": ["a"], "header": "x key" }"#,
            "config.header: \"x key\" is not a header name, as \"x-user\" is",
        ),
        (
            r#"{ "keys": ["a"], "consumerHeader": "X-API-Key" }"#,
            "config: consumerHeader: \"x-api-key\" is the header of the key; it must be another one",
        ),
        (
            r#"{ "keys": ["a"], "heeder": "b" }"#,
            "config.heeder: unknown field `heeder`, expected one of `header`, `keys`, `consumerHeader`",
        ),
    ];
    for (config, expected) in cases {
        let error = Gateway::<ApiKey>::start(config).expect_err("a wrong configuration");
        assert_eq!(error.to_string(), expected, "for {config}");
    }
}

#[test]
fn the_reference_page_is_current() {
    let page = tidegate_sdk_test::reference::page("api-key", crate::schema().as_value());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/filters/reference/api-key.md");
    tidegate_sdk_test::reference::assert_current(path, &page);
}
