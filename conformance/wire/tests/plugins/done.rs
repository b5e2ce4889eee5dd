//! The end of a plugin's instances: a guest that is not done has some time to finish what it does.

use tidegate_testkit::{Answer, RawClient, ScriptedUpstream, Step, TestGateway, fill};

/// Calls `/gone/`, and whatever follows, when it is told that this is its end; is done when `done` says so. Texts: 1010
/// `up`, 1100, 1200 and 1300 the heads of calls.
fn guest(on_done: &str, on_tick: &str) -> Vec<u8> {
    let head = |path: &str| {
        r"\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\06\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00PATH\00:authority\00a\00"
            .replace("PATH", path)
    };
    format!(
        r#"(module
  (import "env" "proxy_done" (func $done (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $period (param i32) (result i32)))
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 1010) "up")
  (data (i32.const 1100) "{asked}")
  (data (i32.const 1200) "{ticked}")
  (data (i32.const 1300) "{gone}")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 30000))
  (func $ask (param $head i32)
    (drop (call $call (i32.const 1010) (i32.const 2) (local.get $head) (i32.const 66) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 68))))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_done") (param $id i32) (result i32)
    (if (i32.ne (local.get $id) (i32.const 1)) (then (return (i32.const 1))))
    (call $ask (i32.const 1100))
    {on_done})
  (func (export "proxy_on_tick") (param i32)
    (drop (call $period (i32.const 0)))
    {on_tick})
  (func (export "proxy_on_delete") (param $id i32)
    (if (i32.eq (local.get $id) (i32.const 1)) (then (call $ask (i32.const 1300))))))"#,
        asked = head("/asked"),
        ticked = head("/tickd"),
        gone = head("/gone/"),
    )
    .into_bytes()
}

const LATER: &str = "(drop (call $period (i32.const 1))) (i32.const 0)";

fn yaml(upstream: &ScriptedUpstream, more: &str) -> String {
    fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
workers: 1
plugins:
  guest: { module: guest.wasm, capabilities: { upstreams: [up] }, config: '${more}' }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address()), ("more", &more)],
    )
}

fn start(guest: &[u8]) -> (ScriptedUpstream, TestGateway) {
    let upstream = ScriptedUpstream::start(|_| {
        Answer::steps([Step::ReadBody, Step::send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")])
    });
    let gateway = TestGateway::start_with(&yaml(&upstream, "old"), &[("guest.wasm", guest)]);
    let answer =
        RawClient::connect(gateway.address("web")).exchange("GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert_eq!(answer.status, 200);
    (upstream, gateway)
}

fn targets(upstream: &ScriptedUpstream) -> Vec<String> {
    upstream.requests().iter().map(|request| request.target().to_owned()).collect()
}

fn reached(upstream: &ScriptedUpstream, target: &str) {
    upstream.wait(target, |connections| {
        connections.iter().flat_map(|c| &c.requests).any(|request| request.target() == target)
    });
}

#[test]
fn a_guest_that_is_not_done_goes_on_until_it_is() {
    let (upstream, gateway) = start(&guest(LATER, "(call $ask (i32.const 1200)) (drop (call $done))"));
    gateway.reload(&yaml(&upstream, "new"));
    // The call of its end, its tick, the call of its deletion, on connections that overtake each other; the new instance
    // serves meanwhile.
    for target in ["/asked", "/tickd", "/gone/"] {
        reached(&upstream, target);
    }
    let answer =
        RawClient::connect(gateway.address("web")).exchange("GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert_eq!(answer.status, 200);
}

#[test]
fn a_guest_that_is_done_is_deleted_at_once() {
    let (upstream, gateway) = start(&guest("(i32.const 1)", ""));
    gateway.reload(&yaml(&upstream, "new"));
    reached(&upstream, "/gone/");
    assert!(!targets(&upstream).contains(&"/tickd".to_owned()));
}

#[test]
fn a_guest_that_is_never_done_is_ended() {
    let (upstream, gateway) = start(&guest(LATER, "(call $ask (i32.const 1200))"));
    gateway.reload(&yaml(&upstream, "new"));
    reached(&upstream, "/tickd");
    reached(&upstream, "/gone/");
}

#[test]
fn a_drain_waits_for_guests_that_are_not_done() {
    let (upstream, gateway) = start(&guest(LATER, "(call $ask (i32.const 1200)) (drop (call $done))"));
    assert!(gateway.drain(tidegate_testkit::PATIENCE));
    reached(&upstream, "/tickd");
}

#[test]
fn a_trap_at_the_end_hurts_nobody() {
    for (on_done, on_tick) in [("(unreachable)", ""), (LATER, "(unreachable)")] {
        let (upstream, gateway) = start(&guest(on_done, on_tick));
        gateway.reload(&yaml(&upstream, "new"));
        let answer =
            RawClient::connect(gateway.address("web")).exchange("GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert_eq!(answer.status, 200);
        assert!(gateway.drain(tidegate_testkit::PATIENCE));
    }
}
