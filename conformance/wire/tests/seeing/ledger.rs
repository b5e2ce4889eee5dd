//! The ledger: generations and versions of plugins that something still holds, by what, and that they are let go; and what
//! is counted of each version.

use tidegate_testkit::{Answer, Gate, RawClient, ScriptedUpstream, Step, TestGateway, fill};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// `version` makes modules differ. It breaks off where the path is `/trap`.
fn guest(version: usize) -> Vec<u8> {
    format!(
        "(module
  (import \"env\" \"proxy_get_header_map_value\" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export \"memory\") 1)
  (data (i32.const 0) \":path\")
  (data (i32.const 16) \"{version}\")
  (func (export \"proxy_abi_version_0_2_1\"))
  (func (export \"malloc\") (param i32) (result i32) (i32.const 1024))
  (func (export \"proxy_on_request_headers\") (param i32 i32 i32) (result i32)
    (drop (call $get (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 64) (i32.const 68)))
    (if (i32.eq (i32.load8_u (i32.add (i32.load (i32.const 64)) (i32.const 1))) (i32.const 116)) (then (unreachable)))
    (i32.const 0))
  (func (export \"proxy_on_response_headers\") (param i32 i32 i32) (result i32) (i32.const 0)))"
    )
    .into_bytes()
}

fn document(upstream: &ScriptedUpstream) -> String {
    fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { guest: { module: guest.wasm } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address())],
    )
}

fn ask(gateway: &TestGateway, path: &str) -> u16 {
    let mut client = RawClient::connect(gateway.address("web"));
    client.exchange(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")).status
}

#[test]
fn old_versions_are_let_go() {
    let upstream = ScriptedUpstream::plain();
    let gateway = TestGateway::start_with(&document(&upstream), &[("guest.wasm", &guest(0))]);
    assert_eq!(ask(&gateway, "/"), 200);
    for version in 1..20 {
        gateway.put_file("guest.wasm", &guest(version));
        gateway.reload(&document(&upstream));
        assert_eq!(ask(&gateway, "/"), 200);
    }
    gateway.wait("only the newest version", |gateway| gateway.modules().len() == 1);
    let [module] = &gateway.modules()[..] else { panic!("{:?}", gateway.modules()) };
    let seen = &module.seen;
    assert_eq!((seen.instances, seen.streams, seen.calls, seen.memory), (1, 0, 2, 64 << 10));
    let timed = gateway.metric("tidegate_plugin_call_seconds_count", ",in=\"guest\"");
    assert_eq!(timed, 1.0, "the first call of a version is timed: {}", gateway.metrics());
}

#[test]
fn a_request_holds_what_it_began_with() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = ScriptedUpstream::start(move |call| match call.head.target.as_str() {
        "/held" => Answer::steps([Step::Wait(held.clone()), Step::send(OK)]),
        _ => Answer::reply(OK),
    });
    let gateway = TestGateway::start_with(&document(&upstream), &[("guest.wasm", &guest(0))]);
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("GET /held HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n");
    upstream.wait("the request", |c| c.iter().flat_map(|c| &c.requests).count() > 0);
    gateway.put_file("guest.wasm", &guest(1));
    gateway.reload(&document(&upstream));
    assert_eq!(ask(&gateway, "/"), 200);
    let modules = gateway.modules();
    let [old, new] = &modules[..] else { panic!("{modules:?}") };
    assert_eq!((old.seen.streams, old.seen.instances), (1, 1));
    assert_eq!((new.seen.streams, new.seen.instances), (0, 1));
    assert!(old.since <= new.since && old.sha256 != new.sha256);
    let generations = gateway.generations();
    assert_eq!(generations.iter().map(|held| held.requests).collect::<Vec<_>>(), [1, 0], "{generations:?}");
    assert_eq!(gateway.metric("tidegate_ledger_module_requests", old.version()), 1.0);
    assert_eq!(gateway.metric("tidegate_ledger_generation_requests", "generation=\"1\""), 1.0);
    gate.open();
    assert_eq!(client.response("GET").expect("well formed").status, 200);
    gateway.wait("the old ones to be let go", |gateway| {
        gateway.modules().len() == 1 && gateway.generations().len() == 1
    });
    assert_eq!(gateway.metric("tidegate_ledger_generation_requests", ""), 0.0);
}

#[test]
fn failures_and_restarts_are_of_a_version() {
    let upstream = ScriptedUpstream::plain();
    let gateway = TestGateway::start_with(&document(&upstream), &[("guest.wasm", &guest(0))]);
    assert_eq!(ask(&gateway, "/trap"), 503);
    let version = gateway.modules()[0].version().to_owned();
    let of_version = |name: &str, label: &str| {
        let lines = gateway.metrics();
        let fits = |line: &&str| line.starts_with(name) && line.contains(label) && line.contains(&version);
        lines.lines().find(fits).and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
    };
    assert_eq!(of_version("tidegate_plugin_failures_total", "kind=\"trap\""), Some(1.0));
    assert_eq!(of_version("tidegate_plugin_failures_total", "kind=\"memory\""), Some(0.0));
    assert_eq!(of_version("tidegate_plugin_instances", ""), Some(0.0), "it waits for its back-off");
    gateway.wait("the next instance", |gateway| ask(gateway, "/") == 200);
    assert_eq!(of_version("tidegate_plugin_restarts_total", ""), Some(1.0));
    assert_eq!(of_version("tidegate_plugin_instances", ""), Some(1.0));
    assert_eq!(of_version("tidegate_plugin_memory_bytes", ""), Some(65536.0));
}
