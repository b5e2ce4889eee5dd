//! How plugins end requests, and send them elsewhere, when that is not in the request's head.

use tidegate_testkit::{RawClient, ScriptedUpstream, TestGateway, fill};

/// A module with these callbacks; texts are at 1000 (`tea`), 1010 (`:path`), 1020 (`/other`).
fn guest(functions: &str) -> Vec<u8> {
    format!(
        r#"(module
  (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $send (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 1000) "tea")
  (data (i32.const 1010) ":path")
  (data (i32.const 1020) "/other")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 30000))
  (func $reply (param $status i32)
    (drop (call $send (local.get $status) (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 3)
      (i32.const 0) (i32.const 0) (i32.const -1))))
  {functions})"#
    )
    .into_bytes()
}

fn gateway(upstream: &ScriptedUpstream, functions: &str) -> TestGateway {
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { guest: { module: guest.wasm } }
routes:
  - name: r
    rules:
      - matches: [{ path: { prefix: /other } }]
        filters: [{ plugin: guest }, { responseHeaders: { set: { x-rule: other } } }]
        respond: { status: 203 }
      - filters: [{ plugin: guest }]
        forward: [{ upstream: up }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address())],
    );
    TestGateway::start_with(&yaml, &[("guest.wasm", &guest(functions))])
}

const POST: &str = "POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\nabc";

#[test]
fn an_answer_in_the_requests_body_is_the_answer() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway(
        &upstream,
        r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (call $reply (i32.const 413)) (i32.const 1))"#,
    );
    let answer = RawClient::connect(gateway.address("web")).exchange(POST);
    assert_eq!((answer.status, answer.text().as_str()), (413, "tea"));
}

#[test]
fn a_trap_in_the_requests_body_follows_the_policy() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway(
        &upstream,
        r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) unreachable)"#,
    );
    assert_eq!(RawClient::connect(gateway.address("web")).exchange(POST).status, 503);
}

#[test]
fn a_request_that_is_broken_off_has_no_answer() {
    let upstream = ScriptedUpstream::plain();
    for callback in ["request_headers", "response_headers"] {
        let function = format!(
            r#"(func (export "proxy_on_{callback}") (param i32 i32 i32) (result i32) (drop (call $close (i32.const 0))) (i32.const 1))"#
        );
        let gateway = gateway(&upstream, &function);
        let mut client = RawClient::connect(gateway.address("web"));
        client.send(POST);
        assert!(client.response("POST").is_err(), "{callback}");
    }
}

#[test]
fn an_answer_to_the_guests_own_answer_takes_its_place() {
    let upstream = ScriptedUpstream::plain();
    let first = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $reply (i32.const 403)) (i32.const 1))"#;
    let head = r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (call $reply (i32.const 418)) (i32.const 1))"#;
    let body = r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 1))
      (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
        (call $reply (i32.const 418)) (i32.const 1))"#;
    let seen = r#"(func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.const 0))"#;
    for then in [head.to_owned(), format!("{head} {seen}"), body.to_owned()] {
        let gateway = gateway(&upstream, &format!("{first} {then}"));
        let mut client = RawClient::connect(gateway.address("web"));
        for _ in 0..2 {
            let answer = client.exchange("GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n");
            assert_eq!((answer.status, answer.text().as_str()), (418, "tea"), "{then}");
        }
    }
}

#[test]
fn an_answer_may_have_a_status_of_the_filters_own() {
    let upstream = ScriptedUpstream::plain();
    for status in [600, 999] {
        let function = format!(
            r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $reply (i32.const {status})) (i32.const 1))"#
        );
        let gateway = gateway(&upstream, &function);
        let mut client = RawClient::connect(gateway.address("web"));
        for _ in 0..2 {
            let answer = client.exchange("GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n");
            assert_eq!((answer.status, answer.text().as_str()), (status, "tea"));
        }
    }
}

#[test]
fn a_grpc_client_gets_a_grpc_answer() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway(
        &upstream,
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $reply (i32.const 403)) (i32.const 1))"#,
    );
    let request =
        "POST /a HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n";
    let answer = RawClient::connect(gateway.address("web")).exchange(request);
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    assert_eq!((answer.header("grpc-status"), answer.header("grpc-message")), (Some("7"), Some("tea")));
}

#[test]
fn a_request_that_a_filter_changed_has_its_rule_chosen_again() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway(
        &upstream,
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
          (drop (call $set (i32.const 0) (i32.const 1010) (i32.const 5) (i32.const 1020) (i32.const 6))) (i32.const 0))"#,
    );
    let answer = RawClient::connect(gateway.address("web")).exchange(POST);
    assert_eq!((answer.status, answer.header("x-rule")), (203, Some("other")));
    assert!(upstream.requests().is_empty());
}
