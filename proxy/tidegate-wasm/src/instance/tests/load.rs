//! Modules that cannot be filters, and what is said about them.

use super::*;

fn refusal(wasm: &[u8]) -> LoadError {
    engine().compile(wasm).unwrap_err()
}

fn of_text(text: &str) -> LoadError {
    refusal(&wat::parse_str(text).unwrap())
}

const MALLOC: &str = r#"(func (export "malloc") (param i32) (result i32) (i32.const 0))"#;

#[test]
fn bytes_that_are_no_module() {
    assert!(matches!(refusal(b""), LoadError::NotWasm { .. }));
    assert!(matches!(refusal(b"#!/bin/sh\n"), LoadError::NotWasm { start } if start == b"#!/bin/s"));
    assert!(matches!(refusal(b"\0asm\x01"), LoadError::Truncated { len: 5, .. }));
    let whole = wasm("");
    for len in [whole.len() / 4, whole.len() / 2, whole.len() - 1] {
        let error = refusal(&whole[..len]);
        assert!(matches!(error, LoadError::Truncated { .. }), "{len}: {error}");
    }
    let mut broken = whole;
    broken[9] = 0xff;
    assert!(matches!(refusal(&broken), LoadError::Invalid(_) | LoadError::Truncated { .. }));
}

#[test]
fn what_a_module_lacks_is_named() {
    assert!(matches!(of_text("(module)"), LoadError::NoAbiVersion));
    let version = r#"(func (export "proxy_abi_version_0_2_0"))"#;
    assert!(matches!(of_text(&format!("(module {version} {MALLOC})")), LoadError::NoMemory));
    let memory = r#"(memory (export "memory") 1)"#;
    assert!(matches!(of_text(&format!("(module {version} {memory})")), LoadError::NoMalloc));
}

#[test]
fn unknown_imports_are_all_named() {
    let error = of_text(
        r#"(module (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
        (import "env" "proxy_continue_request" (func (result i32)))
        (import "other" "thing" (global i32))
        (func (export "proxy_abi_version_0_2_1")))"#,
    );
    assert_eq!(error.to_string(), "unknown imports for ABI 0.2.1: env.proxy_continue_request, other.thing");
}

#[test]
fn wrong_types_are_shown() {
    let error = of_text(&format!(
        r#"(module (memory (export "memory") 1) {MALLOC} (func (export "proxy_abi_version_0_1_0"))
        (func (export "proxy_on_request_headers") (param i32 i32 i32 i32) (result i32) (i32.const 0))
        (func (export "proxy_on_tick") (param i64))
        (global (export "proxy_on_log") i32 (i32.const 0)))"#
    ));
    assert_eq!(
        error.to_string(),
        "callbacks with a wrong type for ABI 0.1.0: \
        proxy_on_request_headers is (i32, i32, i32, i32) -> (i32), must be (i32, i32) -> (i32), \
        proxy_on_tick is (i64) -> (), must be (i32) -> (), proxy_on_log is not a function, must be (i32) -> ()"
    );
    let error = of_text(&format!(
        r#"(module (import "env" "proxy_log" (func (param i64) (result i32))) (memory (export "memory") 1) {MALLOC}
        (func (export "proxy_abi_version_0_2_1")))"#
    ));
    assert!(matches!(error, LoadError::WrongImport(_)), "{error}");
    assert!(error.to_string().contains("proxy_log"), "{error}");
}

#[test]
fn too_much_memory_is_refused_before_the_start() {
    let engine = engine();
    let module = engine.compile(&wasm("")).unwrap();
    assert_eq!((module.memory_bytes(), module.digest().len()), (2 << 16, 64));
    let limits = Limits { memory: 1 << 16, ..Limits::default() };
    let error =
        Plugin::build(&engine, PluginSpec { limits, ..spec(module) }, Arc::new(Shared::new())).unwrap_err();
    assert!(matches!(error, LoadError::MemoryLimit { needed: 131_072, limit: 65_536 }), "{error}");
}

#[test]
fn a_plugin_knows_its_callbacks() {
    let plugin =
        plugin(r#"(func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.const 0))"#);
    assert!(plugin.wants_request_body() && plugin.writes_bodies());
    assert!(!plugin.wants_request_headers() && !plugin.wants_response_body() && !plugin.wants_log());
    assert_eq!((plugin.name(), plugin.module().abi()), ("plugin", tidegate_abi::AbiVersion::V0_2_1));
}

#[test]
fn a_plugin_can_be_shared_by_threads() {
    fn shareable<T: Send + Sync>() {}
    shareable::<Engine>();
    shareable::<crate::Module>();
    shareable::<Plugin>();
    shareable::<Shared>();
}
