//! Queues of plugins that have an instance for each connection or request.

use tidegate_testkit::{RawClient, ScriptedUpstream, TestGateway, fill};

/// Registers the queue `q` when it is configured and, once more, in each request, into which it puts an entry; calls
/// `/told/` for each entry that it is told of, `/wrong` in an instance that has seen a request.
const GUEST: &str = r#"(module
  (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
  (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_dequeue_shared_queue" (func $dequeue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 1000) "q")
  (data (i32.const 1010) "up")
  (data (i32.const 1100) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\06\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/told/\00:authority\00a\00")
  (data (i32.const 1200) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\06\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/wrong\00:authority\00a\00")
  (global $seen (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 30000))
  (func $queue (result i32)
    (drop (call $register (i32.const 1000) (i32.const 1) (i32.const 64))) (i32.load (i32.const 64)))
  (func (export "proxy_on_configure") (param i32 i32) (result i32) (drop (call $queue)) (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (global.set $seen (i32.const 1))
    (drop (call $enqueue (call $queue) (i32.const 1000) (i32.const 1)))
    (i32.const 0))
  (func (export "proxy_on_queue_ready") (param i32) (param $queue i32)
    (if (call $dequeue (local.get $queue) (i32.const 64) (i32.const 68)) (then (return)))
    (drop (call $call (i32.const 1010) (i32.const 2)
      (select (i32.const 1200) (i32.const 1100) (global.get $seen)) (i32.const 66)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 68)))))"#;

#[test]
fn queues_of_isolated_plugins_are_the_roots() {
    for isolation in ["request", "connection"] {
        let upstream = ScriptedUpstream::plain();
        let yaml = fill(
            "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
workers: 2
plugins: { guest: { module: guest.wat, isolation: ${isolation}, capabilities: { upstreams: [up] } } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], respond: { status: 200 } }] }]
upstreams: { up: { servers: ['${up}'] } }
",
            &[("up", &upstream.address()), ("isolation", &isolation)],
        );
        let gateway = TestGateway::start_with(&yaml, &[("guest.wat", GUEST.as_bytes())]);
        // Each on a connection of its own, and two more on one.
        let ask = |client: &mut RawClient| {
            assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").status, 200);
        };
        (0..10).for_each(|_| ask(&mut RawClient::connect(gateway.address("web"))));
        let mut client = RawClient::connect(gateway.address("web"));
        (0..2).for_each(|_| ask(&mut client));
        upstream.wait("a call for each entry", |connections| {
            connections.iter().map(|connection| connection.requests.len()).sum::<usize>() == 12
        });
        let told =
            |target: &str| upstream.requests().iter().filter(|request| request.target() == target).count();
        assert_eq!((told("/told/"), told("/wrong")), (12, 0), "{isolation}");
    }
}
