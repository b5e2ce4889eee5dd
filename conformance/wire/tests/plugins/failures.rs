//! Faults of Wasm plugins: the stated policy for that plugin's requests, nothing for anybody else's.

use std::time::{Duration, Instant};

use tidegate_testkit::{
    Load, LoadOptions, PATIENCE, RawClient, ReadError, Response, ScriptedUpstream, TestGateway, fill,
};

const FAULT: &[u8] = include_bytes!("../guests/fault.wat");

/// `/filtered` passes the plugin, everything else does not.
fn gateway(upstream: &ScriptedUpstream, module: &[u8], on_failure: &str) -> TestGateway {
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  guest: { module: guest.wasm, onFailure: ${failure}, limits: { callTime: 20ms, memory: 8MiB } }
routes:
  - name: r
    rules:
      - matches: [{ path: { prefix: /filtered } }]
        filters: [{ plugin: guest }]
        forward: [{ upstream: up }]
      - forward: [{ upstream: up }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address()), ("failure", &on_failure)],
    );
    TestGateway::start_with(&yaml, &[("guest.wasm", module)])
}

fn ask(gateway: &TestGateway, target: &str, fault: &str) -> Result<Response, ReadError> {
    let mut client = RawClient::connect(gateway.address("web"));
    let fault = if fault.is_empty() { String::new() } else { format!("x-fault: {fault}\r\n") };
    client.send(format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n{fault}\r\n"));
    client.response("GET")
}

/// Asks until the plugin works again after its back-off.
fn recovers(gateway: &TestGateway, name: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask(gateway, "/filtered", "").expect("well formed");
        if answer.status == 200 && answer.header("x-filter") == Some("one") {
            return;
        }
        assert!(Instant::now() < deadline, "{name}: {answer:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_plugin_does_its_work() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway(&upstream, FAULT, "closed");
    for _ in 0..100 {
        let answer = ask(&gateway, "/filtered", "").expect("well formed");
        assert_eq!((answer.status, answer.header("x-filter")), (200, Some("one")));
    }
    assert!(upstream.requests().iter().all(|r| r.header("x-filter") == Some("one")));
    assert_eq!(ask(&gateway, "/other", "").expect("well formed").header("x-filter"), None);
}

#[test]
fn faults_follow_the_policy() {
    for (policy, status) in [("closed", 503), ("open", 200)] {
        let upstream = ScriptedUpstream::plain();
        let gateway = gateway(&upstream, FAULT, policy);
        for (name, fault) in [("trap", "t"), ("endless loop", "l"), ("endless memory", "g")] {
            recovers(&gateway, name);
            upstream.forget();
            let answer = ask(&gateway, "/filtered", fault).expect("well formed");
            assert_eq!(answer.status, status, "{name}, {policy}");
            let reached = upstream.requests().len();
            assert_eq!(reached, usize::from(status == 200), "{name}, {policy}");
            assert_eq!(ask(&gateway, "/other", fault).expect("well formed").status, 200, "{name}, {policy}");
        }
        recovers(&gateway, policy);
    }
}

#[test]
fn kinds_of_faults_have_policies_of_their_own() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway(&upstream, FAULT, "{ trap: open, timeout: closed }");
    assert_eq!(ask(&gateway, "/filtered", "t").expect("well formed").status, 200);
    recovers(&gateway, "trap");
    assert_eq!(ask(&gateway, "/filtered", "l").expect("well formed").status, 503);
}

/// What fails once the answer is under way must not look like a whole answer that the plugin has seen.
#[test]
fn faults_on_the_way_back() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway(&upstream, FAULT, "closed");
    recovers(&gateway, "first");
    assert_eq!(ask(&gateway, "/filtered", "r").expect("well formed").status, 503);
    recovers(&gateway, "response headers");
    match ask(&gateway, "/filtered", "b") {
        Ok(answer) => assert!(answer.status >= 500, "{answer:?}"),
        Err(error) => assert!(
            matches!(error, ReadError::CutOff(_) | ReadError::Broken(_) | ReadError::Closed),
            "{error}"
        ),
    }
    recovers(&gateway, "response body");
    assert_eq!(ask(&gateway, "/filtered", "d").expect("well formed").status, 200);
    recovers(&gateway, "log");
}

#[test]
fn modules_that_do_not_load_follow_the_policy() {
    let start = |body: &str| {
        format!("(module (memory (export \"memory\") 1) (func (export \"proxy_abi_version_0_2_1\")) {body})")
    };
    let malloc = "(func (export \"proxy_on_memory_allocate\") (param i32) (result i32) (i32.const 1024))";
    let mut truncated = b"\0asm\x01\0\0\0\x01\x7f".to_vec();
    truncated.extend([0; 10]);
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("not Wasm", b"GIF89a".to_vec()),
        ("empty", Vec::new()),
        ("truncated", truncated),
        ("no ABI version", b"(module (memory (export \"memory\") 1))".to_vec()),
        ("unknown import", start("").replace("(memory", "(import \"env\" \"launch\" (func)) (memory").into_bytes()),
        ("configure returns 0", start(&format!("{malloc} (func (export \"proxy_on_configure\") (param i32 i32) (result i32) (i32.const 0))")).into_bytes()),
        ("configure traps", start(&format!("{malloc} (func (export \"proxy_on_configure\") (param i32 i32) (result i32) (unreachable))")).into_bytes()),
        ("configure loops", start(&format!("{malloc} (func (export \"proxy_on_configure\") (param i32 i32) (result i32) (loop $l (br $l)) (i32.const 1))")).into_bytes()),
        ("start returns 0", start(&format!("{malloc} (func (export \"proxy_on_vm_start\") (param i32 i32) (result i32) (i32.const 0))")).into_bytes()),
        ("start loops", start(&format!("{malloc} (func (export \"_initialize\") (loop $l (br $l)))")).into_bytes()),
        ("more memory than it may have", start(malloc).replace("\"memory\") 1)", "\"memory\") 1000)").into_bytes()),
    ];
    for (name, module) in &rows {
        for (policy, status) in [("closed", 503), ("open", 200)] {
            let upstream = ScriptedUpstream::plain();
            let gateway = gateway(&upstream, module, policy);
            assert_eq!(
                ask(&gateway, "/filtered", "").expect("well formed").status,
                status,
                "{name}, {policy}"
            );
            assert_eq!(ask(&gateway, "/other", "").expect("well formed").status, 200, "{name}, {policy}");
        }
    }
}

/// A bad module never takes the place of a good one.
#[test]
fn a_reload_with_a_bad_module_changes_nothing() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway(&upstream, FAULT, "closed");
    recovers(&gateway, "first");
    let before = gateway.generations();
    gateway.put_file("guest.wasm", b"\0asm\x01\0\0\0\x01\x7f");
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { guest: { module: guest.wasm } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address())],
    );
    assert!(gateway.try_reload(&yaml).is_err());
    assert_eq!(gateway.generations().len(), before.len());
    assert_eq!(ask(&gateway, "/filtered", "").expect("well formed").header("x-filter"), Some("one"));
}

/// While one route's plugin fails in every way, another route's requests all succeed.
#[test]
fn other_routes_never_notice() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway(&upstream, FAULT, "closed");
    let load = Load::start(&LoadOptions::new(gateway.address("web")));
    load.wait_for(50);
    for fault in ["t", "l", "g", "r", "b", "d"].iter().cycle().take(30) {
        ask(&gateway, "/filtered", fault).ok();
        load.wait_for(5);
    }
    let (answered, failures) = load.finish();
    assert!(failures.is_empty() && answered > 200, "{answered}, {failures:?}");
    recovers(&gateway, "last");
}
