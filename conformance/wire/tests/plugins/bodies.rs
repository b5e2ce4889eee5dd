//! Bodies that a plugin holds for longer than there is room.

use tidegate_testkit::{Answer, RawClient, ScriptedUpstream, Step, TestGateway, fill};

/// A guest with these callbacks, each of which answers with a number.
fn guest(callbacks: &[(&str, u32)]) -> Vec<u8> {
    let functions: String = callbacks
        .iter()
        .map(|(name, action)| {
            format!(
                r#"(func (export "proxy_on_{name}") (param i32 i32 i32) (result i32) (i32.const {action}))"#
            )
        })
        .collect();
    format!(
        r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 30000)) {functions})"#
    )
    .into_bytes()
}

fn gateway(upstream: &ScriptedUpstream, callbacks: &[(&str, u32)]) -> TestGateway {
    limited(upstream, &guest(callbacks), "")
}

fn limited(upstream: &ScriptedUpstream, guest: &[u8], limits: &str) -> TestGateway {
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { guest: { module: guest.wasm, limits: { ${limits} } } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address()), ("limits", &limits)],
    );
    TestGateway::start_with(&yaml, &[("guest.wasm", guest)])
}

/// What may be held.
const ROOM: usize = 1024 * 1024;

fn post(gateway: &TestGateway, bytes: usize) -> RawClient {
    let mut client = RawClient::connect(gateway.address("web"));
    let mut request =
        format!("POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: {bytes}\r\n\r\n").into_bytes();
    request.resize(request.len() + bytes, b'x');
    client.send(request);
    client
}

fn answering(bytes: usize) -> ScriptedUpstream {
    ScriptedUpstream::start(move |_| {
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + bytes, b'x');
        Answer::steps([Step::ReadBody, Step::send(answer)])
    })
}

#[test]
fn a_held_request_past_the_limit_is_413() {
    let upstream = answering(0);
    for callbacks in [&[("request_headers", 1), ("request_body", 1)][..], &[("request_body", 1)]] {
        let gateway = gateway(&upstream, callbacks);
        let answer = post(&gateway, ROOM + 1).response("POST").expect("an answer");
        assert_eq!(answer.status, 413, "{callbacks:?}");
    }
}

#[test]
fn how_much_may_be_held_is_configured() {
    const UNTIL_THE_END: &str = r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 30000))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.eqz (local.get 2))))"#;
    let upstream = answering(0);
    for (limits, bytes, status) in [
        ("", 2 * ROOM, 413),
        ("heldBody: 3MiB", 2 * ROOM, 200),
        ("heldBody: 3MiB", 4 * ROOM, 413),
        ("heldBody: 64KiB", ROOM, 413),
    ] {
        let gateway = limited(&upstream, UNTIL_THE_END.as_bytes(), limits);
        let answer = post(&gateway, bytes).response("POST").expect("an answer");
        assert_eq!(answer.status, status, "{limits} {bytes}");
    }
}

#[test]
fn a_held_response_past_the_limit_is_500() {
    let upstream = answering(ROOM + 1);
    let gateway = gateway(&upstream, &[("response_headers", 1), ("response_body", 1)]);
    assert_eq!(post(&gateway, 0).response("POST").expect("an answer").status, 500);
}

#[test]
fn a_response_past_the_limit_behind_its_head_is_broken_off() {
    let upstream = answering(ROOM + 1);
    let gateway = gateway(&upstream, &[("response_body", 1)]);
    let (bytes, _) = post(&gateway, 0).rest();
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(
        head.starts_with("HTTP/1.1 200") && !body.ends_with("0\r\n\r\n") && !body.contains('x'),
        "{head}"
    );
}
