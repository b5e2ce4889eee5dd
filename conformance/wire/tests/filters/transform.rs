//! The filter `transform` in the gateway, with the configuration of `examples/transform`. `cargo xtask filters` builds it.

use tidegate_testkit::{Answer, Fate, Frame, Frames, RawClient, Response, ScriptedUpstream, TestGateway};
use tidegate_wire::shipped;

const DOCUMENT: &str = r#"{"price":19.90,"secret":"s"}"#;

/// Answers with a document; `/large` with one above the limit, `/broken` with something else, `/chunked` in pieces.
fn upstream() -> ScriptedUpstream {
    ScriptedUpstream::start(|call| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nserver: s/1\r\netag: \"v1\"\r\n";
        let sized = |body: &str| Answer::reply(format!("{head}content-length: {}\r\n\r\n{body}", body.len()));
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        match call.head.target.as_str() {
            "/large" => sized(&format!("[\"{}\"]", "x".repeat(70_000))),
            "/broken" => sized("{"),
            "/chunked" => {
                let (first, second) = DOCUMENT.split_at(9);
                let head = format!("{head}transfer-encoding: chunked\r\n\r\n");
                Answer::pieces([head, chunk(first), chunk(second), "0\r\n\r\n".to_owned()])
            }
            _ if call.head.method == "HEAD" => {
                Answer::reply(format!("{head}content-length: {}\r\n\r\n", DOCUMENT.len()))
            }
            _ => sized(DOCUMENT),
        }
    })
}

fn send(gateway: &TestGateway, method: &str, path: &str, headers: &str, body: &str) -> Response {
    let mut client = RawClient::connect(gateway.address("web"));
    client.send(format!("{method} {path} HTTP/1.1\r\nhost: a.test\r\n{headers}\r\n{body}"));
    client.response(method).expect("a well-formed answer")
}

#[test]
fn requests_are_changed() {
    let upstream = upstream();
    let gateway = shipped("transform", &upstream, |text| text);
    let body = r#"{"user":"ann","admin":true,"total":10.00}"#;
    let sized =
        format!("content-type: application/json\r\nx-internal: 1\r\ncontent-length: {}\r\n", body.len());
    let answer = send(&gateway, "POST", "/orders/17?debug=1&page=2", &sized, body);
    assert_eq!(answer.status, 200);
    let chunks = format!("{:x}\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n", 7, &body[..7], body.len() - 7, &body[7..]);
    let chunked = "content-type: application/json\r\nx-user: bob\r\ntransfer-encoding: chunked\r\n";
    assert_eq!(send(&gateway, "POST", "/orders/17", chunked, &chunks).status, 200);

    let requests = upstream.requests();
    let [first, second] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!(first.target(), "/orders/17?page=2");
    assert_eq!((first.header("x-order"), first.header("x-client")), (Some("17"), Some("127.0.0.1")));
    assert_eq!(first.header("x-internal"), None);
    assert!(first.header("x-trace").is_some_and(|id| !id.is_empty()));
    let changed =
        |by: &str| format!(r#"{{"total":10.00,"customer":"ann","source":{{"by":"{by}","checked":true}}}}"#);
    assert_eq!(String::from_utf8_lossy(&first.body), changed("nobody"));
    assert_eq!(
        (second.target(), String::from_utf8_lossy(&second.body).into_owned()),
        ("/orders/17?page=1", changed("bob"))
    );
    if let Some(length) = first.header("content-length") {
        assert_eq!(length, first.body.len().to_string());
    }
}

#[test]
fn requests_that_cannot_be_changed_are_refused() {
    let upstream = upstream();
    let gateway = shipped("transform", &upstream, |text| text);
    let large = format!("[\"{}\"]", "x".repeat(70_000));
    for (headers, body, status) in
        [("", "{", 400), ("", large.as_str(), 413), ("content-encoding: gzip\r\n", "{}", 415)]
    {
        let head = format!("content-type: application/json\r\n{headers}content-length: {}\r\n", body.len());
        assert_eq!(send(&gateway, "POST", "/", &head, body).status, status);
    }
    assert!(upstream.requests().is_empty());
    let passing = shipped("transform", &upstream, |text| {
        text.replace("maxBody: 64KiB", "maxBody: 64KiB\n      onTooLarge: pass")
    });
    let head = format!("content-type: application/json\r\ncontent-length: {}\r\n", large.len());
    assert_eq!(send(&passing, "POST", "/", &head, &large).status, 200);
    assert_eq!(upstream.requests().first().map(|seen| seen.body.len()), Some(large.len()));
    let answer = send(&passing, "GET", "/large", "", "");
    assert_eq!((answer.status, answer.body.len()), (200, 70_004));
}

#[test]
fn larger_bodies_are_changed_where_more_is_held() {
    let upstream = upstream();
    let gateway = shipped("transform", &upstream, |text| {
        text.replace("maxBody: 64KiB", "maxBody: 3MiB").replace(
            "module: transform.wasm",
            "module: transform.wasm\n    limits: { heldBody: 4MiB, memory: 64MiB, callTime: 2s, requestTime: 2s }",
        )
    });
    let large = format!("{{\"admin\":true,\"x\":\"{}\"}}", "x".repeat(5 << 19));
    let head = format!("content-type: application/json\r\ncontent-length: {}\r\n", large.len());
    assert_eq!(send(&gateway, "POST", "/orders/1", &head, &large).status, 200);
    let requests = upstream.requests();
    let [seen] = requests.as_slice() else { panic!("{} requests", requests.len()) };
    assert!(!seen.body.starts_with(b"{\"admin\"") && seen.body.len() > 5 << 19, "{}", seen.body.len());
}

#[test]
fn responses_are_changed() {
    let upstream = upstream();
    let gateway = shipped("transform", &upstream, |text| text);
    for path in ["/", "/chunked"] {
        let answer = send(&gateway, "GET", path, "accept-encoding: gzip\r\nrange: bytes=0-3\r\n", "");
        assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"price":19.90}"#), "{path}");
        assert_eq!((answer.header("server"), answer.header("etag")), (None, Some("W/\"v1\"")), "{path}");
        if let Some(length) = answer.header("content-length") {
            assert_eq!(length, "15", "{path}");
        }
    }
    assert!(
        upstream
            .requests()
            .iter()
            .all(|seen| seen.header("range").is_none() && seen.header("accept-encoding") == Some("identity"))
    );
    for path in ["/large", "/broken"] {
        assert_eq!(send(&gateway, "GET", path, "", "").status, 502, "{path}");
    }
    let head = send(&gateway, "HEAD", "/", "", "");
    assert_eq!(
        (head.status, head.header("etag"), head.header("content-length")),
        (200, Some("W/\"v1\""), None)
    );
}

#[test]
fn http2_is_the_same() {
    let upstream = upstream();
    let gateway = shipped("transform", &upstream, |text| text);
    let mut frames = Frames::connect(gateway.address("web"), &[]);
    let head = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/orders/5"),
        (":authority", "a.test"),
        ("content-type", "application/json"),
    ];
    frames.send_all(&[
        Frame::headers(1, &head, false),
        Frame::data(1, br#"{"user":1e2,"#, false),
        Frame::data(1, br#""admin":1}"#, true),
    ]);
    assert_eq!(frames.fate(1), Fate::Answered(200, br#"{"price":19.90}"#.to_vec()));
    let requests = upstream.requests();
    let body = requests.first().map(|seen| String::from_utf8_lossy(&seen.body).into_owned());
    assert_eq!(body.as_deref(), Some(r#"{"customer":1e2,"source":{"by":"nobody","checked":true}}"#));
}
