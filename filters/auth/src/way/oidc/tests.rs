//! OIDC login, natively: a scripted provider, virtual time, and random bytes that are the same in each run.
#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

mod hostile;
mod lasting;

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tidegate_sdk_test::{Answer, Gateway, Reply, Seen, get, post};

use super::form::{base64, find};
use crate::Auth;
use crate::tests::{gateway, problem};

const CONFIG: &str = r#"{
  "ways": [{ "oidc": {
    "issuer": "https://idp.example/realm", "upstream": "idp",
    "clientId": "gate", "clientSecret": "a secret of the client, 32 bytes",
    "algorithms": ["HS256"], "scopes": ["email"], "parameters": { "prompt": "login" },
    "cookieKeys": ["0123456789abcdef0123456789abcdef"]
  } }],
  "headers": { "subject": "x-user", "claims": { "x-email": "email" } }
}"#;

/// What the provider answers at its token endpoint, of which the code is the nonce that it puts into the ID token.
fn tokens(form: &str) -> Value {
    let nonce = find(form, "code").unwrap_or_default();
    json!({
        "access_token": "at", "token_type": "Bearer", "expires_in": 300,
        "id_token": id_token(claims(&nonce)),
    })
}

fn claims(nonce: &str) -> Value {
    json!({
        "iss": "https://idp.example/realm", "aud": "gate", "sub": "ann", "email": "ann@a.example",
        "iat": 1_700_000_000, "exp": 1_800_000_000, "nonce": nonce, "groups": ["staff"],
    })
}

fn id_token(claims: Value) -> String {
    signed(&json!({ "alg": "HS256" }), &claims, b"a secret of the client, 32 bytes")
}

fn signed(head: &Value, claims: &Value, secret: &[u8]) -> String {
    let text = format!("{}.{}", base64(head.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("a key of any length");
    format!("{text}.{}", base64(&mac.chain_update(&text).finalize().into_bytes()))
}

fn discovery() -> Value {
    json!({
        "issuer": "https://idp.example/realm",
        "authorization_endpoint": "https://idp.example/login?a=b",
        "token_endpoint": "https://idp.example/token",
        "jwks_uri": "https://idp.example/keys",
        "end_session_endpoint": "https://idp.example/out",
    })
}

/// The provider with another answer at its token endpoint.
fn provider(token: impl Fn(&Seen) -> Reply) -> impl Fn(&Seen) -> Reply {
    move |call| match call.path() {
        "/realm/.well-known/openid-configuration" => Reply::new(200).body(discovery().to_string()),
        "/token" => token(call),
        _ => Reply::new(404),
    }
}

fn with_tokens(config: &str, answer: impl Fn(&str) -> Value + Send + Sync + 'static) -> Gateway<Auth> {
    let gateway = gateway(config);
    gateway.on_call(
        "idp",
        provider(move |call| {
            let form = String::from_utf8_lossy(call.body()).into_owned();
            Reply::new(200).body(answer(&form).to_string())
        }),
    );
    gateway
}

fn page(path: &str) -> tidegate_sdk_test::Request {
    get(path).header("accept", "text/html,*/*")
}

/// All cookies that an answer sets, as the browser sends them back.
fn cookies(answer: &Answer) -> String {
    let set = answer.headers().get_all("set-cookie").filter_map(|value| value.to_str());
    let set = set.filter(|line| !line.contains("Max-Age=0;"));
    set.filter_map(|line| line.split(';').next()).collect::<Vec<_>>().join("; ")
}

/// The parameter of the redirect to the provider.
fn sent(answer: &Answer, name: &str) -> String {
    let (_, query) = answer.header("location").unwrap_or_default().split_once('?').unwrap_or_default();
    find(query, name).unwrap_or_default()
}

fn callback(begun: &Answer) -> String {
    format!("/oauth2/callback?code={}&state={}", sent(begun, "nonce"), sent(begun, "state"))
}

/// Logs in; returns the session's cookies.
fn logged_in(gateway: &Gateway<Auth>) -> String {
    let begun = gateway.send(page("/orders?x=1"));
    let back = gateway.send(page(&callback(&begun)).header("cookie", cookies(&begun)));
    assert_eq!((back.status(), back.header("location")), (303, Some("/orders?x=1")), "{back:?}");
    cookies(&back)
}

#[test]
fn a_browser_is_sent_to_the_provider() {
    let gateway = with_tokens(CONFIG, tokens);
    let answer = gateway.send(page("/orders?x=1").property("source.port", [0]));
    assert_eq!((answer.status(), answer.details()), (302, "oidc_login_begun"));
    let location = answer.header("location").expect("a redirect");
    assert!(
        location.starts_with("https://idp.example/login?a=b&response_type=code&client_id=gate&"),
        "{location}"
    );
    for (name, value) in [
        ("redirect_uri", "http://example.com/oauth2/callback"),
        ("scope", "openid email"),
        ("code_challenge_method", "S256"),
        ("prompt", "login"),
    ] {
        assert_eq!(sent(&answer, name), value, "{name}");
    }
    for name in ["state", "nonce"] {
        assert_eq!(sent(&answer, name).len(), 22, "{name}: 16 bytes");
    }
    assert_ne!(sent(&answer, "state"), sent(&answer, "nonce"));
    assert_eq!(sent(&answer, "code_challenge").len(), 43);
    let cookie = answer.header("set-cookie").expect("a cookie");
    let name = format!("__Host-tidegate-session-login-{}=", sent(&answer, "state").split_at(8).0);
    assert!(cookie.starts_with(&name), "{cookie}");
    assert!(cookie.ends_with("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.upstream().is_none());
}

#[test]
fn a_login_leads_back_with_a_session() {
    let gateway = with_tokens(CONFIG, tokens);
    let begun = gateway.send(page("/orders?x=1"));
    let back = gateway.send(page(&callback(&begun)).header("cookie", cookies(&begun)));
    assert_eq!((back.status(), back.header("location")), (303, Some("/orders?x=1")));
    let [.., call] = back.calls() else { panic!("no call") };
    let form = String::from_utf8_lossy(call.body()).into_owned();
    assert_eq!((call.method(), call.path()), ("POST", "/token"));
    assert_eq!(call.header(":authority"), Some("idp.example"));
    let basic = "Basic Z2F0ZTphJTIwc2VjcmV0JTIwb2YlMjB0aGUlMjBjbGllbnQlMkMlMjAzMiUyMGJ5dGVz";
    assert_eq!(call.header("authorization"), Some(basic));
    assert_eq!(find(&form, "grant_type").as_deref(), Some("authorization_code"));
    assert_eq!(find(&form, "redirect_uri").as_deref(), Some("http://example.com/oauth2/callback"));
    let verifier = find(&form, "code_verifier").expect("a verifier");
    assert_eq!(base64(&Sha256::digest(verifier)), sent(&begun, "code_challenge"));
    let lines: Vec<&str> = back.headers().get_all("set-cookie").filter_map(|value| value.to_str()).collect();
    assert_eq!(lines.len(), 2, "the session, and the end of the attempt: {lines:?}");
    assert!(lines[0].ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax; Secure"), "{lines:?}");
    assert!(lines[1].contains("-login-") && lines[1].contains("Max-Age=0;"), "{lines:?}");

    let cookie = format!("a=1; {}; __Host-tidegate-session-login-12345678=x; b=2", cookies(&back));
    let answer = gateway.send(page("/orders").header("cookie", cookie).header("x-user", "admin"));
    let seen = answer.upstream().expect("it passes");
    assert_eq!((seen.header("x-user"), seen.header("x-email")), (Some("ann"), Some("ann@a.example")));
    assert_eq!(seen.header("cookie"), Some("a=1; b=2"), "the upstream sees none of ours");
    assert_eq!((answer.header("set-cookie"), answer.calls().len()), (None, 0));
}

#[test]
fn requests_of_scripts_are_not_sent_away() {
    let gateway = with_tokens(CONFIG, tokens);
    for request in [
        get("/"),
        get("/").header("accept", "application/json"),
        page("/").header("x-requested-with", "XMLHttpRequest"),
        page("/").header("sec-fetch-dest", "empty"),
        post("/").header("accept", "text/html"),
        page("/").header("cookie", "__Host-tidegate-session=no").header("sec-fetch-dest", "image"),
    ] {
        let answer = gateway.send(request);
        assert_eq!((answer.status(), answer.header("www-authenticate")), (401, Some("Cookie")));
        assert_eq!((answer.header("location"), answer.calls().len()), (None, 0));
    }
}

#[test]
fn a_login_at_will_returns_where_it_says_but_not_elsewhere() {
    let anonymous = CONFIG.replacen('{', r#"{ "anonymous": true, "#, 1);
    let gateway = with_tokens(&anonymous, tokens);
    assert_eq!(gateway.send(page("/")).status(), 200, "everybody may see it");
    for (to, back_at) in
        [("/cart", "/cart"), ("//evil.example", "/"), ("https%3A%2F%2Fevil.example", "/"), ("", "/")]
    {
        let begun = gateway.send(page(&format!("/oauth2/login?to={to}")));
        let back = gateway.send(page(&callback(&begun)).header("cookie", cookies(&begun)));
        assert_eq!(back.header("location"), Some(back_at), "{to}");
    }
}

#[test]
fn the_external_address_counts_where_it_is_named() {
    let config = CONFIG.replace(r#""upstream""#, r#""externalUrl": "https://Shop.example/", "upstream""#);
    let answer = with_tokens(&config, tokens).send(page("/"));
    assert_eq!(sent(&answer, "redirect_uri"), "https://shop.example/oauth2/callback");
}

#[test]
fn the_upstream_gets_the_access_token_where_it_is_to() {
    let config = CONFIG.replace(r#""upstream""#, r#""accessTokenHeader": "Authorization", "upstream""#);
    let gateway = with_tokens(&config, tokens);
    let cookie = logged_in(&gateway);
    let answer = gateway.send(page("/").header("cookie", cookie).header("authorization", "Bearer forged"));
    let seen = answer.upstream().expect("it passes");
    assert_eq!(seen.headers().get_all("authorization").count(), 1);
    assert_eq!(seen.header("authorization"), Some("Bearer at"));
}

#[test]
fn endpoints_may_be_named_and_be_on_several_hosts() {
    let config = CONFIG.replace(
        r#""upstream""#,
        r#""clientAuthentication": "post", "upstreams": { "tokens.example": "t" }, "endpoints": {
            "authorization": "https://idp.example/a", "token": "https://tokens.example:444/t",
            "jwks": "https://idp.example/k" }, "upstream""#,
    );
    let gateway = gateway(&config);
    gateway
        .on_call("t", |call| Reply::new(200).body(tokens(&String::from_utf8_lossy(call.body())).to_string()));
    let begun = gateway.send(page("/"));
    assert!(
        begun.header("location").is_some_and(|to| to.starts_with("https://idp.example/a?response_type=code"))
    );
    let back = gateway.send(page(&callback(&begun)).header("cookie", cookies(&begun)));
    let [call] = back.calls() else { panic!("{:?}", back.calls()) };
    assert_eq!((call.path(), call.header(":authority")), ("/t", Some("tokens.example:444")));
    let form = String::from_utf8_lossy(call.body()).into_owned();
    assert_eq!(find(&form, "client_secret").as_deref(), Some("a secret of the client, 32 bytes"));
    assert_eq!((find(&form, "client_id").as_deref(), call.header("authorization")), (Some("gate"), None));
    assert_eq!(back.status(), 303);
}

#[test]
fn a_wrong_configuration_names_its_key() {
    let of = |from: &str, to: &str| CONFIG.replace(from, to);
    let more = |text: &str| of(r#""upstream""#, &format!(r#"{text}, "upstream""#));
    for (config, expected) in [
        (
            of("https://idp.example/realm", "idp"),
            "issuer: \"idp\" is not a URL, as \"https://login.example.com/path\" is",
        ),
        (
            of("0123456789abcdef0123456789abcdef", "short"),
            "cookieKeys: the secret at 0 is shorter than 32 characters; `openssl rand -base64 32` makes one",
        ),
        (
            of(r#"["0123456789abcdef0123456789abcdef"]"#, "[]"),
            "cookieKeys: no secret is listed; `openssl rand -base64 32` makes one",
        ),
        (more(r#""callbackPath": "/x", "logoutPath": "/x""#), "logoutPath: \"/x\" has another use already"),
        (more(r#""callbackPath": "//x""#), "callbackPath: \"//x\" is no path, as \"/oauth2/callback\" is"),
        (
            more(r#""externalUrl": "https://a/b""#),
            "externalUrl: \"https://a/b\" has a path; scheme and host are enough",
        ),
        (
            more(r#""cookie": { "sameSite": "none", "secure": false }"#),
            "cookie.sameSite: `none` needs `secure: true`",
        ),
        (more(r#""cookie": { "name": "a b" }"#), "cookie.name: \"a b\" is no name of a cookie"),
        (more(r#""afterLogout": "bye""#), "afterLogout: is neither a path, as \"/\", nor a URL"),
        (of(r#"["email"]"#, r#"["a b"]"#), "scopes: \"a b\" is no scope, as \"email\" is"),
        (
            more(
                r#""endpoints": { "authorization": "https://a/", "token": "https://b/t", "jwks": "https://idp.example/" }"#,
            ),
            "endpoints.token: upstreams: no upstream is named for the host \"b\" of https://b/t",
        ),
    ] {
        assert_eq!(problem(&config), format!("config.ways[0].oidc.{expected}"));
    }
}
