//! The filter's behaviour by the Fetch standard, and its configuration's errors, natively.

use tidegate_sdk_test::{Answer, Gateway, Reply, Request, get, post};

use crate::Cors;

fn gateway(config: &str) -> Gateway<Cors> {
    Gateway::start(config).expect("a correct configuration")
}

fn preflight(origin: &str) -> Request {
    Request::new("OPTIONS", "/orders").header("origin", origin).header("access-control-request-method", "PUT")
}

fn headers(answer: &Answer) -> Vec<String> {
    let ours =
        answer.headers().iter().filter(|(name, _)| name.starts_with("access-control-") || *name == "vary");
    let mut lines: Vec<String> =
        ours.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?"))).collect();
    lines.sort();
    lines
}

const SHOP: &str = r#"{
    "origins": ["https://shop.example.com", "https://*.example.org", "http://localhost:*", { "regex": "https://pr-[0-9]+\\.dev\\.test" }],
    "methods": ["GET", "PUT", "DELETE"], "headers": ["Content-Type", "x-csrf"], "exposedHeaders": ["x-total"],
    "maxAge": "10m", "credentials": true, "privateNetwork": true
}"#;

#[test]
fn a_preflight_is_answered_by_the_filter() {
    let answer = gateway(SHOP).send(preflight("https://shop.example.com"));
    assert_eq!((answer.status(), answer.is_from_filter()), (204, true));
    assert!(answer.upstream().is_none());
    assert_eq!(
        headers(&answer),
        [
            "access-control-allow-credentials: true",
            "access-control-allow-headers: content-type, x-csrf",
            "access-control-allow-methods: GET, PUT, DELETE",
            "access-control-allow-origin: https://shop.example.com",
            "access-control-max-age: 600",
            "vary: origin, access-control-request-private-network",
        ]
    );
    assert_eq!(answer.metric("cors_preflights_total"), 1);
}

#[test]
fn a_private_network_is_opened_only_where_it_is_asked_for() {
    let asked =
        preflight("https://shop.example.com").header("access-control-request-private-network", "true");
    let answer = gateway(SHOP).send(asked.clone());
    assert_eq!(answer.header("access-control-allow-private-network"), Some("true"));
    let answer = gateway(r#"{ "origins": ["https://shop.example.com"] }"#).send(asked);
    assert_eq!(answer.header("access-control-allow-private-network"), None);
}

#[test]
fn origins_match_as_a_whole() {
    let gateway = gateway(SHOP);
    let cases = [
        ("https://shop.example.com", true),
        ("http://shop.example.com", false),
        ("https://shop.example.com:8443", false),
        ("https://shop.example.com.evil.test", false),
        ("https://SHOP.example.com", false),
        ("https://a.example.org", true),
        ("https://a.b.example.org", true),
        ("https://example.org", false),
        ("https://.example.org", false),
        ("https://a..example.org", false),
        ("https://evilexample.org", false),
        ("https://evil.test#.example.org", false),
        ("https://evil.test/.example.org", false),
        ("https://u@a.example.org", false),
        ("https://a.example.org:8443", false),
        ("http://localhost:5173", true),
        ("http://localhost", true),
        ("http://localhost:x", false),
        ("http://localhost:5173.evil.test", false),
        ("https://pr-12.dev.test", true),
        ("https://pr-12.dev.test.evil.test", false),
        ("https://evil.test/https://pr-12.dev.test", false),
        ("null", false),
        ("", false),
    ];
    for (origin, allowed) in cases {
        let answer = gateway.send(get("/").header("origin", origin));
        let expected = allowed.then_some(origin);
        assert_eq!(answer.header("access-control-allow-origin"), expected, "{origin}");
        assert_eq!(answer.header("access-control-allow-credentials"), expected.map(|_| "true"), "{origin}");
        assert!(answer.upstream().is_some());
        assert_eq!(answer.header("vary"), Some("origin"), "{origin}");
    }
}

#[test]
fn an_answer_of_the_upstream_loses_its_own_cors_headers() {
    let reply = Reply::new(200)
        .header("access-control-allow-origin", "*")
        .header("Access-Control-Allow-Origin", "https://b.test")
        .header("access-control-max-age", "1")
        .header("access-control-expose-headers", "*")
        .header("x-total", "5");
    let answer =
        gateway(SHOP).send(get("/").header("origin", "https://a.example.org").answered(reply.clone()));
    assert_eq!(
        headers(&answer),
        [
            "access-control-allow-credentials: true",
            "access-control-allow-origin: https://a.example.org",
            "access-control-expose-headers: x-total",
            "vary: origin",
        ]
    );
    let answer = gateway(SHOP).send(get("/").answered(reply));
    assert_eq!(headers(&answer), ["vary: origin"]);
}

#[test]
fn vary_is_appended_and_not_repeated() {
    let cases: [(&[&str], &[&str]); 7] = [
        (&[], &["origin"]),
        (&["accept-encoding"], &["accept-encoding, origin"]),
        (&["accept-encoding", "accept"], &["accept-encoding, accept, origin"]),
        (&["Origin"], &["Origin"]),
        (&["accept", "x-a ,ORIGIN"], &["accept", "x-a ,ORIGIN"]),
        (&["*"], &["*"]),
        (&["x-origin"], &["x-origin, origin"]),
    ];
    for (upstream, expected) in cases {
        let reply = upstream.iter().fold(Reply::new(200), |reply, value| reply.header("vary", *value));
        let answer = gateway(SHOP).send(get("/").header("origin", "https://a.example.org").answered(reply));
        let found: Vec<_> =
            answer.headers().get_all("vary").map(|value| value.to_str().unwrap_or("?")).collect();
        assert_eq!(found, expected, "{upstream:?}");
    }
}

#[test]
fn everybody_is_the_same_for_all() {
    let gateway = gateway(r#"{ "origins": ["*"], "methods": ["*"], "headers": ["*", "authorization"] }"#);
    for request in [get("/"), get("/").header("origin", "https://a.test"), get("/").header("origin", "null")]
    {
        let answer = gateway.send(request.answered(Reply::new(200).header("vary", "accept")));
        assert_eq!(headers(&answer), ["access-control-allow-origin: *", "vary: accept"]);
    }
    let answer = gateway.send(preflight("https://a.test"));
    assert_eq!(
        headers(&answer),
        [
            "access-control-allow-headers: *, authorization",
            "access-control-allow-methods: *",
            "access-control-allow-origin: *",
        ]
    );
}

#[test]
fn asked_headers_are_mirrored_where_they_are_headers() {
    let gateway = gateway(r#"{ "origins": ["https://a.test"], "headers": "mirror" }"#);
    let ask = |names: &str| preflight("https://a.test").header("access-control-request-headers", names);
    let answer = gateway.send(ask("content-type,x-csrf"));
    assert_eq!(answer.header("access-control-allow-headers"), Some("content-type,x-csrf"));
    assert_eq!(answer.header("vary"), Some("origin, access-control-request-headers"));
    for names in ["x\tb", "a:b", "\"", &"a,".repeat(3000)] {
        assert_eq!(gateway.send(ask(names)).header("access-control-allow-headers"), None, "{names}");
    }
    assert_eq!(gateway.send(preflight("https://a.test")).header("access-control-allow-headers"), None);
}

#[test]
fn other_origins_pass_or_are_refused() {
    let passing = gateway(r#"{ "origins": ["https://a.test"] }"#);
    let answer = passing.send(preflight("https://evil.test"));
    assert_eq!((answer.status(), answer.header("access-control-allow-origin")), (204, None));
    assert!(answer.upstream().is_none());
    let answer = passing.send(post("/").header("origin", "https://evil.test"));
    assert_eq!((answer.status(), answer.metric("cors_other_origins_total")), (200, 1));
    assert_eq!(headers(&answer), ["vary: origin"]);

    let refusing = gateway(r#"{ "origins": ["https://a.test"], "otherOrigins": "refuse" }"#);
    for request in [preflight("https://evil.test"), post("/").header("origin", "https://evil.test")] {
        let answer = refusing.send(request);
        assert_eq!((answer.status(), answer.details()), (403, "cors_other_origin"));
        assert_eq!((answer.header("vary"), answer.upstream().is_some()), (Some("origin"), false));
    }
    for origin in ["https://a.test", "http://example.com", "http://EXAMPLE.com"] {
        assert_eq!(refusing.send(post("/").header("origin", origin)).status(), 200, "{origin}");
    }
    assert_eq!(refusing.send(post("/").header("origin", "https://example.com")).status(), 403);
    assert_eq!(refusing.send(get("/")).status(), 200);
}

#[test]
fn options_that_are_no_preflight_pass() {
    let gateway = gateway(SHOP);
    for request in [
        Request::new("OPTIONS", "/"),
        Request::new("OPTIONS", "/").header("origin", "https://shop.example.com"),
        Request::new("OPTIONS", "/").header("access-control-request-method", "PUT"),
        get("/").header("origin", "https://a.test").header("access-control-request-method", "PUT"),
    ] {
        assert!(gateway.send(request).upstream().is_some());
    }
}

#[test]
fn a_document_without_an_origin_must_be_listed() {
    let gateway = gateway(r#"{ "origins": ["null"] }"#);
    let answer = gateway.send(get("/").header("origin", "null"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("null"));
}

#[test]
fn a_wrong_configuration_is_refused_with_the_key_that_is_wrong() {
    let cases = [
        ("{}", "config: missing field `origins`"),
        (r#"{ "origins": [] }"#, "config.origins: no origin is listed, so the filter would allow nobody"),
        (
            r#"{ "origins": [5] }"#,
            "config.origins[0]: expected an origin as \"https://app.example.com\", or { regex }",
        ),
        (
            r#"{ "origins": ["https://a.test", "*"], "credentials": true }"#,
            "config.origins[1]: \"*\" cannot be together with credentials: true, since browsers refuse it; list the origins",
        ),
        (
            r#"{ "origins": ["a.test"] }"#,
            "config.origins[0]: \"a.test\" is not an origin, as \"https://app.example.com\" is",
        ),
        (
            r#"{ "origins": ["https://a.test/"] }"#,
            "config.origins[0]: \"https://a.test/\" has more than scheme, host and port in it; browsers send no more",
        ),
        (
            r#"{ "origins": ["https://a.test:443"] }"#,
            "config.origins[0]: \"https://a.test:443\" has the usual port in it, which browsers leave out",
        ),
        (
            r#"{ "origins": ["https://*"] }"#,
            "config.origins[0]: \"https://*\" has a * that is not before a dot and a name, as in \"https://*.example.com\"",
        ),
        (
            r#"{ "origins": ["https://a.*.test"] }"#,
            "config.origins[0]: \"https://a.*.test\" has no host, as \"app.example.com\" is; a * stands for whole names at its start",
        ),
        (
            r#"{ "origins": ["https://a.test:x"] }"#,
            "config.origins[0]: \"https://a.test:x\" has no port behind the colon, as 8443 or * is",
        ),
        (
            r#"{ "origins": ["*"], "methods": [] }"#,
            "config.methods: no method is listed; leave it out for GET, HEAD and POST",
        ),
        (
            r#"{ "origins": ["https://a.test"], "headers": ["a", "b c"] }"#,
            "config.headers[1]: \"b c\" is not a name, as \"x-api-key\" or \"PUT\" is",
        ),
        (
            r#"{ "origins": ["https://a.test"], "headers": ["*"], "credentials": true }"#,
            "config.headers[0]: \"*\" means nothing to browsers where credentials are allowed; list the names",
        ),
        (
            r#"{ "origins": ["*"], "headers": "all" }"#,
            "config.headers: expected a list of header names, or the word mirror",
        ),
        (
            r#"{ "origins": ["*"], "maxAge": "10" }"#,
            "config.maxAge: invalid value: string, expected a span of time as 20ms, 5s, 1m30s or 1h, at most 8760h",
        ),
    ];
    for (config, expected) in cases {
        let error = Gateway::<Cors>::start(config).expect_err("a wrong configuration");
        assert_eq!(error.to_string(), expected, "for {config}");
    }
    let error =
        Gateway::<Cors>::start(r#"{ "origins": [{ "regex": "(" }] }"#).expect_err("a wrong configuration");
    assert!(
        error.to_string().starts_with("config.origins[0]: \"(\" is not a regular expression: "),
        "{error}"
    );
}

#[test]
fn the_reference_page_is_current() {
    let page = tidegate_sdk_test::reference::page("cors", crate::schema().as_value());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/filters/reference/cors.md");
    tidegate_sdk_test::reference::assert_current(path, &page);
}
