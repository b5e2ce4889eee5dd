//! Cases of requests, responses and trailers, as they come from the parsers.

use http::header::HeaderName;
use http::{Request, Response};

use super::*;

type Fields<'a> = &'a [(&'static str, &'a str)];

fn fields(list: Fields) -> HeaderMap {
    list.iter()
        .map(|(name, value)| {
            (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).expect("a value"))
        })
        .collect()
}

fn head(version: Version, method: &str, target: &str, list: Fields) -> request::Parts {
    let mut head = Request::builder()
        .version(version)
        .method(method)
        .uri(target)
        .body(())
        .expect("a request")
        .into_parts()
        .0;
    head.headers = fields(list);
    head
}

fn get(target: &str, list: Fields) -> request::Parts {
    head(Version::HTTP_11, "GET", target, list)
}

fn host_of(head: &request::Parts) -> Vec<&str> {
    head.headers.get_all(header::HOST).iter().filter_map(|host| host.to_str().ok()).collect()
}

#[test]
fn targets_become_origin_form() {
    for (version, method, target, list, uri, host) in [
        (Version::HTTP_11, "GET", "/a?b=/../c", &[("host", "h")][..], "/a?b=/../c", "h"),
        (Version::HTTP_11, "GET", "http://x:81/a/../b?c", &[("host", "h")], "/b?c", "x:81"),
        (Version::HTTP_11, "GET", "https://x", &[("host", "x")], "/", "x"),
        (Version::HTTP_11, "GET", "http://x?q=1", &[("host", "x")], "/?q=1", "x"),
        (Version::HTTP_11, "OPTIONS", "*", &[("host", "h")], "*", "h"),
        (Version::HTTP_10, "GET", "/", &[], "/", ""),
        (Version::HTTP_10, "GET", "/", &[("host", "")], "/", ""),
        (Version::HTTP_2, "GET", "https://x/a;p/b?c", &[], "/a/b?c", "x"),
        (Version::HTTP_2, "GET", "https://X/", &[("host", "x")], "/", "x"),
        (Version::HTTP_2, "GET", "/a", &[("host", "h")], "/a", "h"),
        (Version::HTTP_11, "GET", "//x/a", &[("host", "h")], "/x/a", "h"),
    ] {
        let mut head = head(version, method, target, list);
        request(&mut head).unwrap_or_else(|fail| panic!("{target}: {fail:?}"));
        assert_eq!(head.uri, uri, "{target}");
        assert_eq!(host_of(&head), [host], "{target}");
        assert!(head.uri.authority().is_none(), "{target}");
    }
}

#[test]
fn requests_are_refused() {
    let (v10, v11, v2) = (Version::HTTP_10, Version::HTTP_11, Version::HTTP_2);
    for (version, method, target, list, reason) in [
        (v11, "CONNECT", "h:443", &[("host", "h")][..], Reason::Method),
        (v11, "TRACE", "/", &[("host", "h")], Reason::Method),
        (v11, "GET", "/", &[], Reason::Host),
        (v11, "GET", "/", &[("host", "")], Reason::Host),
        (v11, "GET", "/", &[("host", "h"), ("host", "h")], Reason::Host),
        (v11, "GET", "/", &[("host", "u@h")], Reason::Host),
        (v11, "GET", "/", &[("host", "h:99999")], Reason::Host),
        (v11, "GET", "/", &[("host", "h, i")], Reason::Host),
        (v11, "GET", "http://u@h/", &[("host", "h")], Reason::Host),
        (v11, "GET", "http://h/", &[("host", "h"), ("host", "i")], Reason::Host),
        (v11, "GET", "http://h/", &[("host", "a b")], Reason::Host),
        (v2, "GET", "https://h/", &[("host", "i")], Reason::Host),
        (v2, "GET", "/", &[], Reason::Host),
        (v10, "GET", "/", &[("host", "a b")], Reason::Host),
        (v11, "GET", "ftp://h/", &[("host", "h")], Reason::Path),
        (v11, "GET", "h", &[("host", "h")], Reason::Path),
        (v11, "GET", "*", &[("host", "h")], Reason::Path),
        (v11, "GET", "/%2e%2e/", &[("host", "h")], Reason::Path),
        (v11, "GET", "/a%2fb", &[("host", "h")], Reason::Path),
        (v11, "POST", "/", &[("host", "h"), ("transfer-encoding", "gzip, chunked")], Reason::Framing),
        (v11, "POST", "/", &[("host", "h"), ("transfer-encoding", "identity")], Reason::Framing),
        (v10, "POST", "/", &[("host", "h"), ("transfer-encoding", "chunked")], Reason::Framing),
        (v2, "POST", "/", &[("host", "h"), ("transfer-encoding", "chunked")], Reason::Framing),
        (v11, "POST", "/", &[("host", "h"), ("content-length", "+1")], Reason::Framing),
        (v11, "POST", "/", &[("host", "h"), ("content-length", "")], Reason::Framing),
        (v11, "POST", "/", &[("host", "h"), ("content-length", "01")], Reason::Framing),
        (v11, "POST", "/", &[("host", "h"), ("content-length", "1, 1")], Reason::Framing),
        (v11, "POST", "/", &[("host", "h"), ("content-length", "18446744073709551616")], Reason::Framing),
        (
            v2,
            "POST",
            "/",
            &[("host", "h"), ("content-length", "1"), ("content-length", "2")],
            Reason::Framing,
        ),
        (
            v11,
            "POST",
            "/",
            &[("host", "h"), ("content-length", "1"), ("transfer-encoding", "chunked")],
            Reason::Framing,
        ),
        (
            v11,
            "POST",
            "/",
            &[("host", "h"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            Reason::Framing,
        ),
        (v11, "POST", "/", &[("host", "h"), ("expect", "y 100-continue")], Reason::Header),
        (v11, "GET", "/", &[("host", "h"), ("connection", &"a,".repeat(65))], Reason::Header),
    ] {
        let fail = request(&mut head(version, method, target, list)).expect_err(target);
        assert_eq!(fail.reason, reason, "{method} {target} {list:?}");
    }
}

#[test]
fn fields_of_the_connection_are_removed() {
    let mut head = get(
        "/",
        &[
            ("host", "h"),
            ("connection", "keep-alive, X-Private"),
            ("connection", "close, te"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers, gzip"),
            ("x-private", "1"),
            ("x_user", "1"),
            ("x-user", "2"),
            ("transfer-encoding", "Chunked"),
            ("trailer", "x-sum"),
            ("expect", "100-Continue"),
            ("http2-settings", "AAA"),
        ],
    );
    let sanitized = request(&mut head).expect("is served");
    let mut names: Vec<&str> = head.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["host", "trailer", "x-user"]);
    assert!(
        sanitized.te_trailers
            && sanitized.expect_continue
            && !sanitized.claims
            && sanitized.upgrade.is_none()
    );
}

#[test]
fn connection_cannot_remove_what_others_rely_on() {
    let kept: Fields = &[
        ("host", "h"),
        ("content-length", "1"),
        ("authorization", "a"),
        ("cookie", "c"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-real-ip", "1.2.3.4"),
        ("content-type", "t"),
    ];
    let list = kept.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ").to_uppercase();
    let mut head = get("/", kept);
    head.headers.insert(header::CONNECTION, HeaderValue::from_str(&list).expect("a value"));
    let sanitized = request(&mut head).expect("is served");
    assert_eq!(head.headers, fields(kept));
    assert!(sanitized.claims);
}

#[test]
fn what_may_tell_of_a_trace_is_noticed() {
    let traced = |name| request(&mut get("/", &[("host", "h"), (name, "1")])).expect("is served").traced;
    let own = ["traceparent", "b3", "x-b3-traceid", "x-b3-sampled", "x-b3-flags", "uber-trace-id"];
    assert!(own.into_iter().all(traced));
    assert!(!["user-agent", "x-b3", "tracestate"].into_iter().any(traced));
}

#[test]
fn no_name_has_an_underscore_however_it_begins() {
    for name in ["x_user", "x-forwarded-client_cert", "x-b3-trace_id"] {
        let mut head = get("/", &[("host", "h"), (name, "1")]);
        request(&mut head).expect("is served");
        assert_eq!(head.headers.len(), 1, "{name}");
    }
}

#[test]
fn lengths_become_one() {
    let mut head =
        head(Version::HTTP_2, "POST", "https://h/", &[("content-length", "12"), ("content-length", "12")]);
    request(&mut head).expect("is served");
    assert_eq!(head.headers.get_all(header::CONTENT_LENGTH).iter().count(), 1);
}

#[test]
fn a_body_of_any_method_stays_framed() {
    for method in ["GET", "HEAD", "DELETE", "POST"] {
        let mut head = head(Version::HTTP_11, method, "/", &[("host", "h"), ("content-length", "3")]);
        request(&mut head).expect("is served");
        assert_eq!(head.headers[header::CONTENT_LENGTH], "3", "{method}");
    }
}

#[test]
fn upgrades_are_taken_out() {
    let ask = ("connection", "keep-alive, Upgrade");
    for (version, list, expected) in [
        (Version::HTTP_11, &[("upgrade", "websocket"), ask][..], Some("websocket")),
        (Version::HTTP_11, &[("upgrade", "websocket"), ask, ("content-length", "0")], Some("websocket")),
        (Version::HTTP_11, &[("upgrade", "a/1.0"), ask], Some("a/1.0")),
        (Version::HTTP_11, &[("upgrade", "websocket")], None),
        (Version::HTTP_11, &[("upgrade", "websocket"), ask, ("content-length", "1")], None),
        (Version::HTTP_11, &[("upgrade", "websocket"), ask, ("transfer-encoding", "chunked")], None),
        (Version::HTTP_11, &[("upgrade", "websocket"), ("upgrade", "h2c"), ask], None),
        (Version::HTTP_11, &[("upgrade", "websocket, h2c"), ask], None),
        (Version::HTTP_11, &[("upgrade", "h2c"), ask], None),
        (Version::HTTP_11, &[("upgrade", "H2C"), ask, ("http2-settings", "AAA")], None),
        (Version::HTTP_11, &[("upgrade", "TLS/1.0"), ask], None),
        (Version::HTTP_11, &[("upgrade", ""), ask], None),
        (Version::HTTP_10, &[("upgrade", "websocket"), ask], None),
    ] {
        let mut head = head(version, "GET", "/", list);
        head.headers.insert(header::HOST, HeaderValue::from_static("h"));
        let sanitized = request(&mut head).expect("is served");
        let upgrade = sanitized.upgrade.as_ref().map(|value| value.to_str().expect("text"));
        assert_eq!(upgrade, expected, "{list:?}");
        for gone in ["upgrade", "connection", "http2-settings"] {
            assert!(!head.headers.contains_key(gone), "{list:?}");
        }
    }
}

#[test]
fn what_filters_write_is_made_canonical_too() {
    let mut head = get("/a", &[("host", "h")]);
    head.uri = Uri::from_static("/x/..;/admin?q");
    rewritten(&mut head).expect("has a canonical form");
    assert_eq!(head.uri, "/admin?q");
    for (target, list, reason) in [
        ("/%2f", &[("host", "h")][..], Reason::Path),
        ("/", &[("host", "h"), ("host", "i")], Reason::Host),
        ("/", &[("host", "a b")], Reason::Host),
    ] {
        let fail = rewritten(&mut get(target, list)).expect_err("is refused");
        assert_eq!((fail.origin, fail.reason), (Origin::Filter, reason), "{target} {list:?}");
    }
}

#[test]
fn a_plain_request_is_left_alone() {
    let list: Fields = &[("host", "a.example:8080"), ("accept", "*/*"), ("user-agent", "x"), ("x-a", "1")];
    let mut head = get("/a/b?c=d", list);
    let before = head.uri.path().as_ptr();
    request(&mut head).expect("is served");
    assert_eq!(head.headers, fields(list));
    assert_eq!(head.uri.path().as_ptr(), before, "the target is not copied");
}

#[test]
fn what_was_taken_out_stays_small() {
    assert!(size_of::<Sanitized>() <= 48);
}

fn answer(status: u16, list: Fields) -> response::Parts {
    let mut head = Response::builder().status(status).body(()).expect("a response").into_parts().0;
    head.headers = fields(list);
    head
}

#[test]
fn responses_lose_fields_of_the_connection() {
    let mut head = answer(
        200,
        &[
            ("connection", "close, x-hop, set-cookie"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-hop", "1"),
            ("set-cookie", "a=b"),
            ("x_a", "1"),
            ("trailer", "x-sum"),
        ],
    );
    response(&mut head, false).expect("is passed on");
    assert_eq!(head.headers, fields(&[("set-cookie", "a=b"), ("x_a", "1"), ("trailer", "x-sum")]));
}

#[test]
fn lengths_of_responses() {
    for (status, list, expected) in [
        (200, &[("content-length", "5")][..], Some("5")),
        (200, &[("content-length", "5"), ("content-length", "5")], Some("5")),
        (304, &[("content-length", "5")], Some("5")),
        (204, &[("content-length", "5")], None),
    ] {
        let mut head = answer(status, list);
        response(&mut head, false).expect("is passed on");
        let lengths: Vec<&HeaderValue> = head.headers.get_all(header::CONTENT_LENGTH).iter().collect();
        assert_eq!(lengths, expected.as_slice(), "{status} {list:?}");
    }
}

#[test]
fn ambiguous_responses_are_refused() {
    for (status, upgraded, list) in [
        (200, false, &[("content-length", "5"), ("transfer-encoding", "chunked")][..]),
        (200, false, &[("transfer-encoding", "gzip, chunked")]),
        (200, false, &[("transfer-encoding", "identity")]),
        (200, false, &[("content-length", "5"), ("content-length", "6")]),
        (200, false, &[("content-length", "-5")]),
        (101, false, &[("upgrade", "websocket"), ("connection", "upgrade")]),
        (101, true, &[("connection", "upgrade")]),
        (103, false, &[]),
    ] {
        let mut head = answer(status, list);
        let fail = response(&mut head, upgraded).expect_err("is refused");
        assert_eq!(fail.reason, Reason::Garbage, "{status} {list:?}");
    }
}

#[test]
fn a_granted_upgrade_says_so() {
    let list: Fields = &[
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-accept", "x"),
        ("content-length", "0"),
    ];
    let mut head = answer(101, list);
    response(&mut head, true).expect("is passed on");
    let expected =
        fields(&[("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-accept", "x")]);
    assert_eq!(head.headers, expected);
}

#[test]
fn trailers_cannot_pose_as_fields_of_the_head() {
    let mut map = fields(&[
        ("grpc-status", "0"),
        ("x-sum", "1"),
        ("content-length", "3"),
        ("transfer-encoding", "chunked"),
        ("host", "h"),
        ("authorization", "a"),
        ("cookie", "c"),
        ("if-match", "x"),
        ("x-forwarded-for", "1.2.3.4"),
        ("content_length", "4"),
    ]);
    trailers(&mut map);
    assert_eq!(map, fields(&[("grpc-status", "0"), ("x-sum", "1")]));
}
