//! External authorization, natively with scripted services.

use std::time::Duration;

use tidegate_sdk_test::{Gateway, Reply, Seen, get, post};

use super::check::tests::option;
use super::protobuf::{Value, Writer, read};
use crate::Auth;
use crate::tests::{gateway, problem};

const PATH: &str = r#"{
  "ways": [{ "external": {
    "http": {
      "upstream": "authz", "path": "/check?from=gate", "method": "GET",
      "requestHeaders": ["cookie", "x-in-*", "x-forwarded-for"],
      "addHeaders": { "x-secret": "s" },
      "upstreamHeaders": ["X-User", "x-group-*"],
      "clientHeaders": ["location", "x-why"],
      "clientHeadersOnSuccess": ["set-cookie"]
    },
    "timeout": "200ms",
    "subjectHeader": "x-user"
  } }],
  "headers": { "subject": "x-subject" }
}"#;

fn answering(config: &str, script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Gateway<Auth> {
    let gateway = gateway(config);
    gateway.on_call("authz", script);
    gateway
}

#[test]
fn a_service_at_a_path_is_told_of_the_request_in_headers() {
    let gateway = answering(PATH, |_| Reply::new(200));
    let request = post("/orders?x=1")
        .header("cookie", "a=b")
        .header("x-in-a", "1")
        .header("x-other", "2")
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-secret", "guessed")
        .body("not shown");
    let answer = gateway.send(request.from("192.0.2.7:5000"));
    let [call] = answer.calls() else { panic!("{:?}", answer.calls()) };
    assert_eq!((call.method(), call.path(), call.body()), ("GET", "/check?from=gate", &b""[..]));
    for (name, value) in [
        ("cookie", Some("a=b")),
        ("x-in-a", Some("1")),
        ("x-other", None),
        ("x-secret", Some("s")),
        ("x-forwarded-for", Some("192.0.2.7")),
        ("x-forwarded-method", Some("POST")),
        ("x-forwarded-host", Some("example.com")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-uri", Some("/orders?x=1")),
        ("x-original-uri", Some("/orders?x=1")),
        ("content-length", None),
    ] {
        assert_eq!(call.header(name), value, "{name}");
        assert!(call.headers().get_all(name).count() <= 1, "{name}");
    }
}

#[test]
fn a_consent_tells_the_upstream_and_the_client() {
    let gateway = answering(PATH, |_| {
        let reply = Reply::new(204).header("x-user", "ann").header("x-group-a", "1").header("x-group-a", "2");
        reply.header("set-cookie", "s=1").header("x-hidden", "no")
    });
    let forged = get("/").header("x-user", "admin").header("x-group-root", "1").header("x-subject", "admin");
    let answer = gateway.send(forged);
    let seen = answer.upstream().expect("it passes");
    assert_eq!(seen.header("x-user"), Some("ann"));
    assert_eq!(seen.headers().get_all("x-user").count(), 1);
    assert_eq!(seen.headers().get_all("x-group-a").count(), 2);
    assert_eq!((seen.header("x-group-root"), seen.header("x-hidden")), (None, None));
    assert_eq!(seen.header("x-subject"), Some("ann"));
    assert_eq!(answer.header("set-cookie"), Some("s=1"));
}

#[test]
fn a_denial_is_the_clients_answer() {
    let gateway = answering(PATH, |_| {
        Reply::new(302).header("location", "https://login.example/").header("x-hidden", "no").body("go there")
    });
    let answer = gateway.send(get("/"));
    assert_eq!((answer.status(), answer.text().as_str()), (302, "go there"));
    assert_eq!(answer.header("location"), Some("https://login.example/"));
    assert_eq!((answer.header("x-hidden"), answer.details()), (None, "external_denied"));
    assert!(answer.upstream().is_none());
}

#[test]
fn a_service_behind_a_prefix_is_asked_for_the_path() {
    let config = r#"{ "ways": [{ "external": {
        "http": { "upstream": "authz", "pathPrefix": "/auth/", "authority": "authz.internal" }, "bodyLimit": 5 } }] }"#;
    let gateway = answering(config, |_| Reply::new(403).header("x-any", "1").body("no"));
    let answer = gateway.send(post("/a?b").header("x-h", "1").body("12345"));
    let [call] = answer.calls() else { panic!("{:?}", answer.calls()) };
    assert_eq!((call.method(), call.path(), call.body()), ("POST", "/auth/a?b", &b"12345"[..]));
    assert_eq!((call.header(":authority"), call.header("x-h")), (Some("authz.internal"), Some("1")));
    assert_eq!((answer.status(), answer.header("x-any")), (403, Some("1")));
    let long = gateway.send(post("/a").body("123456"));
    assert_eq!((long.status(), long.calls().len()), (413, 0));
}

#[test]
fn without_a_decision_the_configuration_decides() {
    let allowing = PATH.replace(r#""timeout""#, r#""onFailure": "allow", "timeout""#);
    let strict = PATH.replace(r#""timeout""#, r#""statusOnFailure": 403, "timeout""#);
    let failures: [fn(&Seen) -> Reply; 4] = [
        |_| Reply::none(),
        |_| Reply::new(500),
        |_| Reply::new(503),
        |_| Reply::new(200).after(Duration::from_millis(201)),
    ];
    for (number, script) in failures.into_iter().enumerate() {
        for (config, status) in [(PATH, 503), (&strict, 403), (&allowing, 200)] {
            let answer = answering(config, script).send(get("/").header("x-user", "admin"));
            assert_eq!(answer.status(), status, "failure {number}");
            assert_eq!(answer.upstream().and_then(|seen| seen.header("x-user")), None, "failure {number}");
            assert_eq!(answer.upstream().is_some(), status == 200);
        }
    }
    let in_time = answering(PATH, |_| Reply::new(200).after(Duration::from_millis(199)));
    assert_eq!(in_time.send(get("/")).status(), 200);
}

const GRPC: &str = r#"{ "ways": [{ "external": {
    "grpc": { "upstream": "authz", "requestHeaders": ["x-a", "authorization"], "contextExtensions": { "k": "v" },
              "metadata": { "x-meta": "m" } },
    "bodyLimit": "1KiB"
} }] }"#;

/// Fields of a message, by a path of numbers.
fn at(bytes: &[u8], path: &[u32]) -> Vec<Vec<u8>> {
    let Some((first, rest)) = path.split_first() else { return vec![bytes.to_vec()] };
    let mut found = Vec::new();
    read(bytes, |field, value| {
        match value {
            Value::Bytes(bytes) if field == *first => found.extend(at(bytes, rest)),
            Value::Number(number) if field == *first => found.push(number.to_string().into_bytes()),
            _ => {}
        }
        Ok(())
    })
    .expect("a well-formed message");
    found
}

fn text(bytes: &[u8], path: &[u32]) -> String {
    at(bytes, path)
        .into_iter()
        .next()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

#[test]
fn a_grpc_service_gets_envoys_attributes() {
    let gateway = answering(GRPC, |_| Reply::new(200));
    let request =
        post("/a?b=c").header("x-a", "1").header("x-hidden", "2").body("hello").from("192.0.2.7:5000");
    let request = request
        .property("source.port", 5000_i64.to_le_bytes())
        .property("connection.mtls", [1])
        .property("connection.uri_san_peer_certificate", "spiffe://a/b")
        .property("connection.requested_server_name", "example.com");
    let answer = gateway.send(request);
    let [call] = answer.calls() else { panic!("{:?}", answer.calls()) };
    assert_eq!(call.path(), "/envoy.service.auth.v3.Authorization/Check");
    assert_eq!(call.header("x-meta"), Some("m"));
    let message = call.body();
    for (path, value) in [
        (&[1, 1, 1, 1, 2][..], "192.0.2.7"),
        (&[1, 1, 1, 1, 3], "5000"),
        (&[1, 1, 4], "spiffe://a/b"),
        (&[1, 2, 1, 1, 2], "127.0.0.1"),
        (&[1, 4, 2, 1], "test"),
        (&[1, 4, 2, 2], "POST"),
        (&[1, 4, 2, 4], "/a?b=c"),
        (&[1, 4, 2, 5], "example.com"),
        (&[1, 4, 2, 6], "http"),
        (&[1, 4, 2, 9], "5"),
        (&[1, 4, 2, 10], "HTTP/1.1"),
        (&[1, 4, 2, 11], "hello"),
        (&[1, 10, 1], "k"),
        (&[1, 10, 2], "v"),
        (&[1, 12, 1], "example.com"),
    ] {
        assert_eq!(text(message, path), value, "{path:?}");
    }
    let names = at(message, &[1, 4, 2, 3, 1]);
    assert!(names.contains(&b"x-a".to_vec()) && names.contains(&b":path".to_vec()), "{names:?}");
    assert!(!names.contains(&b"x-hidden".to_vec()));
    // The request goes on with its body.
    assert_eq!(answer.upstream().expect("it passes").body(), b"hello");
}

#[test]
fn a_grpc_service_changes_what_passes() {
    let gateway = answering(GRPC, |_| {
        let flag = || Writer::new().number(1, 1);
        let ok = Writer::new()
            .message(2, option("x-a", "set"))
            .message(2, option("x-b", "added").message(2, flag()))
            .message(2, option("authorization", "Basic upstream"))
            .message(2, option("content-length", "7"))
            .message(2, option(":path", "/elsewhere"))
            .bytes(5, b"x-gone")
            .bytes(5, b"host")
            .message(6, option("x-out", "theirs"))
            .message(7, Writer::new().bytes(1, b"q").bytes(2, b"1"));
        Reply::new(200).body(Writer::new().message(3, ok).finish())
    });
    let request = get("/p").header("x-a", "client").header("x-b", "client").header("x-gone", "1");
    let answer = gateway.send(request.answered(Reply::new(200).header("x-out", "ours")));
    let seen = answer.upstream().expect("it passes");
    assert_eq!((seen.header("x-a"), seen.path()), (Some("set"), "/p?q=1"));
    assert_eq!(seen.headers().get_all("x-b").count(), 2);
    assert_eq!((seen.header("x-gone"), seen.header("authorization")), (None, Some("Basic upstream")));
    assert_eq!(seen.header("content-length"), None);
    assert_eq!(answer.header("x-out"), Some("theirs"));
}

#[test]
fn a_grpc_service_denies_in_its_own_words() {
    let denied = |status: u64| {
        let denied = Writer::new()
            .message(1, Writer::new().number(1, status))
            .message(2, option("x-why", "because"))
            .bytes(3, b"no");
        let code = Writer::new().number(1, 7);
        Reply::new(200).body(Writer::new().message(1, code).message(2, denied).finish())
    };
    for (status, want) in [(401, 401), (0, 403), (999, 403), (100, 403)] {
        let answer = answering(GRPC, move |_| denied(status)).send(get("/"));
        assert_eq!((answer.status(), answer.text().as_str()), (want, "no"));
        assert_eq!(answer.header("x-why"), Some("because"));
        assert!(answer.upstream().is_none());
    }
}

#[test]
fn a_grpc_service_that_fails_has_not_decided() {
    let failures: [fn(&Seen) -> Reply; 4] = [
        |_| Reply::grpc(14, "away"),
        |_| Reply::grpc(7, "not a denial, but a call that was not allowed"),
        |_| Reply::new(200).body("\x12\x07x"),
        |_| Reply::none(),
    ];
    for script in failures {
        let answer = answering(GRPC, script).send(get("/"));
        assert_eq!((answer.status(), answer.details()), (503, "external_failed"));
    }
}

#[test]
fn a_denial_holds_beside_other_ways() {
    let config = PATH.replacen(
        r#""ways": ["#,
        r#""anonymous": true, "ways": [{ "key": { "keys": [{ "key": "k", "consumer": "c" }] } }, "#,
        1,
    );
    let gateway = answering(&config, |_| Reply::new(401));
    assert_eq!(gateway.send(get("/")).status(), 401);
    assert_eq!(gateway.send(get("/").header("x-api-key", "k")).status(), 200);
    let both = config.replacen(r#""anonymous": true"#, r#""combine": "all""#, 1);
    let gateway = answering(&both, |_| Reply::new(401));
    assert_eq!(gateway.send(get("/").header("x-api-key", "k")).status(), 401);
}

#[test]
fn a_wrong_configuration_names_its_key() {
    let of = |inner: &str| format!(r#"{{ "ways": [{{ "external": {{ {inner} }} }}] }}"#);
    for (inner, expected) in [
        ("", ": needs `http` or `grpc`, which says where the service is"),
        (
            r#""http": { "upstream": "a" }, "grpc": { "upstream": "a" }"#,
            ": has both `http` and `grpc`; a service speaks one of them",
        ),
        (r#""http": { "upstream": "" }"#, ".http.upstream: is empty; it is the name of an upstream"),
        (
            r#""http": { "upstream": "a", "path": "/a", "pathPrefix": "/b" }"#,
            ".http.path: stands beside `pathPrefix`; the service is asked at one of them",
        ),
        (r#""http": { "upstream": "a", "path": "check" }"#, ".http.path: is no path, as \"/check\" is"),
        (
            r#""http": { "upstream": "a", "upstreamHeaders": ["x", "a b"] }"#,
            ".http.upstreamHeaders: [1]: \"a b\" is neither a header name, as \"x-user\", nor the beginning of one, as \"x-user-*\"",
        ),
        (
            r#""grpc": { "upstream": "a" }, "statusOnFailure": 200"#,
            ".statusOnFailure: 200 is no status of an error: 400 to 599",
        ),
        (
            r#""grpc": { "upstream": "a" }, "timeout": "0s""#,
            ".timeout: is 0, so no decision could be in time",
        ),
        (
            r#""grpc": { "upstream": "a" }, "timeout": "5""#,
            ".timeout: invalid value: string, expected a span of time as 20ms, 5s, 1m30s or 1h, at most 8760h",
        ),
    ] {
        assert_eq!(problem(&of(inner)), format!("config.ways[0].external{expected}"));
    }
}

#[test]
fn of_a_long_body_the_service_may_see_the_first_bytes() {
    let config = r#"{ "ways": [{ "external": {
        "http": { "upstream": "authz", "path": "/check" }, "bodyLimit": 5, "allowPartialBody": true } }] }"#;
    let gateway = answering(config, |_| Reply::new(200));
    for (sent, shown, part) in [("12345", "12345", "false"), ("123456789", "12345", "true")] {
        let answer = gateway.send(post("/a").header("x-envoy-auth-partial-body", "no").body(sent));
        let [call] = answer.calls() else { panic!("{:?}", answer.calls()) };
        assert_eq!((call.body(), call.header("x-envoy-auth-partial-body")), (shown.as_bytes(), Some(part)));
        assert_eq!(call.headers().get_all("x-envoy-auth-partial-body").count(), 1);
        let upstream = answer.upstream().expect("it passes");
        assert_eq!(upstream.body(), sent.as_bytes());
    }
    let wrong =
        r#"{ "ways": [{ "external": { "http": { "upstream": "authz" }, "allowPartialBody": true } }] }"#;
    assert!(problem(wrong).contains("allowPartialBody: needs bodyLimit"));
    let wrong = r#"{ "ways": [{ "external": { "http": { "upstream": "authz" }, "bodyLimit": "2MiB" } }] }"#;
    let told =
        "ways[0].external.bodyLimit: 2MiB is more than the 1MiB that `limits.heldBody` of the plugin allows";
    assert!(problem(wrong).contains(told), "{}", problem(wrong));
}
