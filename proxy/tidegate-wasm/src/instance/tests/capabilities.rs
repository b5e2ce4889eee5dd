//! What a plugin may not do is refused with its status, and told.

use super::*;
use crate::{BodyAccess, Capabilities, FieldAccess, Names};

fn with(rest: &str, capabilities: Capabilities) -> Instance {
    let engine = engine();
    let module = engine.compile(&wasm(rest)).unwrap();
    let spec = PluginSpec { capabilities, ..spec(module) };
    let plugin = Plugin::build(&engine, spec, Arc::new(Shared::new())).unwrap();
    Instance::start(&Arc::new(plugin), NOW).unwrap()
}

/// Log lines and refusals, in order.
fn told(instance: &mut Instance) -> Vec<String> {
    std::iter::from_fn(|| instance.poll_effect())
        .map(|effect| match effect {
            Effect::Log { message, .. } => message,
            Effect::Refused { function, stream } => format!("{function} {}", stream.is_some()),
            other => format!("{other:?}"),
        })
        .collect()
}

#[test]
fn functions_that_are_not_listed_answer_internal_failure() {
    let functions = Some(Names::new(["proxy_log", "proxy_get_*"]));
    let mut instance = with(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (call $get (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 2048) (i32.const 2052)))
            (call $say (call $tick (i32.const 5)))
            (i32.const 0))"#,
        Capabilities { functions, ..Capabilities::default() },
    );
    let id = open(&mut instance);
    assert_eq!(instance.on_request_headers(id, get(), true, NOW).unwrap(), Step::Continue);
    let want = ["001", "proxy_set_tick_period_milliseconds true", "010"];
    assert_eq!(told(&mut instance), want);
    assert_eq!(instance.tick_period(), None);
}

#[test]
fn functions_of_wasi_answer_that_they_are_not_allowed() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) (i32.const 8))
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
            (i32.eq (call $random (i32.const 0) (i32.const 1)) (i32.const 76))))"#;
    let engine = engine();
    let module = engine.compile(&wat::parse_str(text).unwrap()).unwrap();
    let functions = Some(Names::new(["proxy_*"]));
    let capabilities = Capabilities { functions, ..Capabilities::default() };
    let spec = PluginSpec { capabilities, ..spec(module) };
    let plugin = Plugin::build(&engine, spec, Arc::new(Shared::new())).unwrap();
    let mut instance = Instance::start(&Arc::new(plugin), NOW).unwrap();
    assert_eq!(told(&mut instance), ["random_get false"]);
}

#[test]
fn fields_that_may_not_be_read_are_not_there() {
    let read = Some(Names::new([":path", "x-a"]));
    let mut instance = with(
        r#"(data (i32.const 0) ":path") (data (i32.const 16) "host") (data (i32.const 32) "request\00headers\00host")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (call $get (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 2048) (i32.const 2052)))
            (call $tell)
            (call $say (call $get (i32.const 0) (i32.const 16) (i32.const 4) (i32.const 2048) (i32.const 2052)))
            (call $say (call $property (i32.const 32) (i32.const 20) (i32.const 2048) (i32.const 2052)))
            (call $say (call $pairs (i32.const 0) (i32.const 2048) (i32.const 2052)))
            (call $say (i32.load (i32.load (i32.const 2048))))
            (i32.const 0))"#,
        Capabilities { request_headers: FieldAccess { read, write: None }, ..Capabilities::default() },
    );
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    let want = ["000", "/path?query", "proxy_get_header_map_value true", "001", "001", "000", "002"];
    assert_eq!(told(&mut instance), want);
}

#[test]
fn fields_that_may_not_be_written_stay() {
    let write = Some(Names::new(["x-*"]));
    let mut instance = with(
        r#"(data (i32.const 0) "x-new") (data (i32.const 16) ":path")
        (data (i32.const 64) "\00\00\00\00")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (call $add (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 1)))
            (call $say (call $replace (i32.const 0) (i32.const 16) (i32.const 5) (i32.const 0) (i32.const 1)))
            (call $say (call $remove (i32.const 0) (i32.const 16) (i32.const 5)))
            (call $say (call $set_pairs (i32.const 0) (i32.const 64) (i32.const 4)))
            (i32.const 0))"#,
        Capabilities { request_headers: FieldAccess { read: None, write }, ..Capabilities::default() },
    );
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    let want = [
        "000",
        "proxy_replace_header_map_value true",
        "010",
        "proxy_remove_header_map_value true",
        "010",
        "proxy_set_header_map_pairs true",
        "010",
    ];
    assert_eq!(told(&mut instance), want);
    let head = instance.take_request_head(id).unwrap();
    assert_eq!((head.uri.path(), head.headers["x-new"].as_bytes()), ("/path", &b"x"[..]));
}

#[test]
fn a_whole_list_may_change_what_is_allowed() {
    let write = Some(Names::new(["x-a"]));
    // The list that was read is written back without x-a: nothing else changes.
    let mut instance = with(
        r#"(data (i32.const 0) "x-a")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $pairs (i32.const 0) (i32.const 2048) (i32.const 2052)))
            (call $say (call $set_pairs (i32.const 0) (i32.load (i32.const 2048)) (i32.load (i32.const 2052))))
            (call $say (call $remove (i32.const 0) (i32.const 0) (i32.const 3)))
            (i32.const 0))"#,
        Capabilities { request_headers: FieldAccess { read: None, write }, ..Capabilities::default() },
    );
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    assert_eq!(told(&mut instance), ["000", "000"]);
    let head = instance.take_request_head(id).unwrap();
    assert!(!head.headers.contains_key("x-a") && head.headers.contains_key("host"));
}

#[test]
fn bodies_may_be_read_only_or_not_at_all() {
    let guest = r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
            (call $say (call $buffer (i32.const 0) (i32.const 0) (i32.const 9) (i32.const 2048) (i32.const 2052)))
            (call $say (call $set_buffer (i32.const 0) (i32.const 0) (i32.const 9) (i32.const 0) (i32.const 1)))
            (i32.const 0))"#;
    let body = |access| Capabilities { request_body: access, ..Capabilities::default() };
    let mut instance = with(guest, body(BodyAccess::Read));
    assert!(instance.plugin().wants_request_body());
    let id = open(&mut instance);
    instance.on_request_headers(id, post(), false, NOW).unwrap();
    instance.on_request_body(id, Bytes::from_static(b"abcdef"), true, NOW).unwrap();
    assert_eq!(told(&mut instance), ["000", "proxy_set_buffer_bytes true", "010"]);
    assert_eq!(instance.take_request_body(id), Bytes::from_static(b"abcdef"));
    assert!(!with(guest, body(BodyAccess::None)).plugin().wants_request_body());
}
