//! API keys.

use tidegate_sdk_test::get;

use super::{gateway, problem};

/// `printf alpha | sha256sum`
const ALPHA: &str = "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8";

fn config(more: &str) -> String {
    format!(
        r#"{{ "ways": [{{ "key": {{ "keys": [
            {{ "key": "sha256:{ALPHA}", "consumer": "shop", "metadata": {{ "plan": "gold" }} }},
            {{ "key": "beta\ngamma", "consumer": "billing", "groups": ["staff", "ops"] }}]
            {more} }} }}],
            "headers": {{ "subject": "X-Consumer", "groups": "x-groups", "way": "x-way" }} }}"#
    )
}

#[test]
fn a_known_key_passes_and_tells_its_consumer() {
    let gateway = gateway(&config(r#", "headers": { "x-plan": "plan" }"#));
    let alpha = gateway.send(get("/").header("x-api-key", "alpha").header("x-groups", "admin"));
    let seen = alpha.upstream().expect("it passes");
    let told = ["x-consumer", "x-plan", "x-groups", "x-way", "x-api-key"].map(|name| seen.header(name));
    assert_eq!(told, [Some("shop"), Some("gold"), None, Some("key"), None]);
    assert_eq!(alpha.metric(r#"auth_requests_total{way="key",outcome="known"}"#), 1);
    for key in ["beta", "gamma"] {
        let answer = gateway.send(get("/").header("x-api-key", key).header("x-plan", "platinum"));
        let seen = answer.upstream().expect("it passes");
        let told = ["x-consumer", "x-plan", "x-groups"].map(|name| seen.header(name));
        assert_eq!(told, [Some("billing"), None, Some("staff,ops")]);
    }
}

#[test]
fn others_are_refused_with_a_word_for_the_log() {
    let gateway = gateway(&config(""));
    for (key, word) in
        [("alph", "key_unknown"), ("Alpha", "key_unknown"), (ALPHA, "key_unknown"), ("", "auth_missing")]
    {
        let answer = gateway.send(get("/").header("x-api-key", key));
        assert_eq!((answer.status(), answer.details()), (401, word), "{key}");
        assert_eq!(answer.header("www-authenticate"), Some("ApiKey header=\"x-api-key\""));
        assert!(answer.upstream().is_none());
    }
}

#[test]
fn keys_are_found_in_queries_and_cookies_and_taken_out() {
    let gateway =
        gateway(&config(r#", "in": [{ "query": "key" }, { "cookie": "k" }, { "header": "Authorization" }]"#));
    let query = gateway.send(get("/a?x=1&key=alp%68a&y"));
    assert_eq!(query.upstream().expect("it passes").path(), "/a?x=1&y");
    let cookie = gateway.send(get("/").header("cookie", "a=1; k=beta; b=2"));
    assert_eq!(cookie.upstream().expect("it passes").header("cookie"), Some("a=1; b=2"));
    let alone = gateway.send(get("/").header("cookie", "k=beta"));
    assert_eq!(alone.upstream().expect("it passes").header("cookie"), None);
    for value in ["Bearer alpha", "apikey  alpha"] {
        let header = gateway.send(get("/").header("authorization", value));
        assert_eq!(header.upstream().expect("it passes").header("authorization"), None);
    }
    assert_eq!(gateway.send(get("/").header("authorization", "Basic alpha")).details(), "auth_missing");
}

#[test]
fn a_forwarded_key_stays() {
    let gateway = gateway(&config(r#", "forward": true"#));
    let answer = gateway.send(get("/").header("x-api-key", "beta"));
    assert_eq!(answer.upstream().expect("it passes").header("x-api-key"), Some("beta"));
}

#[test]
fn a_wrong_configuration_names_its_key() {
    let one = |key: &str| format!(r#"{{ "ways": [{{ "key": {{ "keys": [{key}] }} }}] }}"#);
    let cases = [
        (
            "{}".to_owned(),
            "config.ways: no way is listed, so every request would be refused; list one, or set `anonymous: true`",
        ),
        (one(""), "config.ways[0].key.keys: no key is listed, so every request would be refused"),
        (
            one(r#"{ "key": "sha256:12", "consumer": "a" }"#),
            "config.ways[0].key.keys[0].key: `sha256:` must be followed by 64 hexadecimal figures, as `sha256sum` writes them",
        ),
        (
            one(r#"{ "key": "a", "consumer": "a" }, { "key": "a", "consumer": "b" }"#),
            "config.ways[0].key.keys[1].key: repeats an earlier key",
        ),
        (
            one(r#"{ "key": "a", "consumer": "" }"#),
            "config.ways[0].key.keys[0]: consumer: is empty or has a control character in it",
        ),
        (
            r#"{ "anonymous": true, "headers": { "subject": "x y" } }"#.to_owned(),
            "config.headers.subject: \"x y\" is not a header name, as \"x-user\" is",
        ),
        (
            config("").replace("X-Consumer", "x-api-key"),
            "config.headers: \"x-api-key\" holds credentials, so it cannot tell the upstream anything",
        ),
    ];
    for (config, expected) in cases {
        assert_eq!(problem(&config), expected, "for {config}");
    }
}
