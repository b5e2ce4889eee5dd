//! Hosts that plugins write or leave out, as filters in the field do.

use tidegate_testkit::{Answer, RawClient, ScriptedUpstream, TestGateway, fill};

const COMMON: &str = r#"
  (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (memory (export "memory") 1)
  (global $stream (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 30000))
  (data (i32.const 0) ":authority")
  (data (i32.const 16) "a.test:80-canary")
  (data (i32.const 48) "up")
"#;

fn gateway(upstream: &ScriptedUpstream, functions: &str) -> TestGateway {
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { guest: { module: guest.wasm, capabilities: { upstreams: [up] } } }
routes:
  - name: r
    rules:
      - filters: [{ plugin: guest }]
        forward: [{ upstream: up }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address())],
    );
    let guest = format!("(module {COMMON} {functions})");
    TestGateway::start_with(&yaml, &[("guest.wasm", guest.as_bytes())])
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a.test:80\r\n\r\n";

#[test]
fn a_mark_behind_the_port_is_a_name_like_any() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway(
        &upstream,
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $set (i32.const 0) (i32.const 0) (i32.const 10) (i32.const 16) (i32.const 16)))"#,
    );
    assert_eq!(RawClient::connect(gateway.address("web")).exchange(GET).status, 200);
    let asked = upstream.requests();
    assert_eq!(asked.first().and_then(|asked| asked.header("host")), Some("a.test:80-canary"));
}

#[test]
fn a_call_without_a_host_goes_to_the_servers_address() {
    let upstream = ScriptedUpstream::start(|_| Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    let pairs = [(":method", "GET"), (":path", "/call"), (":authority", "")];
    let gateway = gateway(
        &upstream,
        &format!(
            r#"(data (i32.const 100) "{}")
        (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
            (global.set $stream (local.get $id))
            (if (call $call (i32.const 48) (i32.const 2) (i32.const 100) (i32.const {}) (i32.const 0) (i32.const 0)
                (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 64)) (then unreachable))
            (i32.const 1))
        (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
            (drop (call $effective (global.get $stream)))
            (drop (call $continue (i32.const 0))))"#,
            encoded(&pairs),
            length(&pairs),
        ),
    );
    assert_eq!(RawClient::connect(gateway.address("web")).exchange(GET).status, 200);
    let asked = upstream.requests();
    let call = asked.iter().find(|asked| asked.target() == "/call").expect("the call came");
    assert_eq!(call.header("host"), Some(upstream.address().to_string().as_str()));
}

/// Pairs as the ABI has them, as text of a module.
fn encoded(pairs: &[(&str, &str)]) -> String {
    let mut bytes = u32::try_from(pairs.len()).expect("few").to_le_bytes().to_vec();
    for part in pairs.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend(u32::try_from(part.len()).expect("short").to_le_bytes());
    }
    for part in pairs.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend(part.as_bytes());
        bytes.push(0);
    }
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

fn length(pairs: &[(&str, &str)]) -> usize {
    4 + pairs.iter().map(|(name, value)| 10 + name.len() + value.len()).sum::<usize>()
}
