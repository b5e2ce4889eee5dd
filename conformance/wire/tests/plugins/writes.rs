//! What guests write must not become framing: whatever a plugin does, both sides see single well-formed messages.

use tidegate_testkit::{
    RawClient, ReadError, Received, Response, ScriptedUpstream, State, TestGateway, fill,
};

/// A module with one export besides what every guest has, and the texts that it uses from address 1000 on.
fn guest(texts: &[&str], functions: &str) -> Vec<u8> {
    let escaped = |text: &str| text.bytes().map(|byte| format!("\\{byte:02x}")).collect::<String>();
    let data: String = texts.iter().map(|text| escaped(text)).collect();
    format!(
        r#"(module
  (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $write (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $resume (param i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 1000) "{data}")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 30000))
  {functions})"#
    )
    .into_bytes()
}

fn gateway(upstream: &ScriptedUpstream, module: &[u8]) -> TestGateway {
    within("20s", upstream, module)
}

/// A gateway whose requests may take that long.
fn within(limit: &str, upstream: &ScriptedUpstream, module: &[u8]) -> TestGateway {
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { guest: { module: guest.wasm } }
routes:
  - name: r
    rules:
      - { matches: [{ path: { prefix: /admin } }], respond: { status: 403 } }
      - filters: [{ plugin: guest }]
        forward: [{ upstream: up }]
        timeouts: { request: ${limit} }
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address()), ("limit", &limit)],
    );
    TestGateway::start_with(&yaml, &[("guest.wasm", module)])
}

const POST: &str = "POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\nabc";

/// Sends a POST, then closes, so that everything that reaches the upstream has reached it.
fn post(gateway: &TestGateway, upstream: &ScriptedUpstream) -> (Result<Response, ReadError>, Vec<Received>) {
    let mut client = RawClient::connect(gateway.address("web"));
    client.send(POST);
    let answer = client.response("POST");
    client.half_close();
    let (rest, _) = client.rest();
    assert!(rest.is_empty(), "more than one answer: {}", String::from_utf8_lossy(&rest));
    upstream
        .wait("requests to end", |c| c.iter().flat_map(|c| &c.requests).all(|r| r.state != State::Started));
    (answer, upstream.requests())
}

fn single(name: &str, requests: &[Received]) {
    for request in requests {
        assert!(!matches!(request.state, State::Malformed(_)), "{name}: {:?}", request.state);
        assert!(!request.target().starts_with("/admin"), "{name}: {}", request.target());
    }
    assert!(requests.len() <= 1, "{name}: {} requests", requests.len());
}

#[test]
fn header_fields_that_would_change_the_message() {
    let rows = [
        ("content-length", "0"),
        ("content-length", "50"),
        ("content-length", "+3"),
        ("transfer-encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("connection", "close, x-a"),
        ("upgrade", "h2c"),
        ("trailer", "content-length"),
        ("te", "trailers, gzip"),
        ("x-a", "b\r\nx-c: d"),
        ("x-a", "b\r\n\r\nGET /admin/x HTTP/1.1\r\nhost: a.test\r\n\r\n"),
        ("x-a", "b\0"),
        ("x-a", "b\n"),
        ("x a", "b"),
        ("x-a: b\r\nx-c", "d"),
        ("", "b"),
        ("host", "b.test\r\nx: y"),
        ("host", ""),
        ("host", "a b"),
        (":path", "/case x"),
        (":path", "/case HTTP/1.1\r\nx: y"),
        (":path", "case"),
        (":path", ""),
        (":path", "/a/%2e%2e/b"),
        (":path", "/case#x"),
        (":method", "GET /admin"),
        (":method", ""),
        (":method", "CONNECT"),
        (":authority", "a b"),
        (":authority", ""),
        (":scheme", "http\r\nx: y"),
        (":status", "200"),
        (":x", "y"),
    ];
    for (name, value) in rows {
        let function = format!(
            "(func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32)
               (drop (call $set (i32.const 0) (i32.const 1000) (i32.const {}) (i32.const {}) (i32.const {})))
               (i32.const 0))",
            name.len(),
            1000 + name.len(),
            value.len(),
        );
        let upstream = ScriptedUpstream::plain();
        let gateway = gateway(&upstream, &guest(&[name, value], &function));
        let case = format!("{name}: {value:?}");
        let (answer, requests) = post(&gateway, &upstream);
        single(&case, &requests);
        let answer = answer.unwrap_or_else(|error| panic!("{case}: {error}"));
        match requests.first() {
            Some(request) => {
                assert_eq!(
                    (request.state.clone(), request.body.as_slice()),
                    (State::Complete, b"abc".as_slice()),
                    "{case}"
                );
                assert_eq!(answer.status, 200, "{case}");
            }
            None => assert!(answer.status >= 400, "{case}: {answer:?}"),
        }
    }
}

#[test]
fn response_fields_that_would_change_the_message() {
    for (name, value) in [
        ("content-length", "0"),
        ("content-length", "50"),
        ("transfer-encoding", "chunked"),
        ("connection", "upgrade"),
        ("x-a", "b\r\nx-c: d"),
        ("x-a", "b\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
        ("x-a", "b\0"),
        ("x a", "b"),
        ("", "b"),
        (":status", "101"),
        (":status", "100"),
        (":status", "0"),
        (":status", "abc"),
        (":status", "99999"),
        (":status", "200 OK\r\nx: y"),
        (":path", "/x"),
    ] {
        let function = format!(
            "(func (export \"proxy_on_response_headers\") (param i32 i32 i32) (result i32)
               (drop (call $set (i32.const 2) (i32.const 1000) (i32.const {}) (i32.const {}) (i32.const {})))
               (i32.const 0))",
            name.len(),
            1000 + name.len(),
            value.len(),
        );
        let upstream = ScriptedUpstream::plain();
        let gateway = gateway(&upstream, &guest(&[name, value], &function));
        let case = format!("{name}: {value:?}");
        let (answer, requests) = post(&gateway, &upstream);
        single(&case, &requests);
        // The test's reader takes single well-formed answers only.
        let answer = answer.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(answer.status >= 200 && !answer.headers.has("x-c"), "{case}: {answer:?}");
        if answer.status == 200 {
            assert_eq!(answer.text(), "ok", "{case}");
        }
    }
}

/// A body that a guest makes longer must not keep its length: the excess would be the next request upstream.
#[test]
fn bodies_that_change_their_length() {
    let hidden = "abcGET /admin/x HTTP/1.1\r\nhost: a.test\r\n\r\n";
    // The whole body is waited for (1: pause), or each part is replaced as it comes.
    let waits = "(if (i32.eqz (local.get 2)) (then (return (i32.const 1))))";
    for (case, side, buffer, pause, body) in [
        ("longer request", "request", 0, waits, hidden),
        (
            "longer request, by parts",
            "request",
            0,
            "(if (i32.eqz (local.get 1)) (then (return (i32.const 0))))",
            hidden,
        ),
        ("shorter request", "request", 0, waits, "x"),
        ("empty request", "request", 0, waits, ""),
        ("longer response", "response", 1, waits, hidden),
        (
            "longer response, by parts",
            "response",
            1,
            "(if (i32.eqz (local.get 1)) (then (return (i32.const 0))))",
            hidden,
        ),
        ("shorter response", "response", 1, waits, "x"),
        ("empty response", "response", 1, waits, ""),
    ] {
        let function = format!(
            "(func (export \"proxy_on_{side}_body\") (param i32 i32 i32) (result i32)
               {pause}
               (drop (call $write (i32.const {buffer}) (i32.const 0) (i32.const 0x7fffffff) (i32.const 1000) (i32.const {})))
               (i32.const 0))",
            body.len()
        );
        let upstream = ScriptedUpstream::plain();
        let gateway = gateway(&upstream, &guest(&[body], &function));
        let (answer, requests) = post(&gateway, &upstream);
        single(case, &requests);
        let answer = answer.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(answer.status, 200, "{case}: {answer:?}");
        let (sent, got) = if side == "request" { (body, "ok") } else { ("abc", body) };
        assert_eq!(String::from_utf8_lossy(&requests[0].body), sent, "{case}");
        assert_eq!(answer.text(), got, "{case}");
    }
}

/// Local replies: one answer each, however often and wherever they are asked for.
#[test]
fn replies_of_guests() {
    let reply =
        "(drop (call $reply (i32.const 418) (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 3)
                   (i32.const 0) (i32.const 0) (i32.const -1)))";
    let callback = |name: &str, body: &str| {
        format!("(func (export \"proxy_on_{name}\") (param i32 i32 i32) (result i32) {body})")
    };
    let rows = [
        ("request headers", callback("request_headers", &format!("{reply} (i32.const 1)")), 0),
        ("then continue", callback("request_headers", &format!("{reply} (i32.const 0)")), 0),
        ("twice", callback("request_headers", &format!("{reply} {reply} (i32.const 1)")), 0),
        (
            "then resume",
            callback(
                "request_headers",
                &format!("{reply} (drop (call $resume (i32.const 0))) (i32.const 1)"),
            ),
            0,
        ),
        ("response headers", callback("response_headers", &format!("{reply} (i32.const 1)")), 1),
    ];
    for (case, function, reached) in rows {
        let upstream = ScriptedUpstream::plain();
        let gateway = gateway(&upstream, &guest(&["tea"], &function));
        for _ in 0..3 {
            upstream.forget();
            let (answer, requests) = post(&gateway, &upstream);
            let answer = answer.unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!((answer.status, answer.text().as_str()), (418, "tea"), "{case}");
            assert_eq!(requests.len(), reached, "{case}");
        }
    }
    let log = format!("(func (export \"proxy_on_log\") (param i32) {reply})");
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway(&upstream, &guest(&["tea"], &log));
    let (answer, _) = post(&gateway, &upstream);
    assert_eq!(answer.expect("well formed").text(), "ok", "in the log");
}

/// A guest that never continues holds its own request, and that only until the request's limit.
#[test]
fn guests_that_pause_for_ever() {
    for (case, callback) in [
        ("request headers", "request_headers"),
        ("request body", "request_body"),
        ("response headers", "response_headers"),
        ("response body", "response_body"),
    ] {
        let function =
            format!("(func (export \"proxy_on_{callback}\") (param i32 i32 i32) (result i32) (i32.const 1))");
        let upstream = ScriptedUpstream::plain();
        let gateway = within("500ms", &upstream, &guest(&[""], &function));
        let (answer, requests) = post(&gateway, &upstream);
        single(case, &requests);
        match answer {
            Ok(answer) => assert_eq!(answer.status, 504, "{case}"),
            Err(error) => {
                assert!(!matches!(error, ReadError::Timeout | ReadError::Malformed(_)), "{case}: {error}")
            }
        }
    }
}
