//! Signed requests, made by the package http-message-signatures: `tests/fixtures/signed.py`.

use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_sdk_test::{Answer, Gateway, Request, Ways};

use super::problem;
use crate::Auth;

static SIGNED: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../tests/fixtures/signed.json")).expect("the fixtures are JSON")
});

fn gateway(more: Value) -> Gateway<Auth> {
    let mut way = json!({ "keys": [{ "id": "client", "secret": SIGNED["secret"], "consumer": "shop" }] });
    if let (Some(way), Some(more)) = (way.as_object_mut(), more.as_object()) {
        way.extend(more.clone());
    }
    let config = json!({ "ways": [{ "hmac": way }], "headers": { "subject": "x-user" } });
    Gateway::with(&config.to_string(), Ways::plain()).expect("a correct configuration")
}

fn request(name: &str, change: impl Fn(&str, &str) -> String) -> Request {
    let signed = &SIGNED[name];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let method = text(&signed["method"]).expect("a method");
    let path = change("path", &text(&signed["path"]).expect("a path"));
    let mut request = Request::new(&method, &path).host("shop.example");
    for (header, value) in signed["headers"].as_object().expect("headers") {
        request = request.header(header, change(header, value.as_str().expect("a value")));
    }
    match text(&signed["body"]) {
        Some(body) => request.body(change("body", &body)),
        None => request,
    }
}

fn as_signed(_: &str, value: &str) -> String {
    value.to_owned()
}

fn said(answer: &Answer) -> (u16, &str) {
    (answer.status(), answer.details())
}

#[test]
fn signed_requests_pass_once() {
    let gateway = gateway(json!({ "body": true }));
    for name in ["usual", "no query", "everything", "body"] {
        let answer = gateway.send(request(name, as_signed));
        let seen = answer.upstream().unwrap_or_else(|| panic!("{name}: {}", answer.details()));
        assert_eq!((seen.header("x-user"), seen.header("signature")), (Some("shop"), None), "{name}");
        assert_eq!(seen.header("signature-input"), None);
        let again = gateway.send(request(name, as_signed));
        assert_eq!(said(&again), (401, "hmac_replayed"), "{name}");
    }
    gateway.advance(Duration::from_secs(299));
    assert_eq!(said(&gateway.send(request("usual", as_signed))), (401, "hmac_replayed"));
    gateway.advance(Duration::from_secs(2));
    assert_eq!(said(&gateway.send(request("usual", as_signed))), (401, "hmac_expired"));
}

#[test]
fn they_may_be_allowed_to_come_again() {
    let gateway = gateway(json!({ "once": false, "forward": true }));
    for _ in 0..2 {
        let answer = gateway.send(request("usual", as_signed));
        assert!(answer.upstream().is_some_and(|seen| seen.header("signature").is_some()));
    }
}

#[test]
fn what_is_not_as_it_was_signed_is_refused() {
    let gateway = gateway(json!({ "body": true }));
    for (name, word) in [
        ("few", "hmac_coverage"),
        ("another key", "hmac_key_unknown"),
        ("old", "hmac_expired"),
        ("early", "hmac_expired"),
        ("over", "hmac_expired"),
        ("body uncovered", "hmac_coverage"),
    ] {
        assert_eq!(said(&gateway.send(request(name, as_signed))), (401, word), "{name}");
    }
    let changes = [
        ("usual", "path", "/orders?x=2&y=%20", "hmac_signature"),
        ("usual", "path", "/orders?x=1&y=+", "hmac_signature"),
        ("everything", "date", "Tue, 14 Nov 2023 22:13:21 GMT", "hmac_signature"),
        ("everything", "date", "", "hmac_signature"),
        ("usual", "signature", "sig1=:AAAA:", "hmac_signature"),
        ("usual", "signature", "sig1=::", "hmac_signature"),
        ("usual", "signature", "sig2=:AAAA:", "hmac_malformed"),
        ("usual", "signature", "sig1=AAAA", "hmac_malformed"),
        ("usual", "signature-input", "sig1=()", "hmac_malformed"),
        ("body", "body", "same text", "hmac_body"),
        ("body", "content-digest", "sha-256=:AAAA:", "hmac_signature"),
    ];
    for (name, part, value, word) in changes {
        let changed = request(name, |what, is| if what == part { value.to_owned() } else { is.to_owned() });
        let answer = gateway.send(changed);
        assert_eq!(said(&answer), (401, word), "{name}: {part} {value}");
        assert!(answer.upstream().is_none());
    }
    let longer = request("usual", |what, is| match what {
        "signature-input" => is.replace("\"@method\" ", ""),
        _ => is.to_owned(),
    });
    assert_eq!(said(&gateway.send(longer)), (401, "hmac_coverage"));
    let bare = gateway.send(Request::new("GET", "/"));
    assert_eq!(said(&bare), (401, "auth_missing"));
    assert_eq!(bare.header("www-authenticate"), Some("Signature covers=\"@method @authority @path @query\""));
}

#[test]
fn a_body_that_is_too_large_is_not_held() {
    let gateway = gateway(json!({ "body": true, "maxBody": "4B" }));
    assert_eq!(said(&gateway.send(request("body", as_signed))), (413, "hmac_body_too_large"));
}

#[test]
fn a_wrong_configuration_names_its_key() {
    let config = |key: Value, more: Value| {
        let mut way = json!({ "keys": [key] });
        if let (Some(way), Some(more)) = (way.as_object_mut(), more.as_object()) {
            way.extend(more.clone());
        }
        json!({ "ways": [{ "hmac": way }] }).to_string()
    };
    let good = json!({ "id": "a", "secret": SIGNED["secret"] });
    let cases = [
        (
            config(json!({ "id": "a", "secret": "short" }), json!({})),
            "keys[0].secret: has 5 bytes; 32 are needed",
        ),
        (
            config(good.clone(), json!({ "covers": ["Date"] })),
            "covers: \"Date\" is neither a header's name in lower case nor one of the @ names",
        ),
        (config(good, json!({ "window": "0s" })), "window: must be longer than nothing"),
    ];
    for (config, expected) in cases {
        assert_eq!(problem(&config), format!("config.ways[0].hmac.{expected}"));
    }
}
