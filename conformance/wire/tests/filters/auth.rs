//! The first-party filter `auth` in the gateway: keys, passwords and tokens on real sockets, tokens verified by the host.
//! `cargo xtask filters` builds it.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use tidegate_testkit::{
    Answer, Connection, Gate, RawClient, Response, ScriptedUpstream, Step, TestGateway, fill,
};
use tidegate_wire::shipped_example;

const CONFIG: &str = "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  auth:
    module: auth.wasm
    capabilities: { upstreams: [up] }
    config: ${config}
routes: [{ name: r, rules: [{ filters: [{ plugin: auth }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
";

fn file(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask filters`", path.display()))
}

fn tokens() -> Value {
    serde_json::from_slice(&file("filters/auth/tests/fixtures/tokens.json")).expect("the fixtures are JSON")
}

fn gateway(config: &Value, upstream: &ScriptedUpstream) -> TestGateway {
    let yaml = fill(CONFIG, &[("config", &config.to_string()), ("up", &upstream.address())]);
    TestGateway::start_with(&yaml, &[("auth.wasm", &file("target/filters/auth.wasm"))])
}

/// Answers with the user that it was told, and with the keys of the issuer where those are asked for.
fn upstream(jwks: String) -> ScriptedUpstream {
    ScriptedUpstream::start(move |seen| {
        let user = seen.head.headers.get("x-user").unwrap_or("nobody").to_owned();
        let body = if seen.head.target == "/jwks" { jwks.clone() } else { user };
        Answer::reply(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
    })
}

fn get(gateway: &TestGateway, path: &str, headers: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nx-user: forged\r\n{headers}\r\n");
    RawClient::connect(gateway.address("web")).exchange(&request)
}

fn bearer(gateway: &TestGateway, token: &str) -> Response {
    get(gateway, "/orders", &format!("authorization: Bearer {token}\r\n"))
}

fn is_known(answer: &Response) {
    assert_eq!((answer.status, answer.text()), (200, "alice".to_owned()));
}

#[test]
fn keys_passwords_and_rules_of_the_example() {
    let upstream = upstream(String::new());
    let gateway = shipped_example("auth", "auth", &upstream, |text| text);
    let (key, user) = ("x-api-key: alpha\r\n", "authorization: Basic Ym9iOmFscGhh\r\n");
    for (path, headers, status, text) in [
        ("/", "", 401, "credentials are needed\n"),
        ("/health", "", 200, "nobody"),
        ("/", key, 200, "shop"),
        ("/", user, 200, "bob"),
        ("/", user, 200, "bob"),
        ("/admin/x", key, 403, "not allowed\n"),
        ("/admin/x", user, 200, "bob"),
        ("/health", "x-api-key: beta\r\n", 401, "this API key is not known\n"),
        ("/", "authorization: Basic Ym9iOmJldGE=\r\n", 401, "name or password is wrong\n"),
    ] {
        let answer = get(&gateway, path, headers);
        assert_eq!((answer.status, answer.text()), (status, text.to_owned()), "{path} {headers}");
    }
    for request in upstream.requests() {
        assert_eq!((request.header("x-api-key"), request.header("authorization")), (None, None));
    }
}

#[test]
fn tokens_of_every_algorithm_are_verified_by_the_host() {
    let (tokens, upstream) = (tokens(), upstream(String::new()));
    let issuer = json!({ "issuer": "https://issuer.example", "audiences": ["shop"],
        "keys": { "jwks": tokens["jwks"].to_string() } });
    let config = json!({ "ways": [{ "jwt": { "issuers": [issuer] } }], "headers": { "subject": "x-user" } });
    let gateway = gateway(&config, &upstream);
    for (name, token) in tokens["good"].as_object().expect("there are some") {
        let token = token.as_str().expect("a token");
        for _ in 0..2 {
            let answer = bearer(&gateway, token);
            assert_eq!((answer.status, answer.text()), (200, "alice".to_owned()), "{name}");
        }
    }
    for (name, case) in tokens["hostile"].as_object().expect("there are some") {
        let answer = bearer(&gateway, case["token"].as_str().expect("a token"));
        assert_eq!(answer.status, 401, "{name}");
    }
}

#[test]
fn published_keys_are_fetched_through_an_upstream() {
    let tokens = tokens();
    let upstream = upstream(tokens["jwks"].to_string());
    let issuer = json!({ "issuer": "https://issuer.example", "audiences": ["shop"],
        "keys": { "remote": { "upstream": "up", "path": "/jwks" } } });
    let config = json!({ "ways": [{ "jwt": { "issuers": [issuer] } }], "headers": { "subject": "x-user" } });
    let gateway = gateway(&config, &upstream);
    for name in ["RS256", "ES256", "EdDSA"] {
        is_known(&bearer(&gateway, tokens["good"][name].as_str().expect("a token")));
    }
    let unknown = bearer(&gateway, tokens["next token"].as_str().expect("a token"));
    assert_eq!(unknown.status, 401);
    let fetches = upstream.requests().iter().filter(|request| request.target() == "/jwks").count();
    assert_eq!(fetches, 1, "the first fetch was a moment ago");
}

/// A key that is not known has the set fetched again, once for all workers; what is gone from the set is believed no more.
#[test]
fn keys_that_the_issuer_changes_are_taken_over() {
    let tokens = tokens();
    let (turned, before, after) =
        (Arc::new(AtomicBool::new(false)), tokens["jwks"].to_string(), tokens["next"].to_string());
    let seen = Arc::clone(&turned);
    let upstream = ScriptedUpstream::start(move |call| {
        let set = if seen.load(Ordering::SeqCst) { &after } else { &before };
        let text = if call.head.target == "/jwks" { set } else { "alice" };
        Answer::reply(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()))
    });
    let issuer = json!({ "issuer": "https://issuer.example", "audiences": ["shop"],
        "keys": { "remote": { "upstream": "up", "path": "/jwks", "cooldown": "1s" } } });
    let config = json!({ "ways": [{ "jwt": { "issuers": [issuer] } }] });
    let yaml = fill(CONFIG, &[("config", &config.to_string()), ("up", &upstream.address())]);
    let module = file("target/filters/auth.wasm");
    let gateway = TestGateway::start_with(&format!("workers: 2\n{yaml}"), &[("auth.wasm", &module)]);
    let fetches = || upstream.requests().iter().filter(|request| request.target() == "/jwks").count();
    let (old, new) = (&tokens["good"]["RS256"], &tokens["next token"]);
    let ask = |token: &Value| bearer(&gateway, token.as_str().expect("a token")).status;
    // Connections go to both workers.
    assert_eq!([0; 8].map(|_| ask(old)), [200; 8]);
    assert_eq!(fetches(), 1);
    turned.store(true, Ordering::SeqCst);
    gateway.wait("the end of the cooldown", |_| ask(new) == 200);
    assert_eq!([0; 8].map(|_| ask(new)), [200; 8]);
    assert_eq!(fetches(), 2);
    gateway.wait("the keys that are gone", |_| [0; 8].map(|_| ask(old)) == [401; 8]);
}

/// Each issuer's keys vouch for its own tokens only.
#[test]
fn several_issuers_are_kept_apart() {
    let (tokens, upstream) = (tokens(), upstream(String::new()));
    let issuer = |name: &str, keys: &str, algorithms: &[&str]| {
        json!({ "issuer": name, "audiences": ["shop"], "algorithms": algorithms,
            "keys": { "jwks": tokens[keys].to_string() } })
    };
    let issuers = [
        issuer("https://issuer.example", "next", &["ES256"]),
        issuer("https://evil.example", "jwks", &["ES256", "RS256"]),
    ];
    let config = json!({ "ways": [{ "jwt": { "issuers": issuers } }], "headers": { "subject": "x-user" } });
    let gateway = gateway(&config, &upstream);
    let ask = |token: &Value| bearer(&gateway, token.as_str().expect("a token"));
    is_known(&ask(&tokens["next token"]));
    is_known(&ask(&tokens["hostile"]["another issuer"]["token"]));
    // Signed by a key of the other issuer.
    for token in [&tokens["good"]["ES256"], &tokens["good"]["no kid"]] {
        assert_eq!(ask(token).status, 401);
    }
    assert_eq!(ask(&tokens["hostile"]["issuer with a slash more"]["token"]).status, 401);
}

/// The instance that fetches tells those that wait for it, on the other worker too.
#[test]
fn one_worker_fetches_the_keys_for_all() {
    let tokens = tokens();
    let (gate, jwks) = (Gate::new(), tokens["jwks"].to_string());
    let held = gate.clone();
    let upstream = ScriptedUpstream::start(move |seen| {
        let text = if seen.head.target == "/jwks" { &jwks } else { "alice" };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len());
        match seen.head.target.as_str() {
            "/jwks" => Answer::steps([Step::Wait(held.clone()), Step::send(answer)]),
            _ => Answer::reply(answer),
        }
    });
    let issuer = json!({ "issuer": "https://issuer.example", "audiences": ["shop"],
        "keys": { "remote": { "upstream": "up", "path": "/jwks" } } });
    let config = json!({ "ways": [{ "jwt": { "issuers": [issuer] } }] });
    let yaml = fill(CONFIG, &[("config", &config.to_string()), ("up", &upstream.address())]);
    let module = file("target/filters/auth.wasm");
    let gateway = TestGateway::start_with(&format!("workers: 2\n{yaml}"), &[("auth.wasm", &module)]);
    let token = tokens["good"]["ES256"].as_str().expect("a token");
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..16).map(|_| scope.spawn(|| bearer(&gateway, token).status)).collect();
        let is_asked = |connections: &[Connection]| {
            connections.iter().flat_map(|one| &one.requests).any(|request| request.target() == "/jwks")
        };
        upstream.wait("the fetch", is_asked);
        gate.open();
        assert!(asked.into_iter().all(|one| one.join().expect("an answer") == 200));
    });
    let fetches = upstream.requests().iter().filter(|request| request.target() == "/jwks").count();
    assert_eq!(fetches, 1);
}

/// Passwords with argon2id's usual settings, 19 MiB in two passes, and with bcrypt's, which no callback has time for.
#[test]
fn passwords_are_hashed_by_the_host() {
    let upstream = upstream(String::new());
    let users = "bob:$2y$10$abcdefghijklmnopqrstuu4SuEsu2LsUrAYUpWQHLMMc4GV5pZTxK\nalice:$argon2id$v=19$m=19456,t=2,p=1$c2l4dGVlbiBieXRlcyBzYQ$xllJUVJwatbqGH4rRefg2DljdgBFTiRDSWqNql6rBsM";
    let config = json!({ "ways": [{ "basic": { "users": users, "remember": "0s" } }],
        "headers": { "subject": "x-user" } });
    let gateway = gateway(&config, &upstream);
    let bob = get(&gateway, "/orders", "authorization: Basic Ym9iOm9wZW4gc2VzYW1l\r\n");
    assert_eq!((bob.status, bob.text()), (200, "bob".to_owned()));
    let right = "authorization: Basic YWxpY2U6b3BlbiBzZXNhbWU=\r\n";
    is_known(&get(&gateway, "/orders", right));
    let wrong = get(&gateway, "/orders", "authorization: Basic YWxpY2U6b3Blbg==\r\n");
    assert_eq!((wrong.status, wrong.text()), (401, "name or password is wrong\n".to_owned()));
    std::thread::scope(|scope| {
        let several: Vec<_> = (0..4).map(|_| scope.spawn(|| get(&gateway, "/orders", right))).collect();
        for one in several {
            is_known(&one.join().expect("an answer"));
        }
    });
    assert_eq!(gateway.metric("tidegate_plugin_timeouts_total", "plugin=\"auth\""), 0.0);
}

/// A proxy that says for whom it asks is believed as itself, not as the client that it names.
#[test]
fn certificates_that_a_proxy_tells_of_behind_its_client() {
    let upstream = upstream(String::new());
    let certificate = json!({ "forwardedFrom": ["127.0.0.0/8"] });
    let config = json!({ "ways": [{ "certificate": certificate }], "headers": { "subject": "x-user" } });
    let web = "protocol: http, trustedProxies: [127.0.0.0/8]";
    let yaml = fill(
        &CONFIG.replace("protocol: http", web),
        &[("config", &config.to_string()), ("up", &upstream.address())],
    );
    let gateway = TestGateway::start_with(&yaml, &[("auth.wasm", &file("target/filters/auth.wasm"))]);
    let certificate = "x-forwarded-client-cert: URI=spiffe://example.org/alice\r\n";
    for client in ["", "x-forwarded-for: 203.0.113.9\r\n"] {
        let answer = get(&gateway, "/", &format!("{client}{certificate}"));
        let expected = (200, "spiffe://example.org/alice".to_owned());
        assert_eq!((answer.status, answer.text()), expected, "{client}");
    }
}
