//! What filters of Higress use beyond the ABI.

use tidegate_testkit::{Answer, Gate, Http2Client, RawClient, ScriptedUpstream, Step, TestGateway, fill};

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

/// Chooses the server `address` for each request, and says to which upstream it thinks that the request goes.
fn chooser(address: &str) -> String {
    format!(
        r#"(module
  (import "env" "proxy_get_property" (func $get (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_upstream_hosts" (func $hosts (param i32 i32) (result i32)))
  (import "env" "proxy_set_upstream_override_host" (func $choose (param i32 i32) (result i32)))
  {COMMON}
  (data (i32.const 100) "{address}")
  (data (i32.const 200) "xds\00cluster_name")
  (data (i32.const 220) "x-upstream")
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (if (call $get (i32.const 200) (i32.const 16) (i32.const 0x400) (i32.const 0x404)) (then unreachable))
    (drop (call $replace (i32.const 0) (i32.const 220) (i32.const 10) (i32.load (i32.const 0x400))
      (i32.load (i32.const 0x404))))
    ;; Two servers.
    (if (call $hosts (i32.const 0x400) (i32.const 0x404)) (then unreachable))
    (if (i32.ne (i32.load (i32.load (i32.const 0x400))) (i32.const 2)) (then unreachable))
    (if (call $choose (i32.const 100) (i32.const {length})) (then unreachable))
    (i32.const 0)))"#,
        length = address.len(),
    )
}

#[test]
fn a_filter_chooses_the_server_by_its_address() {
    let server = |name: &'static str| {
        ScriptedUpstream::start(move |call| {
            let upstream = call.head.headers.get("x-upstream").unwrap_or_default().to_owned();
            Answer::reply(format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-at: {name} {upstream}\r\n\r\n"))
        })
    };
    let (one, two) = (server("one"), server("two"));
    let nowhere = "127.0.0.1:1".parse().expect("it is an address");
    let chosen =
        [(one.address(), &["one up"][..]), (two.address(), &["two up"]), (nowhere, &["one up", "two up"])];
    for (address, expected) in chosen {
        let yaml = fill(
            "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
workers: 1
plugins: { guest: { module: guest.wasm } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${one}', '${two}'], balance: roundRobin } }
",
            &[("one", &one.address()), ("two", &two.address())],
        );
        let gateway =
            TestGateway::start_with(&yaml, &[("guest.wasm", chooser(&address.to_string()).as_bytes())]);
        let mut client = RawClient::connect(gateway.address("web"));
        let mut at: Vec<_> = (0..6)
            .map(|_| client.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n"))
            .map(|answer| answer.header("x-at").unwrap_or_default().to_owned())
            .collect();
        at.sort();
        at.dedup();
        assert_eq!(at, expected, "{address}");
    }
}

/// Holds the first part of a response's body, calls `/call`, and then does `act`. Texts: 1000 `tea`.
fn injector(first: &str, act: &str) -> String {
    let head = r"\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\05\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/call\00:authority\00a\00";
    format!(
        r#"(module
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_inject_encoded_data_to_filter_chain" (func $inject (param i32 i32 i32) (result i32)))
  {COMMON}
  (data (i32.const 1000) "tea")
  (data (i32.const 1010) "up")
  (data (i32.const 1100) "{head}")
  (global $stream (mut i32) (i32.const 0))
  (global $done (mut i32) (i32.const 0))
  (func $put (param $end i32) (drop (call $inject (i32.const 1000) (i32.const 3) (local.get $end))))
  (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
    (global.set $done (i32.const 1))
    (drop (call $effective (global.get $stream)))
    {act})
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
    ;; While it waits it is shown what comes.
    (if (global.get $stream) (then (return (i32.eqz (global.get $done)))))
    (global.set $stream (local.get 0))
    {first}
    (drop (call $call (i32.const 1010) (i32.const 2) (i32.const 1100) (i32.const 65) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 68)))
    (i32.const 1)))"#
    )
}

/// A server that sends `abc`, and the rest when the gate opens; and a gateway with the guest.
fn with_injector(guest: &str, rest: &Gate) -> (ScriptedUpstream, TestGateway) {
    let rest = rest.clone();
    let upstream = ScriptedUpstream::start(move |asked| match asked.head.target.as_str() {
        "/call" => Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        _ => Answer::steps([
            Step::send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"),
            Step::Wait(rest.clone()),
            Step::send("3\r\ndef\r\n0\r\n\r\n"),
        ]),
    });
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
workers: 1
plugins: { guest: { module: guest.wasm, isolation: request, capabilities: { upstreams: [up] } } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address())],
    );
    let gateway = TestGateway::start_with(&yaml, &[("guest.wasm", guest.as_bytes())]);
    (upstream, gateway)
}

#[test]
fn what_a_filter_puts_in_can_end_the_body() {
    // What has come is taken away, and the rest never comes.
    let away =
        "(drop (call $set_buffer (i32.const 1) (i32.const 0) (i32.const 3) (i32.const 0) (i32.const 0)))";
    let act = "(call $put (i32.const 0)) (call $put (i32.const 1)) (call $put (i32.const 1))";
    let rest = Gate::new();
    let (upstream, gateway) = with_injector(&injector(away, act), &rest);
    let mut client = RawClient::connect(gateway.address("web"));
    let answer = client.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (200, "teatea"));
    let answer = Http2Client::connect(gateway.address("web")).get("a.test", "/", &[]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "teatea"));
    drop((gateway, upstream));
    rest.open();
}

#[test]
fn what_a_filter_puts_in_goes_before_what_it_holds() {
    let rest = Gate::new();
    let act = "(call $put (i32.const 0)) (drop (call $continue (i32.const 1)))";
    let (_upstream, gateway) = with_injector(&injector("", act), &rest);
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    // The rest comes when this has come.
    let mut seen = Vec::new();
    while !seen.ends_with(b"abc\r\n") {
        seen.extend(client.wire().exactly(1).expect("a byte"));
    }
    rest.open();
    let begin = String::from_utf8_lossy(&seen).into_owned();
    assert!(begin.contains("teaabc") || begin.contains("tea\r\n3\r\nabc"), "{begin}");
    seen = client.wire().exactly(13).expect("the rest");
    assert_eq!(String::from_utf8_lossy(&seen), "3\r\ndef\r\n0\r\n\r\n");
    let answer = Http2Client::connect(gateway.address("web")).get("a.test", "/", &[]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "teaabcdef"));
}
