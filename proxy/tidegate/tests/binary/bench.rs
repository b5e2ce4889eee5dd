//! `tidegate filter bench`: which callbacks it measures.

use crate::process::{Folder, lines, tidegate};

/// Has callbacks for requests and connections, wants ticks, and makes a call in each.
const GUEST: &str = r#"(module
    (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
    (import "env" "proxy_http_call"
        (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "auth")
    (data (i32.const 16) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/\00:authority\00a\00")
    (func (export "malloc") (param i32) (result i32) (i32.const 4096))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (drop (call $tick (i32.const 1000))) (i32.const 1))
    (func (export "proxy_on_tick") (param i32)
        (drop (call $call (i32.const 0) (i32.const 4) (i32.const 16) (i32.const 62) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 100) (i32.const 8))))
    (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
    (func (export "proxy_on_new_connection") (param i32) (result i32) (i32.const 0))
    (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32) (i32.const 0))
    (func (export "proxy_on_log") (param i32)))"#;

/// The first words of each row of the table.
fn rows(text: &[String]) -> Vec<String> {
    let table = text.iter().skip_while(|line| !line.starts_with("callback ")).skip(1);
    let name = |line: &String| line.get(..18).unwrap_or_default().trim().to_owned();
    table.take_while(|line| !line.is_empty()).map(name).collect()
}

#[test]
fn requests_connections_and_ticks_are_measured() {
    let folder = Folder::new("bench");
    folder.write("a.wasm", wat::parse_str(GUEST).expect("a module"));
    let bench = |more: &[&str]| {
        let output = tidegate(&folder, &[&["filter", "bench", "a.wasm", "--rounds", "2"], more].concat());
        let text = lines(&output);
        assert_eq!(output.status.code(), Some(0), "{text:?}");
        text
    };
    let requests = bench(&["--body", "7"]);
    assert_eq!(
        rows(&requests),
        ["start", "request headers", "log, done", "tick", "a request"],
        "{requests:?}"
    );
    let bytes = bench(&["--tcp", "--data", "hello", "--body", "10"]);
    let whole = "a connection with 15 bytes from the client, 10 back";
    assert!(bytes.iter().any(|line| line == whole), "{bytes:?}");
    let wanted = ["start", "new connection", "client's bytes", "closes, log, done", "tick", "a connection"];
    assert_eq!(rows(&bytes), wanted, "{bytes:?}");
    assert!(
        !bytes.iter().any(|line| line.contains("(same)")),
        "a request is compared with no connection: {bytes:?}"
    );
    let again = bench(&["--tcp", "--data", "hello", "--body", "10"]);
    let tick = again.iter().find(|line| line.starts_with("tick")).expect("a row");
    let (counts, calls) = (tick.contains("(same)"), tick.split_whitespace().rev().nth(1));
    assert_eq!((counts, calls), (true, Some("1")), "the call of a tick is its own: {tick}");
}

#[test]
fn a_module_without_callbacks_is_told() {
    let folder = Folder::new("bench-none");
    let module = r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 8)))"#;
    folder.write("a.wasm", wat::parse_str(module).expect("a module"));
    for (more, told) in
        [(&[][..], "no callback for requests or connections"), (&["--tcp"], "which --tcp measures")]
    {
        let output = tidegate(&folder, &[&["filter", "bench", "a.wasm"], more].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(told), "{text}");
    }
}
