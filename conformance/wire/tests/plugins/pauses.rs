//! Headers that a plugin pauses, and the body behind them, with both meanings of that.

use tidegate_testkit::{LogFile, RawClient, ScriptedUpstream, TestGateway, fill};

/// Pauses the headers of requests; marks them with `x-body` in the callback for the end of the body, or with `x-tick` in
/// a tick, and then lets them go on. Texts: 1000 `x-body`, 1010 `x-tick`.
const GUEST: &str = r#"(module
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $period (param i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 1000) "x-body")
  (data (i32.const 1010) "x-tick")
  (global $stream (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 30000))
  (func $mark (param $name i32)
    (drop (call $add (i32.const 0) (local.get $name) (i32.const 6) (local.get $name) (i32.const 6))))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $period (i32.const PERIOD))) (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (global.set $stream (local.get 0)) (i32.const 1))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
    (if (i32.eqz (local.get 2)) (then (return (i32.const 1))))
    (call $mark (i32.const 1000)) (i32.const 0))
  (func (export "proxy_on_tick") (param i32)
    (if (i32.eqz (call $effective (global.get $stream))) (then
      (call $mark (i32.const 1010)) (drop (call $continue (i32.const 0)))
      (global.set $stream (i32.const 0))))))"#;

/// A client that leaves while a plugin holds its request and takes nothing of the body is noticed at once.
#[test]
fn a_client_that_leaves_a_held_request_is_noticed() {
    let (upstream, log) = (ScriptedUpstream::plain(), LogFile::default());
    let yaml = fill(
        "
accessLog: { path: '${log}' }
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http, timeouts: { body: 1h, idle: 1h } }]
plugins: { guest: { module: guest.wat, onHeadersPause: stopAll } }
routes: [{ name: r, rules: [{ timeouts: { idle: 1h }, filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("log", &log.path().display()), ("up", &upstream.address())],
    );
    let guest = GUEST.replace("PERIOD", "3600000");
    let gateway = TestGateway::start_with(&yaml, &[("guest.wat", guest.as_bytes())]);
    let bodies =
        ["content-length: 9\r\n\r\n", "content-length: 9\r\n\r\nabc", "content-length: 3\r\n\r\nabc"];
    let chunked =
        ["transfer-encoding: chunked\r\n\r\n9\r\nabc", "expect: 100-continue\r\ncontent-length: 9\r\n\r\n"];
    for (nth, rest) in bodies.into_iter().chain(chunked).enumerate() {
        let mut client = RawClient::connect(gateway.address("web"));
        client.send(format!("POST / HTTP/1.1\r\nhost: a.test\r\n{rest}"));
        let held = nth as f64 + 1.0;
        gateway.wait(rest, |gateway| gateway.metric("tidegate_plugin_requests_total", "guest") == held);
        drop(client);
        let lines = log.lines(nth + 1);
        assert!(lines[nth].contains(r#""reason":"client_gone""#), "{rest}: {}", lines[nth]);
    }
    assert!(upstream.requests().is_empty());
}

/// How the upstream got a request with a body; the guest ticks that often.
fn passed(pause: &str, period: u32) -> (Option<String>, Option<String>, Vec<u8>) {
    let upstream = ScriptedUpstream::plain();
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
workers: 1
plugins: { guest: { module: guest.wat, onHeadersPause: ${pause} } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address()), ("pause", &pause)],
    );
    let guest = GUEST.replace("PERIOD", &period.to_string());
    let gateway = TestGateway::start_with(&yaml, &[("guest.wat", guest.as_bytes())]);
    let mut client = RawClient::connect(gateway.address("web"));
    let answer = client.exchange("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 6\r\n\r\nabcdef");
    assert_eq!(answer.status, 200, "{pause}");
    let requests = upstream.requests();
    let header = |name: &str| requests[0].header(name).map(str::to_owned);
    (header("x-body"), header("x-tick"), requests[0].body.clone())
}

#[test]
fn the_body_goes_on_to_the_plugin_or_waits_for_it() {
    let (body, tick) = (Some("x-body".to_owned()), Some("x-tick".to_owned()));
    // A tick is at hand, but too far off to be what lets the request go on.
    assert_eq!(passed("continueBody", 3_600_000), (body, None, b"abcdef".to_vec()));
    // The body's callback comes after the head has gone, where it can write no field any more.
    assert_eq!(passed("stopAll", 1), (None, tick, b"abcdef".to_vec()));
}
