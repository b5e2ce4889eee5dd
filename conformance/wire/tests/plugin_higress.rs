//! What filters of Higress use beyond the ABI.

use tidegate_testkit::{Answer, RawClient, ScriptedUpstream, TestGateway, fill};

const COMMON: &str = r#"
  (import "env" "proxy_set_property" (func $set (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $replace (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_100"))
  (func (export "malloc") (param i32) (result i32) (i32.const 30000))
  (data (i32.const 0) ":path")
  (data (i32.const 16) "/v1/chat")
  (data (i32.const 32) "clear_route_cache")
  (data (i32.const 64) "off")
"#;

fn gateway(upstream: &ScriptedUpstream, before: &str) -> TestGateway {
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { guest: { module: guest.wasm } }
routes:
  - name: r
    rules:
      - matches: [{ path: { prefix: /shop } }]
        filters: [{ plugin: guest }]
        forward: [{ upstream: up }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address())],
    );
    let guest = format!(
        r#"(module {COMMON} (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      {before}
      (drop (call $replace (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 16) (i32.const 8)))
      (i32.const 0)))"#
    );
    TestGateway::start_with(&yaml, &[("guest.wasm", guest.as_bytes())])
}

#[test]
fn what_a_filter_writes_leaves_the_rule_alone_if_it_says_so() {
    const OFF: &str = "(drop (call $set (i32.const 32) (i32.const 17) (i32.const 64) (i32.const 3)))";
    let upstream = ScriptedUpstream::start(|call| {
        Answer::reply(format!(
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-target: {}\r\n\r\n",
            call.head.target
        ))
    });
    for (before, status, target) in [("", 404, None), (OFF, 200, Some("/v1/chat"))] {
        let gateway = gateway(&upstream, before);
        let answer =
            RawClient::connect(gateway.address("web")).exchange("GET /shop HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert_eq!((answer.status, answer.header("x-target")), (status, target));
    }
}
