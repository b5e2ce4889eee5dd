//! The first-party filter `auth`, as it is shipped: keys, passwords, signed requests, certificates and tokens, the filter's
//! own test tokens among them. Tidegate verifies natively, Envoy by what is compiled into the module: both must decide the
//! same.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Case, get, post};
use crate::envoy::config::AUTH;

/// Made by another implementation; `filters/auth/tests/fixtures/make.py`.
fn tokens() -> Value {
    let text = include_str!("../../../../../filters/auth/tests/fixtures/tokens.json");
    serde_json::from_str(text).expect("the fixtures are JSON")
}

/// The filter's configuration.
pub(in crate::envoy) fn config() -> String {
    let users = include_str!("../../../../../filters/auth/tests/fixtures/htpasswd");
    json!({
        "ways": [
            { "key": { "keys": [{ "key": "plain-key", "consumer": "ann", "groups": ["admins"] }] } },
            { "basic": { "users": users } },
            { "jwt": { "issuers": [{
                "issuer": "https://issuer.example",
                "audiences": ["shop"],
                "keys": { "jwks": tokens()["jwks"].to_string() },
            }] } },
            { "hmac": { "keys": [{ "id": "client", "secret": SECRET, "consumer": "shop" }] } },
            { "certificate": { "trustDomains": ["example.org"], "forwardedFrom": ["127.0.0.0/8"] } },
        ],
        "headers": {
            "subject": "x-t-subject", "way": "x-t-way", "groups": "x-t-groups", "claims": { "x-t-tenant": "org.tenant" },
        },
        "policy": { "rules": [
            { "name": "no secrets", "action": "deny", "when": { "paths": ["/secret*"] } },
            { "name": "others", "action": "allow" },
        ] },
    })
    .to_string()
}

const SECRET: &str = "a shared secret of thirty-two bytes or more";

/// A request for `path` of `a.test`, signed now (RFC 9421): the two headers.
fn signed(path: &str, key: &str, age: u64, nonce: &str) -> [(&'static str, &'static str); 2] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let covered = "(\"@method\" \"@authority\" \"@path\" \"@query\")";
    let parameters = format!("{covered};created={};keyid=\"{key}\";nonce=\"{nonce}\"", now - age);
    let base = format!(
        "\"@method\": GET\n\"@authority\": a.test\n\"@path\": {path}\n\"@query\": ?\n\"@signature-params\": {parameters}"
    );
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), base.as_bytes());
    [
        ("signature-input", format!("sig1={parameters}").leak()),
        ("signature", format!("sig1=:{}:", STANDARD.encode(tag)).leak()),
    ]
}

/// Certificates as a proxy in front tells of them, and signed requests; those of HTTP/2 are signed for themselves.
fn further(of: &impl Fn(&str, &[(&'static str, &'static str)], Case) -> Case) -> Vec<Case> {
    let shown = |value| [("x-forwarded-client-cert", value)];
    let mut cases = vec![
        of("certificate", &shown("Hash=ab;URI=spiffe://example.org/shop"), get("", "")),
        of("certificate of others", &shown("Hash=ab;URI=spiffe://evil.test/shop"), get("", "")),
        of("certificate without a name", &shown("Hash=ab"), get("", "")),
    ];
    cases.extend(cases.clone().into_iter().map(|case| Case {
        name: format!("{}, h2", case.name),
        http2: true,
        ..case
    }));
    for (name, http2) in [("signed", false), ("signed, h2", true)] {
        let fields = signed("/ok", "client", 0, name);
        let elsewhere = signed("/other", "client", 0, name);
        let signed = [
            of(name, &fields, get("", "")),
            of(&format!("{name}, again"), &fields, get("", "")),
            of(&format!("{name}, another path"), &elsewhere, get("", "")),
            of(&format!("{name}, another key"), &signed("/ok", "other", 0, name), get("", "")),
            of(&format!("{name}, long ago"), &signed("/ok", "client", 3600, name), get("", "")),
        ];
        cases.extend(signed.map(|case| Case { http2, ..case }));
    }
    cases
}

pub(crate) fn cases() -> Vec<Case> {
    let of = |name: &str, headers: &[(&'static str, &'static str)], case: Case| Case {
        name: format!("auth, {name}"),
        listener: AUTH.to_owned(),
        headers: headers.to_vec(),
        ..case
    };
    let mut cases = vec![
        of("none", &[], get("", "")),
        of("none, with a body", &[], post("", "").sized()),
        of("key", &[("x-api-key", "plain-key")], get("", "")),
        of("key, claims to be somebody", &[("x-api-key", "plain-key"), ("x-t-subject", "root")], get("", "")),
        of("key, refused by the policy", &[("x-api-key", "plain-key")], get("", "").to("/secret/1")),
        of("unknown key", &[("x-api-key", "other")], get("", "")),
        of("bcrypt", &[("authorization", "Basic Ym9iOmFscGhh")], get("", "")),
        of("argon2", &[("authorization", "Basic Y2Fyb2w6YmV0YQ==")], get("", "")),
        of("wrong password", &[("authorization", "Basic Ym9iOmJldGE=")], get("", "")),
        of("no base64", &[("authorization", "Basic ###")], get("", "")),
    ];
    let again = |case: &Case| Case { name: format!("{}, h2", case.name), http2: true, ..case.clone() };
    cases.extend(cases.iter().map(again).collect::<Vec<_>>());
    cases.extend(further(&of));
    for kind in ["good", "hostile"] {
        for (name, token) in tokens()[kind].as_object().expect("the fixtures have it") {
            let token = token.as_str().or_else(|| token["token"].as_str()).expect("a token is text");
            let header: &'static str = format!("Bearer {token}").leak();
            cases.push(of(&format!("{kind} token, {name}"), &[("authorization", header)], get("", "")));
        }
    }
    cases
}
