//! `onFailure: open`: a request goes on as it was before the callback that failed.

use tidegate_testkit::{RawClient, ScriptedUpstream, TestGateway, fill};

/// Marks what it sees, and in the callback that the request's `x-fail` names breaks off after that. Texts: 1000 `x-fail`,
/// 1010 `x-bad`, 1020 `content-length`.
const GUEST: &str = r#"(module
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 1000) "x-fail")
  (data (i32.const 1010) "x-bad")
  (data (i32.const 1020) "x-keep")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 30000))
  ;; Which callback is to fail: a letter.
  (global $fails (mut i32) (i32.const 0))
  (func $mark (param $map i32)
    (drop (call $add (local.get $map) (i32.const 1010) (i32.const 5) (i32.const 1010) (i32.const 5)))
    (drop (call $remove (local.get $map) (i32.const 1020) (i32.const 6))))
  (func $overwrite (param $buffer i32)
    (drop (call $set (local.get $buffer) (i32.const 0) (i32.const 99) (i32.const 1010) (i32.const 5))))
  (func $fail (param $letter i32) (param $other i32)
    (if (i32.eq (global.get $fails) (local.get $letter)) (then (unreachable)))
    (if (i32.eq (global.get $fails) (local.get $other)) (then (loop $ever (br $ever)))))
  (func $marks (param $letter i32) (param $other i32) (result i32)
    (i32.or (i32.eq (global.get $fails) (local.get $letter)) (i32.eq (global.get $fails) (local.get $other))))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $get (i32.const 0) (i32.const 1000) (i32.const 6) (i32.const 64) (i32.const 68)))
    (global.set $fails (i32.load8_u (i32.load (i32.const 64))))
    (if (call $marks (i32.const 97) (i32.const 65)) (then (call $mark (i32.const 0))))
    (call $fail (i32.const 97) (i32.const 65)) (i32.const 0))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
    (if (call $marks (i32.const 98) (i32.const 66)) (then
      (if (i32.eqz (local.get 2)) (then (return (i32.const 1))))
      (call $overwrite (i32.const 0)) (call $mark (i32.const 1))))
    (call $fail (i32.const 98) (i32.const 66)) (i32.const 0))
  (func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
    (if (call $marks (i32.const 99) (i32.const 67)) (then (call $mark (i32.const 1))))
    (call $fail (i32.const 99) (i32.const 67)) (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (if (call $marks (i32.const 100) (i32.const 68)) (then (call $mark (i32.const 2))))
    (call $fail (i32.const 100) (i32.const 68)) (i32.const 0))
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
    (if (call $marks (i32.const 101) (i32.const 69)) (then (call $overwrite (i32.const 1)) (call $mark (i32.const 3))))
    (call $fail (i32.const 101) (i32.const 69)) (i32.const 0))
  (func (export "proxy_on_response_trailers") (param i32 i32) (result i32)
    (if (call $marks (i32.const 102) (i32.const 70)) (then (call $mark (i32.const 3))))
    (call $fail (i32.const 102) (i32.const 70)) (i32.const 0)))"#;

const ANSWER: &str = "HTTP/1.1 200 OK\r\nx-keep: yes\r\ntrailer: x-end\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-end: two\r\n\r\n";

#[test]
fn nothing_stays_of_what_a_failed_callback_wrote() {
    // One letter for a trap and one for an endless loop in each of the six callbacks, with and without trailers.
    for fails in ["a", "A", "b", "B", "c", "C", "d", "D", "e", "E", "f", "F"] {
        let upstream = ScriptedUpstream::start(|_| {
            tidegate_testkit::Answer::steps([
                tidegate_testkit::Step::ReadBody,
                tidegate_testkit::Step::send(ANSWER),
            ])
        });
        let yaml = fill(
            "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
workers: 1
plugins: { guest: { module: guest.wat, onFailure: open } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
            &[("up", &upstream.address())],
        );
        let gateway = TestGateway::start_with(&yaml, &[("guest.wat", GUEST.as_bytes())]);
        let end = if fails.eq_ignore_ascii_case("b") { "" } else { "x-end: one\r\n" };
        let mut client = RawClient::connect(gateway.address("web"));
        client.send(format!(
            "POST /case HTTP/1.1\r\nhost: a.test\r\nx-fail: {fails}\r\nx-keep: yes\r\ntrailer: x-end\r\nte: trailers\r\n\
             transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n{end}\r\n"
        ));
        let answer = client.response("POST").unwrap_or_else(|error| panic!("{fails}: {error}"));
        let failures = gateway.metric("tidegate_plugin_traps_total", "guest")
            + gateway.metric("tidegate_plugin_timeouts_total", "guest");
        assert!((failures - 1.0).abs() < 0.1, "{fails}: {failures} failures");
        assert_eq!((answer.status, answer.text().as_str()), (200, "abc"), "{fails}");
        assert_eq!((answer.header("x-keep"), answer.header("x-bad")), (Some("yes"), None), "{fails}");
        assert_eq!(answer.trailers.get("x-bad"), None, "{fails}");
        let requests = upstream.requests();
        let [request] = requests.as_slice() else { panic!("{fails}: {requests:?}") };
        assert_eq!((request.header("x-keep"), request.header("x-bad")), (Some("yes"), None), "{fails}");
        assert_eq!(request.body, b"abcdef", "{fails}");
        assert_eq!(request.trailers.get("x-bad"), None, "{fails}");
        assert_eq!(request.trailers.get("x-end"), (!end.is_empty()).then_some("one"), "{fails}");
    }
}
