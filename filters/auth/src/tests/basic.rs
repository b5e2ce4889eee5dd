//! Names and passwords: hashes of Apache's `htpasswd`, of argon2-cffi and of Python's bcrypt.

use std::time::Duration;

use base64ct::{Base64, Encoding};
use serde_json::json;
use tidegate_sdk_test::{Answer, Gateway, Ways, get};

use super::problem;
use crate::Auth;

/// bob has `alpha`, carol `beta`, and dave a long one.
const USERS: &str = include_str!("../../tests/fixtures/htpasswd");

fn gateway(more: serde_json::Value) -> Gateway<Auth> {
    let mut way = json!({ "users": USERS });
    if let (Some(way), Some(more)) = (way.as_object_mut(), more.as_object()) {
        way.extend(more.clone());
    }
    let config =
        json!({ "ways": [{ "basic": way }], "headers": { "subject": "x-user", "groups": "x-groups" } });
    Gateway::with(&config.to_string(), Ways::plain()).expect("a correct configuration")
}

fn send(gateway: &Gateway<Auth>, credentials: &str) -> Answer {
    gateway.send(
        get("/").header("authorization", format!("Basic {}", Base64::encode_string(credentials.as_bytes()))),
    )
}

#[test]
fn users_with_the_right_password_pass() {
    let gateway = gateway(json!({ "groups": { "bob": ["staff"] } }));
    let long = "dave:\u{e4} long one with : and spaces, of more than seventy-two bytes, as some people like";
    for (credentials, user, groups) in
        [("bob:alpha", "bob", Some("staff")), ("carol:beta", "carol", None), (long, "dave", None)]
    {
        for _ in 0..2 {
            let answer = send(&gateway, credentials);
            let seen = answer.upstream().unwrap_or_else(|| panic!("{credentials}: {}", answer.details()));
            assert_eq!((seen.header("x-user"), seen.header("x-groups")), (Some(user), groups));
            assert_eq!(seen.header("authorization"), None);
        }
    }
}

#[test]
fn others_do_not() {
    let gateway = gateway(json!({ "realm": "shop" }));
    for credentials in
        ["bob:beta", "bob:", "bob:alphaa", "Bob:alpha", "eve:alpha", "carol:alpha", "carol:", ":"]
    {
        for _ in 0..2 {
            let answer = send(&gateway, credentials);
            assert_eq!((answer.status(), answer.details()), (401, "basic_wrong"), "{credentials}");
            assert_eq!(answer.header("www-authenticate"), Some("Basic realm=\"shop\", charset=\"UTF-8\""));
        }
    }
    for value in ["Basic YQ", "Basic YTpi!", "Basic Ym9iOmFscGhh=", "Basic YQ=="] {
        let answer = gateway.send(get("/").header("authorization", value));
        assert_eq!((answer.status(), answer.details()), (401, "basic_malformed"), "{value}");
    }
    let zero = send(&gateway, "bob:alpha\0");
    assert_eq!(zero.details(), "basic_malformed");
    for value in ["", "Basic", "Bearer YTpi"] {
        let answer = gateway.send(get("/").header("authorization", value));
        assert_eq!((answer.status(), answer.details()), (401, "auth_missing"), "{value}");
    }
}

#[test]
fn a_right_password_is_remembered_for_a_while() {
    // dave's hash has a cost below a slice, bob's pauses never; the pauses show whether a hash was computed.
    let slow = USERS.lines().next().expect("bob's line").replace("$05$", "$07$");
    let config = json!({ "ways": [{ "basic": { "users": slow, "remember": "1m" } }] }).to_string();
    let gateway: Gateway<Auth> = Gateway::with(&config, Ways::plain()).expect("a correct configuration");
    // The wrong cost makes another hash, so nothing is right and each request takes a pause.
    for _ in 0..2 {
        let answer = send(&gateway, "bob:alpha");
        assert_eq!((answer.details(), answer.elapsed()), ("basic_wrong", Duration::from_millis(1)));
    }
}

#[test]
fn a_wrong_configuration_names_its_line_but_not_the_hash() {
    let users = |text: &str| json!({ "ways": [{ "basic": { "users": text } }] }).to_string();
    let cases = [
        (users("# nobody\n"), "no user is listed, so every request would be refused"),
        (users("\nbob"), "line 2: is not `name:hash`"),
        (users("bob:{SHA}abc"), "line 1: the hash is neither bcrypt nor argon2; `htpasswd -B` writes bcrypt"),
        (
            users("bob:$2y$20$tXT8z8pV94wOfKjb8WlZwO78NNucOlTtujMrjmBTrAKB89XvI1Kjq"),
            "line 1: the bcrypt hash is not `$2y$COST$…`, with a cost of 4 to 16",
        ),
        (
            users(
                "bob:$argon2id$v=19$m=256,t=99,p=1$MnyLjPSow9HhBtQ8xBwYgg$FMGfkds4vUnljpmHcGpHxxH89NCHptRocuTGAQbMXWA",
            ),
            "line 1: the argon2 hash is not `$argon2id$v=19$m=…,t=…,p=…$salt$hash`, with at most m=262144, t=16, p=16 and m × t = 1048576",
        ),
        (users(&format!("{USERS}{USERS}")), "line 4: the name is that of an earlier line"),
    ];
    for (config, expected) in cases {
        assert_eq!(problem(&config), format!("config.ways[0].basic.users: {expected}"), "for {config}");
    }
}
