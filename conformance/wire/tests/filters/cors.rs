//! The filter `cors` in the gateway, with the configuration of `examples/cors`. `cargo xtask filters` builds it.

use tidegate_testkit::{Answer, Fate, Frame, Frames, RawClient, Response, ScriptedUpstream, TestGateway};
use tidegate_wire::shipped;

/// An upstream with CORS headers of its own.
fn upstream() -> ScriptedUpstream {
    ScriptedUpstream::start(|_| {
        Answer::reply(
            "HTTP/1.1 200 OK\r\naccess-control-allow-origin: https://wrong.test\r\naccess-control-max-age: 5\r\n\
             vary: accept\r\ncontent-length: 2\r\n\r\nok",
        )
    })
}

fn send(gateway: &TestGateway, method: &str, path: &str, headers: &str) -> Response {
    let mut client = RawClient::connect(gateway.address("web"));
    client.send(format!("{method} {path} HTTP/1.1\r\nhost: api.test\r\n{headers}\r\n"));
    client.response(method).expect("a well-formed answer")
}

const SHOP: &str = "origin: https://shop.example.com\r\n";

#[test]
fn preflights_never_reach_the_upstream() {
    let upstream = upstream();
    let gateway = shipped("cors", &upstream, |text| text);
    let ask = "access-control-request-method: PUT\r\naccess-control-request-headers: x-csrf-token\r\n";
    let answer = send(&gateway, "OPTIONS", "/orders", &format!("{SHOP}{ask}"));
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    for (name, value) in [
        ("access-control-allow-origin", "https://shop.example.com"),
        ("access-control-allow-credentials", "true"),
        ("access-control-allow-methods", "GET, POST, PUT, DELETE"),
        ("access-control-allow-headers", "content-type, x-csrf-token"),
        ("access-control-max-age", "3600"),
        ("vary", "origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    let other = send(&gateway, "OPTIONS", "/orders", &format!("origin: https://evil.test\r\n{ask}"));
    assert_eq!((other.status, other.header("access-control-allow-origin")), (204, None));
    assert!(upstream.requests().is_empty());

    let mut frames = Frames::connect(gateway.address("web"), &[]);
    let head = [
        (":method", "OPTIONS"),
        (":scheme", "http"),
        (":path", "/orders"),
        (":authority", "api.test"),
        ("origin", "https://shop.example.com"),
        ("access-control-request-method", "PUT"),
    ];
    frames.send(&Frame::headers(1, &head, true));
    assert_eq!(frames.fate(1), Fate::Answered(204, Vec::new()));
    assert!(upstream.requests().is_empty());

    let plain = send(&gateway, "OPTIONS", "/orders", SHOP);
    assert_eq!((plain.status, upstream.requests().len()), (200, 1), "no preflight");
}

#[test]
fn answers_have_the_headers_of_the_gateway_only() {
    let upstream = upstream();
    let gateway = shipped("cors", &upstream, |text| text);
    for (origin, allowed) in [
        ("https://shop.example.com", true),
        ("https://a.example.org", true),
        ("http://localhost:5173", true),
        ("https://example.org", false),
        ("https://shop.example.com.evil.test", false),
    ] {
        let answer = send(&gateway, "GET", "/orders", &format!("origin: {origin}\r\n"));
        let all = answer.headers.all("access-control-allow-origin");
        assert_eq!((answer.status, all), (200, if allowed { vec![origin] } else { vec![] }), "{origin}");
        assert_eq!(answer.header("access-control-expose-headers"), allowed.then_some("x-total"), "{origin}");
        assert_eq!(answer.header("access-control-max-age"), None);
        assert_eq!(answer.headers.all("vary"), ["accept, origin"], "{origin}");
    }
    assert_eq!(upstream.requests().len(), 5);
    // The rule with a configuration of its own.
    let answer = send(&gateway, "GET", "/public/list", "origin: https://evil.test\r\n");
    assert_eq!(answer.headers.all("access-control-allow-origin"), ["*"]);
    assert_eq!(answer.headers.all("vary"), ["accept"]);
}

#[test]
fn the_gateways_own_answers_can_be_read_too() {
    let upstream = ScriptedUpstream::start(|_| Answer::steps([tidegate_testkit::Step::Close]));
    let gateway = shipped("cors", &upstream, |text| text);
    let answer = send(&gateway, "GET", "/orders", SHOP);
    assert!((500..600).contains(&answer.status), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example.com"));
}

#[test]
fn other_origins_are_refused_where_that_is_wanted() {
    let upstream = upstream();
    let gateway = shipped("cors", &upstream, |text| {
        text.replace("credentials: true", "credentials: true\n      otherOrigins: refuse")
    });
    let refused = send(&gateway, "POST", "/orders", "origin: https://evil.test\r\ncontent-length: 0\r\n");
    assert_eq!(refused.status, 403);
    assert!(upstream.requests().is_empty());
    for origin in ["https://shop.example.com", "http://api.test"] {
        let passed = send(&gateway, "POST", "/orders", &format!("origin: {origin}\r\ncontent-length: 0\r\n"));
        assert_eq!(passed.status, 200, "{origin}");
    }
}
