//! Answers that are all there when they pass filters say how long they are.

use tidegate_testkit::{RawClient, Response, ScriptedUpstream, TestGateway, fill};

/// Answers itself at `/own`; puts "more" before each body at `/longer`, and stops the body at `/held`.
const GUEST: &str = r#"(module
    (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_send_local_response"
        (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_set_buffer_bytes" (func $write (param i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 2)
    (data (i32.const 0) ":pathmoremine")
    (global $next (mut i32) (i32.const 4096))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param $size i32) (result i32)
        (global.set $next (i32.add (global.get $next) (local.get $size)))
        (i32.sub (global.get $next) (local.get $size)))
    (func $case (result i32)
        (drop (call $get (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 2048) (i32.const 2052)))
        (i32.load8_u (i32.add (i32.load (i32.const 2048)) (i32.const 1))))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (i32.eq (call $case) (i32.const 111)) (then
            (drop (call $reply (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 9) (i32.const 4)
                (i32.const 0) (i32.const 0) (i32.const -1)))))
        (i32.const 0))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
    (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
        (if (i32.eq (call $case) (i32.const 108)) (then
            (drop (call $write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 4)))))
        (if (i32.eq (call $case) (i32.const 104)) (then unreachable))
        (i32.const 0)))"#;

fn ask(plugins: &str, path: &str) -> Response {
    let upstream = ScriptedUpstream::plain();
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { one: { module: guest.wasm }, two: { module: guest.wasm } }
routes: [{ name: r, rules: [{ filters: [${plugins}], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("plugins", &plugins), ("up", &upstream.address())],
    );
    let gateway = TestGateway::start_with(&yaml, &[("guest.wasm", GUEST.as_bytes())]);
    let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n");
    RawClient::connect(gateway.address("web")).exchange(request)
}

#[test]
fn their_length_is_that_of_the_body_that_the_filters_leave() {
    let (one, two) = ("{ plugin: one }", "{ plugin: one }, { plugin: two }");
    let plain = ask("", "/plain").text();
    for (plugins, path, body) in [
        (one, "/own", "mine".to_owned()),
        (two, "/own", "mine".to_owned()),
        (one, "/plain", plain.clone()),
        (two, "/plain", plain.clone()),
        (one, "/longer", format!("more{plain}")),
    ] {
        let answer = ask(plugins, path);
        assert_eq!((answer.status, answer.text()), (200, body.clone()), "{plugins} {path}");
        assert_eq!(
            answer.header("content-length"),
            Some(body.len().to_string().as_str()),
            "{plugins} {path}"
        );
        assert_eq!(answer.header("transfer-encoding"), None);
    }
}

#[test]
fn a_guest_that_breaks_off_at_the_body_is_answered_for() {
    assert_eq!(ask("{ plugin: one }", "/held").status, 503);
}
