//! Logins that somebody tampers with, and providers that fail.

use std::time::Duration;

use super::*;

/// The answer to a return from the provider with this query and these cookies.
fn back(gateway: &Gateway<Auth>, query: &str, cookie: &str) -> Answer {
    gateway.send(page(&format!("/oauth2/callback?{query}")).header("cookie", cookie))
}

#[test]
fn only_the_browser_that_began_a_login_ends_it() {
    let gateway = with_tokens(CONFIG, tokens);
    let (begun, other) = (gateway.send(page("/")), gateway.send(page("/")));
    let (state, nonce, cookie) = (sent(&begun, "state"), sent(&begun, "nonce"), cookies(&begun));
    let good = format!("code={nonce}&state={state}");
    let (name, value) = cookie.split_once('=').expect("a cookie");
    let (_, foreign) =
        cookies(&other).split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a cookie");
    let tampered = |at: usize| {
        let mut value = value.as_bytes().to_vec();
        value[at] = if value[at] == b'A' { b'B' } else { b'A' };
        format!("{name}={}", String::from_utf8_lossy(&value))
    };
    let same_name = format!("{}x{}", &state[..8], &state[9..]);
    for (query, cookie, what) in [
        (good.clone(), String::new(), "no cookie"),
        (good.clone(), cookies(&other), "the cookie of another login"),
        (good.clone(), format!("{name}={foreign}"), "another login's value under this one's name"),
        (good.clone(), tampered(0), "a changed nonce"),
        (good.clone(), tampered(40), "a changed text"),
        (good.clone(), tampered(value.len() - 3), "a changed tag"),
        (good.clone(), format!("{name}="), "an empty cookie"),
        (format!("code={nonce}"), cookie.clone(), "no state"),
        (format!("code={nonce}&state="), cookie.clone(), "an empty state"),
        (format!("code={nonce}&state={same_name}"), cookie.clone(), "another state under the same name"),
        (format!("{good}&state={state}"), cookie.clone(), "two states"),
        (format!("state={state}"), cookie.clone(), "neither code nor error"),
        (format!("{good}&iss=https%3A%2F%2Fevil.example"), cookie.clone(), "another issuer"),
    ] {
        let answer = back(&gateway, &query, &cookie);
        assert_eq!((answer.status(), answer.details()), (400, "oidc_login_unknown"), "{what}");
        assert!(answer.calls().is_empty() && cookies(&answer).is_empty(), "{what}");
    }
    assert_eq!(back(&gateway, &good, &cookie).status(), 303);
}

#[test]
fn a_login_takes_no_longer_than_it_may() {
    let gateway = with_tokens(CONFIG, tokens);
    let begun = gateway.send(page("/"));
    gateway.advance(Duration::from_secs(599));
    assert_eq!(gateway.send(page(&callback(&begun)).header("cookie", cookies(&begun))).status(), 303);
    let begun = gateway.send(page("/"));
    gateway.advance(Duration::from_secs(600));
    assert_eq!(gateway.send(page(&callback(&begun)).header("cookie", cookies(&begun))).status(), 400);
}

#[test]
fn id_tokens_that_prove_nothing_are_refused() {
    let with = |name: &'static str, value: Value| {
        move |nonce: &str| {
            let mut claims = claims(nonce);
            claims[name] = value.clone();
            id_token(claims)
        }
    };
    type Make = Box<dyn Fn(&str) -> String + Send + Sync>;
    let secret = b"a secret of the client, 32 bytes";
    let cases: Vec<(&str, Make)> = vec![
        ("another nonce", Box::new(with("nonce", json!("guessed")))),
        ("no nonce", Box::new(with("nonce", Value::Null))),
        ("another issuer", Box::new(with("iss", json!("https://evil.example/")))),
        ("another client", Box::new(with("aud", json!("other")))),
        ("no client", Box::new(with("aud", json!([])))),
        ("several clients, without a party", Box::new(with("aud", json!(["gate", "other"])))),
        ("another party", Box::new(with("azp", json!("other")))),
        ("an end in the past", Box::new(with("exp", json!(1_699_999_000)))),
        ("no end", Box::new(with("exp", Value::Null))),
        ("made in the future", Box::new(with("iat", json!(1_700_000_200)))),
        ("no subject", Box::new(with("sub", json!("")))),
        ("another key", Box::new(|nonce| signed(&json!({ "alg": "HS256" }), &claims(nonce), b"guessed"))),
        ("no algorithm", Box::new(move |nonce| signed(&json!({ "alg": "none" }), &claims(nonce), secret))),
        (
            "another algorithm",
            Box::new(move |nonce| signed(&json!({ "alg": "HS512" }), &claims(nonce), secret)),
        ),
        (
            "no signature",
            Box::new(|nonce| {
                let token = id_token(claims(nonce));
                token.rsplit_once('.').map(|(text, _)| format!("{text}.")).unwrap_or_default()
            }),
        ),
        ("no token", Box::new(|_| "nonsense".to_owned())),
    ];
    for (what, make) in cases {
        let gateway = with_tokens(CONFIG, move |form| {
            let mut answer = tokens(form);
            answer["id_token"] = json!(make(&find(form, "code").unwrap_or_default()));
            answer
        });
        let begun = gateway.send(page("/"));
        let answer = gateway.send(page(&callback(&begun)).header("cookie", cookies(&begun)));
        assert_eq!((answer.status(), answer.details()), (401, "oidc_token_invalid"), "{what}");
        assert_eq!(cookies(&answer), "", "{what}");
    }
}

#[test]
fn what_the_provider_says_is_told() {
    let gateway = with_tokens(CONFIG, tokens);
    for (error, status) in [
        ("access_denied", 403),
        ("login_required", 401),
        ("temporarily_unavailable", 503),
        ("server_error", 502),
        ("%3Cscript%3E", 502),
    ] {
        let begun = gateway.send(page("/"));
        let query = format!("error={error}&error_description=%3Cb%3E&state={}", sent(&begun, "state"));
        let answer = back(&gateway, &query, &cookies(&begun));
        assert_eq!((answer.status(), answer.text().contains('<')), (status, false), "{error}");
    }
    let forged = back(&gateway, "error=access_denied&state=guessed-guessed-guessed", "");
    assert_eq!(forged.status(), 400, "without a login nothing is told");
}

#[test]
fn a_token_endpoint_that_fails_is_a_clear_error() {
    type Script = fn(&Seen) -> Reply;
    let cases: [(Script, u16, &str); 8] = [
        (|_| Reply::new(400).body(r#"{"error":"invalid_grant"}"#), 400, "oidc_login_unknown"),
        (|_| Reply::new(401).body(r#"{"error":"invalid_client"}"#), 502, "oidc_provider_failed"),
        (|_| Reply::new(500), 502, "oidc_provider_failed"),
        (|_| Reply::new(503), 503, "oidc_provider_away"),
        (|_| Reply::none(), 503, "oidc_provider_away"),
        (|_| Reply::new(200).after(Duration::from_millis(5001)), 503, "oidc_provider_away"),
        (|_| Reply::new(200).body("<html>"), 502, "oidc_provider_failed"),
        (|_| Reply::new(200).body(r#"{"access_token":"a"}"#), 502, "oidc_provider_failed"),
    ];
    for (script, status, word) in cases {
        let gateway = gateway(CONFIG);
        gateway.on_call("idp", provider(script));
        let begun = gateway.send(page("/"));
        let answer = gateway.send(page(&callback(&begun)).header("cookie", cookies(&begun)));
        assert_eq!((answer.status(), answer.details()), (status, word));
        assert_eq!(cookies(&answer), "");
    }
}

#[test]
fn a_discovery_document_is_taken_from_the_issuer_only() {
    let changed = |name: &'static str, value: &'static str| {
        move |_: &Seen| {
            let mut document = discovery();
            document[name] = json!(value);
            Reply::new(200).body(document.to_string())
        }
    };
    let other = gateway(CONFIG);
    other.on_call("idp", changed("issuer", "https://evil.example"));
    let elsewhere = gateway(CONFIG);
    elsewhere.on_call("idp", changed("token_endpoint", "https://evil.example/token"));
    let script = gateway(CONFIG);
    script.on_call("idp", changed("authorization_endpoint", "javascript:alert(1)"));
    let broken = gateway(CONFIG);
    broken.on_call("idp", |_| Reply::new(404));
    for gateway in [other, elsewhere, script, broken] {
        let answer = gateway.send(page("/"));
        assert_eq!((answer.status(), answer.details()), (502, "oidc_provider_failed"));
    }
    let away = gateway(CONFIG);
    let answer = away.send(page("/"));
    assert_eq!((answer.status(), answer.header("retry-after")), (503, Some("5")));
}
