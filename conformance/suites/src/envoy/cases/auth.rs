//! The first-party filter `auth`, as it is shipped: keys, passwords and tokens, the filter's own test tokens among them.
//! Tidegate verifies natively, Envoy by what is compiled into the module: both must decide the same.

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
        ],
        "headers": { "subject": "x-subject", "way": "x-way", "groups": "x-groups", "claims": { "x-tenant": "org.tenant" } },
        "policy": { "rules": [
            { "name": "no secrets", "action": "deny", "when": { "paths": ["/secret*"] } },
            { "name": "others", "action": "allow" },
        ] },
    })
    .to_string()
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
        of("key, claims to be somebody", &[("x-api-key", "plain-key"), ("x-subject", "root")], get("", "")),
        of("key, refused by the policy", &[("x-api-key", "plain-key")], get("", "").to("/secret/1")),
        of("unknown key", &[("x-api-key", "other")], get("", "")),
        of("bcrypt", &[("authorization", "Basic Ym9iOmFscGhh")], get("", "")),
        of("argon2", &[("authorization", "Basic Y2Fyb2w6YmV0YQ==")], get("", "")),
        of("wrong password", &[("authorization", "Basic Ym9iOmJldGE=")], get("", "")),
        of("no base64", &[("authorization", "Basic ###")], get("", "")),
    ];
    let again = |case: &Case| Case { name: format!("{}, h2", case.name), http2: true, ..case.clone() };
    cases.extend(cases.iter().map(again).collect::<Vec<_>>());
    for kind in ["good", "hostile"] {
        for (name, token) in tokens()[kind].as_object().expect("the fixtures have it") {
            let token = token.as_str().or_else(|| token["token"].as_str()).expect("a token is text");
            let header: &'static str = format!("Bearer {token}").leak();
            cases.push(of(&format!("{kind} token, {name}"), &[("authorization", header)], get("", "")));
        }
    }
    cases
}
