//! JSON web tokens, made by PyJWT and by hand: `tests/fixtures/make.py`.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_sdk_test::{Answer, Gateway, Reply, Ways, get};

use super::{gateway, problem};
use crate::Auth;

pub(super) static TOKENS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../tests/fixtures/tokens.json")).expect("the fixtures are JSON")
});

pub(super) fn text(path: &str) -> &'static str {
    TOKENS.pointer(path).and_then(Value::as_str).expect("the fixtures have it")
}

fn members(name: &str) -> impl Iterator<Item = (&'static String, &'static Value)> {
    TOKENS.get(name).and_then(Value::as_object).expect("the fixtures have it").iter()
}

/// A configuration of one issuer, with more in it.
fn config(issuer: Value, jwt: Value) -> String {
    let mut whole = json!({
        "issuer": "https://issuer.example",
        "audiences": ["shop"],
        "keys": { "jwks": TOKENS["jwks"].to_string() },
    });
    merge(&mut whole, issuer);
    let mut way = json!({ "issuers": [whole] });
    merge(&mut way, jwt);
    let headers = json!({ "subject": "x-subject", "groups": "x-groups", "scopes": "x-scopes",
        "claims": { "x-tenant": "org.tenant", "x-level": "org.level", "x-org": "org",
            "x-role": "https://issuer.example/role", "x-none": "org.none" } });
    json!({ "ways": [{ "jwt": way }], "headers": headers }).to_string()
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

fn plain(issuer: Value, jwt: Value) -> Gateway<Auth> {
    Gateway::with(&config(issuer, jwt), Ways::plain()).expect("a correct configuration")
}

fn send(gateway: &Gateway<Auth>, token: &str) -> Answer {
    gateway.send(get("/").header("authorization", format!("Bearer {token}")))
}

#[test]
fn tokens_of_every_algorithm_pass_and_tell_their_claims() {
    let gateway = gateway(&config(json!({}), json!({})));
    for (name, token) in members("good") {
        let token = token.as_str().expect("a token");
        for again in [false, true] {
            let answer = send(&gateway, token);
            let seen = answer.upstream().unwrap_or_else(|| panic!("{name} {again}: {}", answer.details()));
            let told = ["x-subject", "x-groups", "x-tenant", "x-level", "x-role", "x-none"];
            assert_eq!(
                told.map(|header| seen.header(header)),
                [Some("alice"), Some("staff,ops"), Some("acme"), Some("3"), Some("admin"), None],
                "{name}"
            );
            let org = seen.header("x-org").map(serde_json::from_str::<Value>);
            assert_eq!(org.and_then(Result::ok), Some(json!({ "level": 3, "tenant": "acme" })));
            assert_eq!(seen.header("x-scopes"), Some("orders:read orders:write"));
            assert_eq!(seen.header("authorization"), None);
        }
    }
}

#[test]
fn hostile_tokens_are_refused_with_their_reason() {
    let usual = plain(json!({}), json!({}));
    let secrets = plain(json!({ "algorithms": ["HS256", "RS256"] }), json!({}));
    for (name, case) in members("hostile") {
        let token = case["token"].as_str().expect("a token");
        let gateway = if name.ends_with("accepted") { &secrets } else { &usual };
        for _ in 0..2 {
            let answer = send(gateway, token);
            let status = if answer.details() == "jwt_keys_unavailable" { 503 } else { 401 };
            assert_eq!(
                (answer.status(), Some(answer.details())),
                (status, case["reason"].as_str()),
                "{name}"
            );
            assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""), "{name}");
            assert!(answer.upstream().is_none(), "{name}");
        }
    }
    assert_eq!(send(&usual, text("/small")).details(), "jwt_key_unknown");
}

#[test]
fn any_change_of_a_byte_is_noticed() {
    let gateway = plain(json!({}), json!({}));
    for name in ["ES256", "RS256", "EdDSA"] {
        let token = text(&format!("/good/{name}"));
        for at in (0..token.len()).step_by(7) {
            let mut bytes = token.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("it is ASCII");
            assert_eq!(send(&gateway, &changed).status(), 401, "{name} at {at}");
        }
    }
}

#[test]
fn secrets_are_for_those_who_list_them() {
    let keys = json!({ "secret": text("/secret") });
    for (name, token) in members("secrets") {
        let token = token.as_str().expect("a token");
        let gateway = plain(json!({ "keys": keys, "algorithms": [name] }), json!({}));
        assert_eq!(send(&gateway, token).status(), 200, "{name}");
        let (text, signature) = token.rsplit_once('.').expect("it has parts");
        let other = if signature.starts_with('A') { "B" } else { "A" };
        let changed = format!("{text}.{other}{}", signature.get(1..).expect("it is longer"));
        assert_eq!(send(&gateway, &changed).details(), "jwt_signature", "{name}");
        let other = plain(json!({}), json!({}));
        assert_eq!(send(&other, token).details(), "jwt_algorithm", "{name}");
    }
}

#[test]
fn time_is_looked_at_again_for_remembered_tokens() {
    let gateway = plain(json!({ "clockSkew": "10s" }), json!({}));
    let token = text("/short");
    let (mut at, mut seen) = (0, Vec::new());
    for second in [30, 41, 60, 109, 111] {
        gateway.advance(Duration::from_secs(second - at));
        at = second;
        let answer = send(&gateway, token);
        seen.push((second, answer.details().to_owned()));
    }
    let expected = [(30, "jwt_not_yet_valid"), (41, ""), (60, ""), (109, ""), (111, "jwt_expired")];
    assert_eq!(seen, expected.map(|(second, word)| (second, word.to_owned())));
}

#[test]
fn claims_and_scopes_may_be_demanded() {
    let token = text("/good/ES256");
    for (issuer, status, word) in [
        (json!({ "scopes": ["orders:read"] }), 200, ""),
        (json!({ "scopes": ["orders:read", "admin"] }), 403, "jwt_scopes"),
        (
            json!({ "require": { "email_verified": ["true"], "groups": ["ops", "x"], "org.tenant": [] } }),
            200,
            "",
        ),
        (json!({ "require": { "org.tenant": ["other"] } }), 403, "jwt_claims"),
        (json!({ "require": { "org.owner": [] } }), 403, "jwt_claims"),
        (json!({ "type": "application/JWT" }), 200, ""),
        (json!({ "type": "at+jwt" }), 401, "jwt_type"),
        (json!({ "audiences": [] }), 200, ""),
        (json!({ "algorithms": ["RS256", "EdDSA"] }), 401, "jwt_algorithm"),
    ] {
        let answer = send(&plain(issuer.clone(), json!({})), token);
        assert_eq!((answer.status(), answer.details()), (status, word), "{issuer}");
    }
    let answer = send(&plain(json!({ "scopes": ["admin"] }), json!({})), token);
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Bearer error=\"insufficient_scope\", scope=\"admin\"")
    );
}

#[test]
fn tokens_are_found_elsewhere_and_their_claims_handed_on() {
    let places = json!({ "in": [{ "header": "X-Token" }, { "query": "token" }, { "cookie": "t" }],
        "payloadHeader": "X-Claims", "forward": false });
    let gateway = gateway(&config(json!({}), places));
    let token = text("/good/EdDSA");
    for request in [
        get("/a?b=1").header("x-token", token),
        get("/a?b=1").header("x-token", format!("Bearer {token}")),
        get(&format!("/a?b=1&token={token}")),
        get("/a?b=1").header("cookie", format!("t={token}")),
    ] {
        let answer = gateway.send(request.header("x-claims", "forged"));
        let seen = answer.upstream().expect("it passes");
        assert_eq!(seen.header("x-claims"), token.split('.').nth(1));
        assert_eq!((seen.path(), seen.header("x-token"), seen.header("cookie")), ("/a?b=1", None, None));
    }
    let nothing = gateway
        .send(get("/").header("authorization", format!("Bearer {token}")).header("x-subject", "admin"));
    assert_eq!((nothing.status(), nothing.details()), (401, "auth_missing"));
}

fn remote() -> Value {
    json!({ "keys": { "remote": { "upstream": "idp", "path": "/keys", "refresh": "10m", "cooldown": "30s" } } })
}

#[test]
fn published_keys_are_fetched_and_fetched_again_for_new_ones() {
    let gateway = gateway(&config(remote(), json!({})));
    gateway.on_call("idp", |call| match call.path() {
        "/keys" => Reply::new(200).body(TOKENS["jwks"].to_string()),
        _ => Reply::new(404),
    });
    gateway.advance(Duration::from_secs(60));
    assert_eq!(send(&gateway, text("/good/RS256")).status(), 200);
    gateway.on_call("idp", |_| Reply::new(200).body(TOKENS["next"].to_string()));
    gateway.advance(Duration::from_secs(60));
    assert_eq!(send(&gateway, text("/next token")).status(), 200);
    // Keys that are gone are no longer believed, remembered or not.
    assert_eq!(send(&gateway, text("/good/RS256")).details(), "jwt_key_unknown");
}

#[test]
fn unknown_keys_do_not_make_more_fetches_than_allowed() {
    let gateway = plain(remote(), json!({}));
    gateway.on_call("idp", |_| Reply::new(200).body(TOKENS["jwks"].to_string()));
    gateway.advance(Duration::from_secs(60));
    assert_eq!(send(&gateway, text("/good/RS256")).status(), 200);
    let before = gateway.metric(r#"auth_jwks_fetches_total{issuer="https://issuer.example",outcome="ok"}"#);
    for _ in 0..20 {
        gateway.advance(Duration::from_secs(3));
        assert_eq!(send(&gateway, text("/next token")).details(), "jwt_key_unknown");
    }
    let after = gateway.metric(r#"auth_jwks_fetches_total{issuer="https://issuer.example",outcome="ok"}"#);
    assert!((1..=3).contains(&(after - before)), "{before} {after}");
}

#[test]
fn the_last_good_keys_go_on_when_the_issuer_is_away() {
    static UP: AtomicBool = AtomicBool::new(false);
    let gateway = plain(remote(), json!({}));
    gateway.on_call("idp", |_| match UP.load(Ordering::SeqCst) {
        true => Reply::new(200).body(TOKENS["jwks"].to_string()),
        false => Reply::new(503).body("{\"keys\":[]}"),
    });
    gateway.advance(Duration::from_secs(5));
    let early = send(&gateway, text("/good/ES256"));
    assert_eq!((early.status(), early.details()), (503, "jwt_keys_unavailable"));
    UP.store(true, Ordering::SeqCst);
    gateway.advance(Duration::from_secs(60));
    assert_eq!(send(&gateway, text("/good/ES256")).status(), 200);
    UP.store(false, Ordering::SeqCst);
    gateway.advance(Duration::from_secs(3600));
    assert_eq!(send(&gateway, text("/good/ES256")).status(), 200);
    assert_eq!(send(&gateway, text("/good/RS256")).status(), 200);
    let failed =
        gateway.metric(r#"auth_jwks_fetches_total{issuer="https://issuer.example",outcome="failed"}"#);
    assert!(failed > 2, "{failed}");
}

#[test]
fn a_wrong_configuration_names_its_key() {
    let cases = [
        (
            config(json!({ "algorithms": ["none"] }), json!({})),
            "config.ways[0].jwt.issuers[0].algorithms[0]: unknown variant `none`, expected one of `RS256`, `RS384`, \
             `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `EdDSA`, `HS256`, `HS384`, `HS512`",
        ),
        (
            config(json!({ "keys": { "secret": "short" }, "algorithms": ["HS256"] }), json!({})),
            "config.ways[0].jwt.issuers[0].keys.secret: has 5 bytes; 32 are needed for these algorithms",
        ),
        (
            config(json!({ "keys": { "secret": text("/secret") } }), json!({})),
            "config.ways[0].jwt.issuers[0].algorithms: RS256 needs a public key, but `keys` has a secret; list HS256, \
             HS384 or HS512",
        ),
        (
            config(json!({ "keys": { "jwks": "{\"keys\":[]}" } }), json!({})),
            "config.ways[0].jwt.issuers[0].keys.jwks: the set has no key that signatures could be verified with",
        ),
        (
            config(json!({ "clockSkew": "1 minute" }), json!({})),
            "config.ways[0].jwt.issuers[0].clockSkew: invalid value: string, expected a span of time as 20ms, 5s, 1m30s or \
             1h, at most 8760h",
        ),
        (
            config(json!({}), json!({ "issuers": [] })),
            "config.ways[0].jwt.issuers: no issuer is listed, so every token would be refused",
        ),
    ];
    for (config, expected) in cases {
        assert_eq!(problem(&config), expected, "for {config}");
    }
}
