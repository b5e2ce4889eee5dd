//! Rules, and ways that combine.

use serde_json::{Value, json};
use tidegate_sdk_test::{Gateway, Request, get};

use super::problem;
use crate::Auth;

fn gateway(more: Value) -> Gateway<Auth> {
    let mut config = json!({
        "ways": [{ "key": { "keys": [
            { "key": "a", "consumer": "alice", "groups": ["admins"], "scopes": ["read"], "metadata": { "plan": "gold" } },
            { "key": "b", "consumer": "bob" }] } }],
    });
    if let (Some(config), Some(more)) = (config.as_object_mut(), more.as_object()) {
        config.extend(more.clone());
    }
    super::gateway(&config.to_string())
}

fn alice(request: Request) -> Request {
    request.header("x-api-key", "a")
}

fn bob(request: Request) -> Request {
    request.header("x-api-key", "b")
}

#[test]
fn each_condition_decides() {
    let cases = [
        (json!({ "subjects": ["ali*"] }), alice(get("/")), bob(get("/"))),
        (json!({ "groups": ["admins"] }), alice(get("/")), bob(get("/"))),
        (json!({ "scopes": ["read", "write"] }), alice(get("/")), bob(get("/"))),
        (json!({ "claims": { "plan": ["gold"] } }), alice(get("/")), bob(get("/"))),
        (json!({ "claims": { "plan": [] } }), alice(get("/")), bob(get("/"))),
        (json!({ "ways": ["key"], "methods": ["PUT"] }), bob(Request::new("PUT", "/")), bob(get("/"))),
        (json!({ "paths": ["/a/*", "/b"] }), bob(get("/a/x?y")), bob(get("/b/?/a/x"))),
        (
            json!({ "hosts": ["*.shop.example"] }),
            bob(get("/").host("EU.shop.example:80")),
            bob(get("/").host("shop.example")),
        ),
        (
            json!({ "headers": { "X-Tenant": ["t1", "t2"] } }),
            bob(get("/").header("x-tenant", "t2")),
            bob(get("/").header("x-tenant", "t3")),
        ),
        (json!({ "headers": { "X-Tenant": [] } }), bob(get("/").header("x-tenant", "")), bob(get("/"))),
        (
            json!({ "sources": ["10.0.0.0/8", "::1"] }),
            bob(get("/").from("[::1]:9")),
            bob(get("/").from("192.0.2.1:9")),
        ),
        (
            json!({ "anonymous": false, "subjects": ["alice"], "methods": ["GET"] }),
            alice(get("/")),
            alice(Request::new("PUT", "/")),
        ),
    ];
    for (when, holds, does_not) in cases {
        let rule = |action| json!([{ "name": "r", "action": action, "when": when }]);
        let allow = gateway(json!({ "policy": { "rules": rule("allow") } }));
        let deny = gateway(json!({ "policy": { "default": "allow", "rules": rule("deny") } }));
        let statuses = [&allow, &deny]
            .map(|gateway| [&holds, &does_not].map(|request| gateway.send(request.clone()).status()));
        assert_eq!(statuses, [[200, 403], [403, 200]], "{when}");
    }
}

#[test]
fn the_first_rule_that_holds_decides() {
    let gateway = gateway(json!({ "policy": { "rules": [
        { "name": "not from outside", "action": "deny", "when": { "paths": ["/admin/*"] },
          "unless": { "sources": ["10.0.0.0/8"] } },
        { "name": "admins", "action": "allow", "when": { "groups": ["admins"] } },
        { "name": "read", "action": "allow", "when": { "methods": ["GET"], "paths": ["/public/*"] } }] } }));
    for (request, status, rule) in [
        (alice(get("/admin/x")), 403, "not from outside"),
        (alice(get("/admin/x").from("10.0.0.1:1")), 200, "admins"),
        (alice(get("/x")), 200, "admins"),
        (bob(get("/public/x")), 200, "read"),
        (bob(get("/x")), 403, "default"),
    ] {
        let answer = gateway.send(request);
        let decision = if status == 200 { "allow" } else { "deny" };
        let metric = format!(r#"auth_policy_total{{rule="{rule}",decision="{decision}",mode="enforced"}}"#);
        assert_eq!((answer.status(), answer.metric(&metric)), (status, 1), "{rule}");
        assert_eq!(answer.details(), if status == 200 { "" } else { "policy_denied" });
    }
}

#[test]
fn what_is_in_the_shadow_is_counted_and_logged_only() {
    let metric = |rule: &str| format!(r#"auth_policy_total{{rule="{rule}",decision="deny",mode="shadow"}}"#);
    let rules = json!([{ "name": "r", "action": "deny", "when": { "subjects": ["bob"] } }]);
    let whole = gateway(json!({ "policy": { "shadow": true, "rules": rules } }));
    let mut shadowed = rules.clone();
    shadowed[0]["shadow"] = true.into();
    let rule = gateway(json!({ "policy": { "default": "allow", "rules": shadowed } }));
    for gateway in [&whole, &rule] {
        let answer = gateway.send(bob(get("/")));
        assert_eq!((answer.status(), answer.metric(&metric("r"))), (200, 1));
        assert!(answer.logged("the policy's rule r would deny a request of bob"));
        assert!(answer.upstream().is_some_and(|seen| seen.header("x-api-key").is_none()));
    }
    let other = whole.send(alice(get("/")));
    assert_eq!((other.status(), other.metric(&metric("default"))), (200, 1));
}

#[test]
fn nobody_is_told_how_to_become_somebody() {
    let gateway = gateway(json!({ "anonymous": true, "policy": { "rules": [
        { "name": "public", "action": "allow", "when": { "paths": ["/public/*"] } },
        { "name": "known", "action": "allow", "when": { "anonymous": false } }] } }));
    assert_eq!(gateway.send(get("/public/a")).status(), 200);
    let private = gateway.send(get("/private"));
    assert_eq!((private.status(), private.details()), (401, "auth_missing"));
    assert!(private.header("www-authenticate").is_some());
    assert_eq!(gateway.send(bob(get("/private"))).status(), 200);
    let wrong = gateway.send(get("/public/a").header("x-api-key", "c"));
    assert_eq!((wrong.status(), wrong.details()), (401, "key_unknown"));
}

#[test]
fn ways_combine() {
    let ways = json!([
        { "key": { "keys": [{ "key": "a", "consumer": "alice", "groups": ["k"] }] } },
        { "certificate": {} }]);
    let headers = json!({ "subject": "x-id", "way": "x-way", "groups": "x-groups" });
    let any = gateway(json!({ "ways": ways, "headers": headers }));
    let all = gateway(json!({ "ways": ways, "combine": "all", "headers": headers }));
    let certified = |request: Request| {
        let request = request.property("connection.mtls", vec![1]);
        request.property("connection.uri_san_peer_certificate", "spiffe://a/b")
    };
    let wrong = |request: Request| request.header("x-api-key", "z");
    for (request, of_any, of_all) in [
        (get("/"), 401, 401),
        (alice(get("/")), 200, 401),
        (certified(get("/")), 200, 401),
        (certified(alice(get("/"))), 200, 200),
        (certified(wrong(get("/"))), 200, 401),
        (wrong(get("/")), 401, 401),
    ] {
        let got = (any.send(request.clone()).status(), all.send(request.clone()).status());
        assert_eq!(got, (of_any, of_all), "{request:?}");
    }
    let both = all.send(certified(alice(get("/"))));
    let seen = both.upstream().expect("it passes");
    let told = ["x-id", "x-way", "x-groups"].map(|name| seen.header(name));
    assert_eq!(told, [Some("alice"), Some("key,certificate"), Some("k")]);
}

#[test]
fn a_wrong_rule_is_named() {
    let config = |rules: Value| json!({ "anonymous": true, "policy": { "rules": rules } }).to_string();
    let cases = [
        (json!([{ "name": "", "action": "deny" }]), "rules[0].name: \"\" is no name for a rule"),
        (
            json!([{ "name": "a", "action": "deny" }, { "name": "a", "action": "deny" }]),
            "rules[1].name: \"a\" is the name of an earlier rule",
        ),
        (
            json!([{ "name": "a", "action": "deny", "when": { "paths": ["/*/*"] } }]),
            "rules[0].when.paths[0]: \"/*/*\" has more than one `*`; one is possible",
        ),
        (
            json!([{ "name": "a", "action": "deny", "when": { "sources": ["10.0.0.0/40"] } }]),
            "rules[0].when.sources[0]: \"10.0.0.0/40\" is no network, as 10.0.0.0/8 or 2001:db8::/32 is",
        ),
    ];
    for (rules, expected) in cases {
        assert_eq!(problem(&config(rules)), format!("config.policy.{expected}"));
    }
}
