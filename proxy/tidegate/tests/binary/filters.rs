//! What a module must be before it is used: signed, granted what it needs, and right about the tests of its plugin.

use std::process::Output;

use crate::process::{Folder, Gateway, lines, request_with, tidegate};

/// Sets `x-user: ann` when there is `x-key: k1`, takes that away, and answers 401 otherwise.
const GUARD: &str = r#"(module
    (import "env" "proxy_get_header_map_value"
        (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_replace_header_map_value"
        (func $set (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
    (import "env" "proxy_send_local_response"
        (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "x-key")
    (data (i32.const 32) "x-user")
    (data (i32.const 48) "ann")
    (data (i32.const 64) "no key")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 4096)
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (if (call $get (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 128) (i32.const 132))
            (then
                (drop (call $reply (i32.const 401) (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 6)
                    (i32.const 0) (i32.const 0) (i32.const -1)))
                (return (i32.const 1))))
        (drop (call $remove (i32.const 0) (i32.const 16) (i32.const 5)))
        (drop (call $set (i32.const 0) (i32.const 32) (i32.const 6) (i32.const 48) (i32.const 3)))
        (i32.const 0)))"#;

fn guard(folder: &Folder) {
    folder.write("guard.wasm", wat::parse_str(GUARD).expect("a module"));
}

fn configuration(plugin: &str) -> String {
    format!(
        "\
admin: {{ address: 127.0.0.1:0 }}
workers: 1
listeners: [{{ name: web, address: 127.0.0.1:0, protocol: http }}]
plugins: {{ guard: {{ module: guard.wasm{plugin} }} }}
routes: [{{ name: all, rules: [{{ filters: [{{ plugin: guard }}], respond: {{ body: passed }} }}] }}]
upstreams: {{ keys: {{ servers: [127.0.0.1:9] }} }}
"
    )
}

/// What `tidegate check` says about a plugin, and its exit code.
fn check(folder: &Folder, plugin: &str) -> (Option<i32>, String) {
    folder.write("a.yaml", configuration(plugin));
    let output = tidegate(folder, &["check", "a.yaml"]);
    (output.status.code(), lines(&output).join("\n"))
}

fn filter(folder: &Folder, arguments: &[&str]) -> Output {
    tidegate(folder, &[&["filter"], arguments].concat())
}

#[test]
fn keys_sign_and_verify() {
    let folder = Folder::new("filter-sign");
    guard(&folder);
    for name in ["one", "two"] {
        assert_eq!(filter(&folder, &["keygen", name]).status.code(), Some(0));
    }
    assert_eq!(filter(&folder, &["keygen", "one"]).status.code(), Some(1), "a key is never written over");
    let verify = |module: &str, key: &str| {
        let output = filter(&folder, &["verify", module, "--key", key]);
        (output.status.code(), lines(&output).join("\n"))
    };
    let (code, told) = verify("guard.wasm", "one.pub");
    assert!(code == Some(1) && told.contains("not signed"), "{told}");
    let sign = ["sign", "guard.wasm", "--key", "one.key", "--output", "signed.wasm"];
    assert_eq!(filter(&folder, &sign).status.code(), Some(0));
    assert_eq!(verify("signed.wasm", "one.pub").0, Some(0));
    let (code, told) = verify("signed.wasm", "two.pub");
    assert!(code == Some(1) && told.contains("trusted"), "{told}");

    let told = lines(&filter(&folder, &["inspect", "signed.wasm"])).join("\n");
    for part in
        ["abi        0.2.1", "env.proxy_remove_header_map_value(i32, i32, i32) -> (i32)", "signed by  "]
    {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn a_signature_that_is_asked_for_must_be_there() {
    let folder = Folder::new("filter-signature");
    guard(&folder);
    filter(&folder, &["keygen", "team"]);
    let plugin = ", signature: { key: team.pub }";
    let (code, told) = check(&folder, plugin);
    assert!(code == Some(1) && told.contains("plugins.guard: the module is not signed"), "{told}");
    filter(&folder, &["sign", "guard.wasm", "--key", "team.key"]);
    let (code, told) = check(&folder, plugin);
    assert_eq!(code, Some(0), "{told}");

    let mut gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.get("/").0, 401);
    let mut changed = std::fs::read(folder.path("guard.wasm")).expect("it is there");
    let at = changed.windows(6).position(|part| part == b"no key").expect("the text is in it");
    changed[at] = b'N';
    folder.write("guard.wasm", &changed);
    gateway.wait("configuration rejected");
    let told = gateway.config()["rejected"].to_string();
    assert!(told.contains("changed after it was signed"), "{told}");
    assert_eq!(gateway.get("/"), (401, "no key".to_owned()), "the last good one");
}

#[test]
fn tests_of_a_plugin_decide() {
    let folder = Folder::new("filter-tests");
    guard(&folder);
    let good = ", tests: [
        { expect: { status: 401, body: no key } },
        { request: { method: POST, path: '/a?b=c', headers: { x-key: k1 }, body: text },
          expect: { headers: { x-user: ann }, absent: [x-key], body: tex } }]";
    let (code, told) = check(&folder, good);
    assert_eq!(code, Some(0), "{told}");
    for (expect, why) in [
        ("status: 403", "the plugin answers 401, expected is 403"),
        ("status: 401, body: key k1", "has the body \"no key\", expected is \"key k1\""),
        ("status: 401, headers: { x-a: b }", "has no header x-a, expected is \"b\""),
        ("headers: { x-user: ann }", "the plugin answers 401, expected is that the request goes on"),
    ] {
        let (code, told) = check(&folder, &format!(", tests: [{{ expect: {{ {expect} }} }}]"));
        assert!(code == Some(1) && told.contains(why) && told.contains("tests[0] (GET /)"), "{told}");
    }
    for (expect, why) in [
        ("status: 401", "the request goes on, expected is the answer 401"),
        ("headers: { x-user: bob }", "has the header x-user with \"ann\", expected is \"bob\""),
        ("absent: [x-user]", "has the header x-user, expected is that it is absent"),
    ] {
        let tests =
            format!(", tests: [{{ request: {{ headers: {{ x-key: k1 }} }}, expect: {{ {expect} }} }}]");
        let (code, told) = check(&folder, &tests);
        assert!(code == Some(1) && told.contains(why), "{told}");
    }
}

#[test]
fn a_new_version_that_fails_its_tests_does_not_take_the_place_of_the_old_one() {
    let folder = Folder::new("filter-version");
    guard(&folder);
    folder.write("a.yaml", configuration(", tests: [{ expect: { status: 401 } }]"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    let other = GUARD.replace("(i32.const 401)", "(i32.const 403)");
    folder.write("guard.wasm", wat::parse_str(&other).expect("a module"));
    gateway.wait("configuration rejected");
    assert_eq!(gateway.get("/").0, 401);
    assert!(gateway.config()["rejected"].to_string().contains("answers 403, expected is 401"));
    // Another expectation alone makes no new instance, but it is tried.
    folder.write("a.yaml", configuration(", tests: [{ expect: { status: 403 } }]"));
    gateway.wait("configuration live on all workers");
    assert_eq!(gateway.get("/").0, 403);
}

#[test]
fn a_manifest_is_compared_with_what_is_granted() {
    let folder = Folder::new("filter-manifest");
    guard(&folder);
    folder.write("needs.json", r#"{ "name": "guard", "needs": { "upstreams": ["keys"] } }"#);
    assert_eq!(filter(&folder, &["manifest", "guard.wasm", "--from", "needs.json"]).status.code(), Some(0));
    let (code, told) = check(&folder, "");
    assert!(code == Some(1) && told.contains("needs calls to keys"), "{told}");
    assert_eq!(check(&folder, ", capabilities: { upstreams: [keys] }").0, Some(0));
    folder.write("uses.json", r#"{ "uses": { "upstreams": ["keys"], "hostFunctions": ["proxy_log"] } }"#);
    filter(&folder, &["manifest", "guard.wasm", "--from", "uses.json"]);
    let (code, told) = check(&folder, "");
    assert!(code == Some(0) && told.contains("warning") && told.contains("keys"), "{told}");
    let told = lines(&filter(&folder, &["inspect", "guard.wasm"])).join("\n");
    assert!(told.contains("it does not name proxy_get_header_map_value"), "{told}");
}

/// Says for each request which level the log has, at `debug` and at `info`.
const TALKER: &str = r#"(module
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
    (import "env" "proxy_get_log_level" (func $level (param i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "debug of ?")
    (data (i32.const 32) "info of ?")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 4096)
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $level (i32.const 0)))
        (i32.store8 (i32.const 25) (i32.add (i32.const 48) (i32.load (i32.const 0))))
        (i32.store8 (i32.const 40) (i32.add (i32.const 48) (i32.load (i32.const 0))))
        (drop (call $log (i32.const 1) (i32.const 16) (i32.const 10)))
        (drop (call $log (i32.const 2) (i32.const 32) (i32.const 9)))
        (i32.const 0)))"#;

#[test]
fn lines_of_filters_have_the_levels_of_the_log() {
    let folder = Folder::new("filters-levels");
    folder.write("guard.wasm", wat::parse_str(TALKER).expect("a module"));
    folder.write("a.yaml", configuration("").replace("127.0.0.1:0 }", "127.0.0.1:0, operate: true }"));
    let mut gateway = Gateway::start(&folder, "a.yaml");
    let mut said = |levels: &str, last: &str| {
        let (status, why) = request_with(gateway.admin, "PUT", "/log-levels", levels);
        assert_eq!(status, 204, "{why}");
        assert_eq!(gateway.get("/").0, 200);
        let (before, _) = gateway.up_to(last);
        before.iter().filter(|line| line["plugin"] == "guard").count()
    };
    assert_eq!(said("info", "info of 2"), 0);
    assert_eq!(said("info,tidegate::guest=debug", "info of 1"), 1);
    assert_eq!(said("trace", "info of 0"), 1);
    assert_eq!(said("info", "info of 2"), 0);
}
