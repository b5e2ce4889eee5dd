//! Limits of plugins on real sockets: each has its own reason, a rule narrows them for itself only, what grew is replaced,
//! and the neighbours never notice.

use tidegate_testkit::{Answer, Gate, RawClient, Response, ScriptedUpstream, Step, TestGateway, fill};

const FAULT: &[u8] = include_bytes!("../guests/fault.wat");

/// Grows by a mebibyte with each request, and writes into the answer how many requests it has seen.
const GROWS: &[u8] = br#"(module
  (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "x-seen")
  (global $seen (mut i32) (i32.const 48))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (global.set $seen (i32.add (global.get $seen) (i32.const 1)))
    (drop (memory.grow (i32.const 16))) (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (i32.store8 (i32.const 16) (global.get $seen))
    (drop (call $set (i32.const 2) (i32.const 0) (i32.const 6) (i32.const 16) (i32.const 1))) (i32.const 0)))"#;

/// `/filtered` passes the plugin, `/narrow` with less to use, everything else does not.
fn gateway(upstream: &ScriptedUpstream, module: &[u8], terms: &str, narrow: &str) -> TestGateway {
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  guest: { module: guest.wasm, ${terms} }
routes:
  - name: r
    rules:
      - matches: [{ path: { prefix: /filtered } }]
        filters: [{ plugin: guest }]
        forward: [{ upstream: up }]
      - matches: [{ path: { prefix: /narrow } }]
        filters: [{ plugin: guest, limits: { ${narrow} } }]
        forward: [{ upstream: up }]
      - forward: [{ upstream: up }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address()), ("terms", &terms), ("narrow", &narrow)],
    );
    TestGateway::start_with(&yaml, &[("guest.wasm", module)])
}

fn ask(gateway: &TestGateway, target: &str, fault: &str) -> Response {
    let mut client = RawClient::connect(gateway.address("web"));
    client.exchange(format!("GET {target} HTTP/1.1\r\nhost: a.test\r\nx-fault: {fault}\r\n\r\n"))
}

fn failures(gateway: &TestGateway, reason: &str) -> f64 {
    gateway.metric("tidegate_request_failures_total", &format!("reason=\"{reason}\""))
}

#[test]
fn each_limit_has_a_reason_of_its_own() {
    for (terms, fault, reason, limit) in [
        ("limits: { callHostCalls: 1 }", "-", "plugin_host_calls", "call_host_calls"),
        ("limits: { requestHostCalls: 2 }", "-", "plugin_request_host_calls", "request_host_calls"),
        ("limits: { copiedBytes: 4 }", "-", "plugin_copied_bytes", "copied_bytes"),
        ("limits: { memory: 1MiB }", "g", "plugin_memory", "memory"),
        ("limits: { callTime: 10ms }", "l", "plugin_timeout", "call_time"),
        ("limits: { callTime: 1s, requestTime: 10ms }", "l", "plugin_request_time", "request_time"),
        ("limits: { callTime: 1s }", "t", "plugin_trap", ""),
    ] {
        let upstream = ScriptedUpstream::plain();
        let gateway = gateway(&upstream, FAULT, terms, "");
        let answer = ask(&gateway, "/filtered", fault);
        assert_eq!(answer.status, 503, "{terms}");
        assert_eq!(failures(&gateway, reason), 1.0, "{terms}: {}", gateway.metrics());
        let met = |limit: &str| gateway.metric("tidegate_plugin_limits_total", limit);
        assert_eq!(met("guest"), if limit.is_empty() { 0.0 } else { 1.0 }, "{terms}");
        assert_eq!(met(&format!("limit=\"{limit}\"")), met("guest"), "{terms}");
        assert_eq!(ask(&gateway, "/other", fault).status, 200, "{terms}");
    }
}

#[test]
fn a_rule_narrows_its_limits_and_only_its_own() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway(&upstream, FAULT, "limits: { memory: 8MiB }", "callHostCalls: 1");
    assert_eq!(ask(&gateway, "/filtered", "-").status, 200);
    assert_eq!(ask(&gateway, "/narrow", "-").status, 503);
    assert_eq!(ask(&gateway, "/filtered", "-").status, 200);
    assert_eq!(failures(&gateway, "plugin_host_calls"), 1.0);
    assert_eq!(gateway.metric("tidegate_plugin_requests_total", "plugin=\"guest\""), 3.0, "of both rules");
}

#[test]
fn memory_has_a_policy_of_its_own() {
    let upstream = ScriptedUpstream::plain();
    let terms = "onFailure: { memory: open }, limits: { memory: 1MiB }";
    let gateway = gateway(&upstream, FAULT, terms, "memory: 1MiB");
    assert_eq!(ask(&gateway, "/filtered", "g").status, 200);
    assert_eq!(ask(&gateway, "/narrow", "t").status, 503);
}

#[test]
fn an_open_policy_for_traps_holds_for_memory_too() {
    let upstream = ScriptedUpstream::plain();
    let terms = "onFailure: { trap: open }, limits: { memory: 1MiB }";
    let gateway = gateway(&upstream, FAULT, terms, "");
    assert_eq!(ask(&gateway, "/filtered", "g").status, 200);
    assert_eq!(failures(&gateway, "plugin_memory"), 0.0);
}

#[test]
fn another_instance_takes_over_from_one_that_has_grown() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway(&upstream, GROWS, "limits: { memory: 64MiB, rebuildAbove: 3MiB }", "");
    let seen = || ask(&gateway, "/filtered", "-").header("x-seen").map(str::to_owned);
    let counts: Vec<_> = (0..5).filter_map(|_| seen()).collect();
    // After the third request the memory is above three mebibytes.
    assert_eq!(counts, ["1", "2", "3", "1", "2"]);
    assert_eq!(gateway.metric("tidegate_plugin_rebuilds_total", "plugin=\"guest\""), 1.0);
}

#[test]
fn an_instance_that_was_replaced_goes_on_with_what_is_inside() {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = ScriptedUpstream::start(move |call| match call.head.target.as_str() {
        "/filtered/held" => Answer::steps([Step::Wait(held.clone()), Step::send(OK)]),
        _ => Answer::reply(OK),
    });
    let gateway = gateway(&upstream, GROWS, "limits: { memory: 64MiB, rebuildAbove: 3MiB }", "");
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("GET /filtered/held HTTP/1.1\r\nhost: a.test\r\n\r\n");
    upstream.wait("the request that is held", |c| c.iter().flat_map(|c| &c.requests).count() > 0);
    let counts: Vec<_> =
        (0..4).filter_map(|_| ask(&gateway, "/filtered", "-").header("x-seen").map(str::to_owned)).collect();
    assert_eq!(counts, ["2", "3", "1", "2"], "another instance has taken over");
    // One is that of `/narrow`.
    assert_eq!(gateway.metric("tidegate_plugin_instances", "guest"), 3.0);
    gate.open();
    let answer = client.response("GET").expect("well formed");
    assert_eq!((answer.status, answer.header("x-seen")), (200, Some("3")), "the one that it began in");
    gateway.wait("the old instance to end", |gateway| {
        gateway.metric("tidegate_plugin_instances", "guest") == 2.0
    });
}

#[test]
fn an_instance_is_rebuilt_once_a_second_at_most() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway(&upstream, GROWS, "limits: { memory: 64MiB, rebuildAbove: 1MiB }", "");
    let begun = std::time::Instant::now();
    for _ in 0..30 {
        assert_eq!(ask(&gateway, "/filtered", "-").status, 200);
    }
    let rebuilds = gateway.metric("tidegate_plugin_rebuilds_total", "");
    assert!(rebuilds >= 1.0 && rebuilds <= begun.elapsed().as_secs_f64() + 1.0, "{rebuilds}");
}
