//! What the filters behind this one are told of the sender.

use serde_json::{Value, json};
use tidegate_sdk_test::{Answer, Gateway, Request, Ways, get};

use super::jwt::{TOKENS, text};
use super::problem;
use crate::Auth;

fn tokens_of(issuers: &[&str]) -> Value {
    let issuer = |name: &&str| json!({ "issuer": name, "audiences": ["shop"], "keys": { "jwks": TOKENS["jwks"].to_string() } });
    json!({ "jwt": { "issuers": issuers.iter().map(issuer).collect::<Vec<_>>() } })
}

fn key_of(consumer: &str) -> Value {
    json!({ "key": { "keys": [{ "key": "alpha", "consumer": consumer, "metadata": { "org.tenant": "acme" } }] } })
}

fn config(ways: &[Value], hand_on: Value) -> String {
    json!({ "ways": ways, "handOn": hand_on, "anonymous": true }).to_string()
}

fn gateway(config: &str) -> Gateway<Auth> {
    Gateway::with(config, Ways::all()).expect("a correct configuration")
}

fn with_token() -> Request {
    get("/").header("authorization", format!("Bearer {}", text("/good/ES256")))
}

fn told(answer: &Answer, name: &str) -> Option<String> {
    assert_eq!(answer.status(), 200, "{}", answer.details());
    answer.property(name).map(|value| String::from_utf8_lossy(value).into_owned())
}

const ISSUER: &str = "https://issuer.example";

#[test]
fn what_is_listed_is_told_and_nothing_else() {
    let gateway = gateway(&config(
        &[tokens_of(&[ISSUER])],
        json!({ "subject": true, "claims": ["org.tenant", "groups", "org.level", "org", "org.none"] }),
    ));
    let answer = gateway.send(with_token());
    for (name, value) in [
        ("auth.subject", Some("alice")),
        ("auth.claim.org.tenant", Some("acme")),
        ("auth.claim.groups", Some("staff,ops")),
        ("auth.claim.org.level", Some("3")),
        // Not the sender's, so as if another use of the filter had never set it.
        ("auth.claim.org.none", Some("")),
        ("auth.claim.sub", None),
    ] {
        assert_eq!(told(&answer, name).as_deref(), value, "{name}");
    }
    let org = told(&answer, "auth.claim.org").and_then(|org| serde_json::from_str::<Value>(&org).ok());
    assert_eq!(org, Some(json!({ "level": 3, "tenant": "acme" })));
    // What was there before is not of this sender, who is nobody.
    let stale = get("/").property("auth.subject", "root").property("auth.claim.org.tenant", "other");
    let answer = gateway.send(stale);
    assert_eq!(told(&answer, "auth.subject").as_deref(), Some(""));
    assert_eq!(told(&answer, "auth.claim.org.tenant").as_deref(), Some(""));
}

#[test]
fn a_qualified_name_is_of_one_sender_only() {
    let ways = [tokens_of(&[ISSUER, "https://other.example"]), key_of("alice")];
    let gateway = gateway(&config(&ways, json!({ "subject": "qualified" })));
    let subject = |request: Request| told(&gateway.send(request), "auth.subject");
    assert_eq!(subject(with_token()).as_deref(), Some("jwt|https://issuer.example|alice"));
    assert_eq!(subject(get("/").header("x-api-key", "alpha")).as_deref(), Some("key|alice"));
    assert_eq!(subject(get("/")).as_deref(), Some(""));
    let bare = Gateway::<Auth>::with(&config(&ways, json!({ "subject": "bare" })), Ways::all())
        .expect("a correct configuration");
    for request in [with_token(), get("/").header("x-api-key", "alpha")] {
        assert_eq!(told(&bare.send(request), "auth.subject").as_deref(), Some("alice"));
    }
}

#[test]
fn names_that_could_be_confused_are_refused() {
    let several = "config.handOn.subject: the ways have several sources of names, which may give one name to different \
                   senders; write `qualified` for names as `jwt|https://issuer.example|ann`, or `bare` where a name \
                   means the same sender everywhere";
    let twice = "config.handOn.subject: two of the ways are `key`, and nothing tells their names apart; make one of \
                 them, or write `bare` where a name means the same sender in both";
    let (one, two) = (tokens_of(&[ISSUER]), tokens_of(&[ISSUER, "https://other.example"]));
    let odd = tokens_of(&["a|b", ISSUER]);
    let mut by_client = one.clone();
    by_client["jwt"]["issuers"][0]["subject"] = json!("client_id");
    let two_claims = "config.handOn.subject: names of the issuer \"https://issuer.example\" are \"sub\" in one of the ways \
                      and \"client_id\" in another, and nothing tells them apart; take the same `subject` in both, or \
                      write `bare` where a name means the same sender in both";
    for (ways, subject, expected) in [
        (vec![one.clone(), key_of("a")], json!(true), several),
        (vec![two.clone()], json!(true), several),
        (vec![key_of("a"), key_of("a")], json!("qualified"), twice),
        (vec![one.clone(), by_client.clone()], json!(true), several),
        (vec![one.clone(), by_client.clone()], json!("qualified"), two_claims),
        (
            vec![odd],
            json!("qualified"),
            "config.handOn.subject: the issuer \"a|b\" has a | in it, which divides its name from others",
        ),
        (vec![one.clone()], json!("other"), "config.handOn.subject: expected true, false, bare or qualified"),
    ] {
        assert_eq!(problem(&config(&ways, json!({ "subject": subject }))), expected);
    }
    for (ways, subject) in [
        (vec![one.clone()], json!(true)),
        (vec![one.clone(), one.clone()], json!(true)),
        (vec![one.clone(), one.clone()], json!("qualified")),
        (vec![one.clone(), by_client], json!("bare")),
        (vec![two.clone(), key_of("a")], json!(false)),
        (vec![two, key_of("a")], json!("qualified")),
        (vec![one, key_of("a")], json!("bare")),
    ] {
        gateway(&config(&ways, json!({ "subject": subject })));
    }
}

/// Each request has all of them, and the name is that of the first.
#[test]
fn where_all_ways_must_know_the_sender_the_first_names_them() {
    let ways = [key_of("shop"), tokens_of(&[ISSUER, "https://other.example"])];
    for (subject, name) in [(json!(true), "shop"), (json!("qualified"), "key|shop")] {
        let config = json!({ "ways": ways, "combine": "all", "handOn": { "subject": subject } }).to_string();
        let answer = gateway(&config).send(with_token().header("x-api-key", "alpha"));
        assert_eq!(told(&answer, "auth.subject").as_deref(), Some(name), "{subject}");
    }
    let other_way_round =
        json!({ "ways": [ways[1], ways[0]], "combine": "all", "handOn": { "subject": true } });
    assert!(problem(&other_way_round.to_string()).contains("several sources of names"));
}

#[test]
fn a_claim_is_listed_once_and_has_a_name() {
    for (claims, expected) in [
        (json!(["sub", "sub"]), "config.handOn.claims[1]: \"sub\" is listed before"),
        (json!([""]), "config.handOn.claims[0]: \"\" is no claim, as \"sub\" or \"org.tenant\" is"),
    ] {
        assert_eq!(problem(&config(&[key_of("a")], json!({ "claims": claims }))), expected);
    }
}

/// Who keeps answers must know that this request had credentials.
#[test]
fn where_credentials_were_is_told() {
    let places = json!([{ "header": "x-api-key" }, { "header": "authorization" }, { "query": "key" }, { "cookie": "k" }]);
    let mut way = key_of("shop");
    way["key"]["in"] = places;
    let sweeps = gateway(&config(&[way.clone()], json!({})));
    for (request, taken) in [
        (get("/"), None),
        (get("/?a=1").header("cookie", "a=b"), None),
        (get("/").header("x-api-key", "alpha"), Some("x-api-key")),
        (get("/").header("authorization", "Bearer alpha"), Some("authorization")),
        (get("/?key=alpha"), Some("?")),
        (get("/").header("cookie", "a=b; k=alpha"), Some("cookie")),
        (
            get("/?key=x").header("x-api-key", "alpha").property("auth.taken", "x-old"),
            Some("x-old,x-api-key,?"),
        ),
    ] {
        let name = format!("{request:?}");
        assert_eq!(told(&sweeps.send(request), "auth.taken").as_deref(), taken, "{name}");
    }
    way["key"]["forward"] = json!(true);
    let forwards = gateway(&config(&[way], json!({})));
    let answer = forwards.send(get("/").header("authorization", "Bearer alpha"));
    assert_eq!(told(&answer, "auth.taken"), None, "it is there still");
}

#[test]
fn headers_and_rules_tell_senders_apart_as_well() {
    let two = tokens_of(&[ISSUER, "https://other.example"]);
    let with = |ways: &[Value], more: Value| {
        let mut config = json!({ "ways": ways });
        config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        config.to_string()
    };
    let gateway = gateway(&with(
        &[two, key_of("alice")],
        json!({
            "headers": { "subject": "x-name", "sender": "x-sender" },
            "policy": { "rules": [
                { "name": "issuer", "action": "allow", "when": { "senders": [format!("jwt|{ISSUER}|*")] } },
                { "name": "key", "action": "allow", "when": { "senders": ["key|alice"], "methods": ["PUT"] } },
            ] },
        }),
    ));
    let key = |method| Request::new(method, "/").header("x-api-key", "alpha").header("x-sender", "jwt|root");
    for (request, sender) in [
        (with_token(), Some("jwt|https://issuer.example|alice")),
        (key("PUT"), Some("key|alice")),
        // Another way's alice.
        (key("GET"), None),
    ] {
        let answer = gateway.send(request);
        let sent = answer.upstream();
        assert_eq!(answer.status(), if sender.is_some() { 200 } else { 403 });
        assert_eq!(sent.and_then(|sent| sent.header("x-sender")), sender);
        assert_eq!(sent.and_then(|sent| sent.header("x-name")), sender.map(|_| "alice"));
    }
    let keys = [key_of("a"), key_of("a")];
    for (more, expected) in [
        (
            json!({ "headers": { "sender": "x-sender" } }),
            "config.headers.sender: two of the ways are `key`, and nothing tells their names apart; make one of them, or \
             leave `sender` out and take `subject`",
        ),
        (
            json!({ "policy": { "rules": [
                { "name": "a", "action": "allow" },
                { "name": "b", "action": "deny", "unless": { "senders": ["key|a"] } } ] } }),
            "config.policy.rules[1]: two of the ways are `key`, and nothing tells their names apart; make one of them, or \
             take `subjects` where a name means the same sender in both",
        ),
    ] {
        assert_eq!(problem(&with(&keys, more)), expected);
    }
}
