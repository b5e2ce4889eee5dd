//! Foreign functions as guests call them.

use super::*;
use crate::Facts;
use std::rc::Rc;

/// Calls the function that the first byte of the configuration names, with the rest as its arguments, at each tick and
/// in each request's head; logs status and result.
fn guest(name: &str, args: &[u8]) -> Instance {
    let bytes: String = args.iter().map(|byte| format!("\\{byte:02x}")).collect();
    start(&format!(
        r#"(data (i32.const 0) "{name}") (data (i32.const 100) "{bytes}")
        (func $run
            (i64.store (i32.const 2048) (i64.const 0))
            (call $say (call $foreign (i32.const 0) (i32.const {}) (i32.const 100) (i32.const {}) (i32.const 2048) (i32.const 2052)))
            (call $tell))
        (func (export "proxy_on_tick") (param i32) (call $run))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $run) (i32.const 0))"#,
        name.len(),
        args.len()
    ))
}

/// Status and result, outside of a request.
fn called(name: &str, args: &[u8]) -> (String, String) {
    let mut instance = guest(name, args);
    instance.on_tick(NOW).unwrap();
    let mut said = lines(&mut instance).into_iter();
    (said.next().unwrap(), said.next().unwrap())
}

fn status(name: &str, args: &[u8]) -> String {
    called(name, args).0
}

#[test]
fn functions_have_statuses() {
    assert_eq!(
        called("uncompress", b"\x78\x9c\xcb\x48\xcd\xc9\xc9\x07\x00\x06\x2c\x02\x15"),
        ("000".into(), "hello".into())
    );
    for (name, args, want) in [
        ("nothing", &b""[..], "001"),
        ("", b"", "001"),
        ("clear_route_cache", b"", "000"),
        ("compress", b"hello", "000"),
        ("uncompress", b"hello", "003"),
        ("set_envoy_filter_state", b"\x0a\x01a\x12\x01b", "001"),
        ("set_envoy_filter_state", b"\x12\x01b", "002"),
        ("set_envoy_filter_state", b"\xff", "002"),
        ("declare_property", b"\x0a\x01a\x10\x01", "000"),
        ("declare_property", b"\xff", "002"),
        ("sign", b"\x0a\x06sha256\x1a\x04text", "002"),
        ("verify_signature", b"\x0a\x06sha256\x12\x03key\x1a\x01s\x22\x04text", "002"),
        ("expr_create", b"1 + 1", "000"),
        ("expr_create", b"1 +", "002"),
        ("expr_evaluate", b"\0\0\0\0", "001"),
        ("expr_evaluate", b"\0\0", "002"),
        ("expr_delete", b"\0\0\0\0", "000"),
        ("expr_delete", b"", "002"),
    ] {
        assert_eq!(status(name, args), want, "{name} {args:?}");
    }
}

#[test]
fn a_property_is_declared_once() {
    let mut instance = guest("declare_property", b"\x0a\x01a");
    instance.on_tick(NOW).unwrap();
    instance.on_tick(NOW).unwrap();
    assert_eq!(lines(&mut instance), ["000", "", "002", ""]);
}

#[test]
fn filter_state_is_for_all_plugins_of_a_request() {
    let mut writer = guest("set_envoy_filter_state", b"\x0a\x03key\x12\x05value");
    let mut reader = start(
        r#"(data (i32.const 0) "filter_state\00key")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (call $property (i32.const 0) (i32.const 16) (i32.const 2048) (i32.const 2052))) (call $tell)
            (i32.const 0))"#,
    );
    let info = StreamInfo { facts: Some(Rc::new(Facts::new())), ..info() };
    for instance in [&mut writer, &mut reader] {
        let id = instance.open_stream(info.clone(), NOW);
        instance.on_request_headers(id, get(), true, NOW).unwrap();
    }
    assert_eq!(lines(&mut writer), ["000", ""]);
    assert_eq!(lines(&mut reader), ["000", "value"]);
    let other = open(&mut reader);
    reader.on_request_headers(other, get(), true, NOW).unwrap();
    assert_eq!(lines(&mut reader)[0], "001", "another request has none");
}

#[test]
fn expressions_read_properties_of_the_request() {
    let mut instance = start(
        r#"(data (i32.const 0) "expr_createexpr_evaluate")
        (data (i32.const 100) "request.method == 'GET' && request.path.startsWith('/path') && connection.id == 77")
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (call $say (call $foreign (i32.const 0) (i32.const 11) (i32.const 100) (i32.const 82) (i32.const 2048) (i32.const 2052)))
            (global.set $saved (i32.load (i32.const 2048)))
            (i32.const 1))
        (func $evaluate
            (call $say (call $foreign (i32.const 11) (i32.const 13) (global.get $saved) (i32.const 4) (i32.const 2048) (i32.const 2052))))
        (func (export "proxy_on_tick") (param i32) (call $evaluate))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $evaluate) (call $say (i32.load8_u (i32.load (i32.const 2048)))) (i32.const 0))"#,
    );
    assert_eq!(lines(&mut instance), ["000"]);
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    assert_eq!(lines(&mut instance), ["000", "001"]);
    let id = open(&mut instance);
    instance.on_request_headers(id, post(), true, NOW).unwrap();
    assert_eq!(lines(&mut instance), ["000", "000"]);
    instance.on_tick(NOW).unwrap();
    assert_eq!(lines(&mut instance), ["010"], "outside of a request there is none of them");
}

#[test]
fn a_redis_call_that_is_given_up_leaves_nothing_behind() {
    let text = format!(
        r#"(module (import "env" "proxy_redis_call" (func $redis (param i32 i32 i32 i32 i32) (result i32)))
        {COMMON}
        (data (i32.const 0) "auth") (data (i32.const 16) "*1\0d\0a$4\0d\0aPING\0d\0a")
        (data (i32.const 40) "tidegate_cancel")
        (func (export "proxy_on_tick") (param i32)
            (call $say (call $redis (i32.const 0) (i32.const 4) (i32.const 16) (i32.const 14) (i32.const 100)))
            (call $say (call $foreign (i32.const 40) (i32.const 15) (i32.const 100) (i32.const 4) (i32.const 0)
                (i32.const 0)))))"#
    );
    let plugin = plugin_of(&engine(), &wat::parse_str(text).unwrap(), &Arc::new(Shared::new()));
    let mut instance = Instance::start(&plugin, NOW).unwrap();
    for _ in 0..3 {
        instance.on_tick(NOW).unwrap();
        assert_eq!(lines(&mut instance), ["000", "000"]);
    }
    let state = instance.store.data();
    assert_eq!((state.calls.len(), state.redis_calls.len(), state.callers.len()), (0, 0, 0));
}
