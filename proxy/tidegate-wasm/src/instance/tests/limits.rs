//! Limits that are counted, and instances that have grown.

use super::*;
use crate::Trap;

fn limited(rest: &str, limits: Limits) -> Instance {
    let engine = engine();
    let spec = PluginSpec { limits, ..spec(engine.compile(&wasm(rest)).unwrap()) };
    Instance::start(&Arc::new(Plugin::build(&engine, spec, Arc::default()).unwrap()), NOW).unwrap()
}

/// Two calls of host functions for each head.
const COUNT: &str = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $time (i32.const 2048))) (drop (call $log (i32.const 0) (i32.const 0) (i32.const 0))) (i32.const 0))
    (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (drop (call $time (i32.const 2048))) (drop (call $time (i32.const 2048))) (i32.const 0))"#;

#[test]
fn calls_of_host_functions_are_limited_by_call() {
    for (call_host_calls, passes) in [(1, false), (2, true)] {
        let mut instance = limited(COUNT, Limits { call_host_calls, ..Limits::default() });
        let id = open(&mut instance);
        let headers = instance.on_request_headers(id, get(), true, NOW);
        assert_eq!(headers.is_ok(), passes);
        if let Err(trap) = headers {
            assert!(matches!(trap, Trap::CallHostCalls { limit: 1 }), "{trap:?}");
            assert!(matches!(instance.poisoned(), Some(Trap::CallHostCalls { .. })));
        }
    }
}

#[test]
fn calls_of_host_functions_are_limited_by_request() {
    let mut instance = limited(COUNT, Limits { request_host_calls: 3, ..Limits::default() });
    for _ in 0..2 {
        let id = open(&mut instance);
        instance.on_request_headers(id, get(), true, NOW).unwrap();
        instance.close_stream(id, NOW);
    }
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    let trap = instance.on_response_headers(id, ok(), true, NOW).unwrap_err();
    assert!(matches!(trap, Trap::RequestHostCalls { limit: 3 }), "{trap:?}");
}

/// Takes all fields and writes them again.
const PAIRS: &str = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $pairs (i32.const 0) (i32.const 2048) (i32.const 2052)))
        (drop (call $set_pairs (i32.const 0) (i32.load (i32.const 2048)) (i32.load (i32.const 2052))))
        (i32.const 0))"#;

#[test]
fn bytes_copied_count_both_ways() {
    // The map of `get()` has 116 bytes.
    for (copied_bytes, passes) in [(115, false), (231, false), (232, true)] {
        let mut instance = limited(PAIRS, Limits { copied_bytes, ..Limits::default() });
        let id = open(&mut instance);
        let headers = instance.on_request_headers(id, get(), true, NOW);
        assert_eq!(headers.is_ok(), passes, "{copied_bytes}: {headers:?}");
        if let Err(trap) = headers {
            assert!(matches!(trap, Trap::CopiedBytes { .. }), "{trap:?}");
        }
    }
}

#[test]
fn a_connection_has_its_limits_for_each_callback() {
    let data = r#"
    (func (export "proxy_on_downstream_data") (param i32 i32 i32) (result i32)
        (drop (call $time (i32.const 2048))) (i32.const 0))"#;
    let mut instance = limited(data, Limits { request_host_calls: 1, ..Limits::default() });
    let id = instance.open_connection(info(), NOW);
    for _ in 0..3 {
        instance.on_downstream_data(id, Bytes::from_static(b"x"), false, NOW).unwrap();
    }
}

#[test]
fn starting_is_not_limited_by_counts() {
    let configures = r#"
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (call $time (i32.const 2048))) (drop (call $time (i32.const 2048))) (i32.const 1))"#;
    limited(configures, Limits { call_host_calls: 1, ..Limits::default() });
}

#[test]
fn open_calls_over_the_limit_get_a_status() {
    let calls = r#"
    (data (i32.const 0) "auth")
    (data (i32.const 16) "\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\01\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00/\00:authority\00a\00")
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (call $say (call $call (i32.const 0) (i32.const 4) (i32.const 16) (i32.const 61) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048)))
        (i32.const 0))"#;
    let mut instance = limited(calls, Limits { open_calls: 1, ..Limits::default() });
    let mut said = Vec::new();
    for _ in 0..2 {
        let id = open(&mut instance);
        instance.on_request_headers(id, get(), true, NOW).unwrap();
        said.extend(lines(&mut instance));
    }
    assert_eq!(said, ["000", "010"]);
}

#[test]
fn lines_over_the_rate_are_dropped() {
    let mut instance = limited(
        COUNT
            .replace("(i32.const 0) (i32.const 0) (i32.const 0)", "(i32.const 2) (i32.const 0) (i32.const 0)")
            .as_str(),
        Limits { log_lines: 2, ..Limits::default() },
    );
    for _ in 0..5 {
        let id = open(&mut instance);
        instance.on_request_headers(id, get(), true, NOW).unwrap();
        instance.close_stream(id, NOW);
    }
    assert_eq!(lines(&mut instance).len(), 2);
}

const GROW: &str = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (memory.grow (i32.const 4))) (i32.const 0))"#;

#[test]
fn an_instance_that_has_grown_is_worn() {
    let mut instance = limited(GROW, Limits { rebuild_above: 3 << 16, ..Limits::default() });
    assert!(!instance.is_worn(), "it begins with two pages");
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    assert!(instance.is_worn());
    assert_eq!(instance.memory_bytes(), 6 << 16);
}

#[test]
fn one_that_begins_above_the_size_is_not() {
    let mut instance = limited(GROW, Limits { rebuild_above: 1 << 16, ..Limits::default() });
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    assert!(!instance.is_worn(), "a new one would be so from its beginning");
}
