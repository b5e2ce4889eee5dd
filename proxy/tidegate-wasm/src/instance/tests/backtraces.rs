//! What a trap says about where it happened.

use super::*;
use std::fmt::Write;

const BREAKS: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 8))
    (func $inner
        unreachable)
    (func $outer
        call $inner)
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        call $outer
        i32.const 0)
    (func (export "proxy_on_tick") (param i32) call $outer))"#;

fn message(trap: &Trap) -> String {
    trap.to_string()
}

#[test]
fn frames_have_the_functions_names() {
    let wasm = wat::parse_str(BREAKS).unwrap();
    let mut instance = Instance::start(&plugin_of(&engine(), &wasm, &Arc::new(Shared::new())), NOW).unwrap();
    let text = message(&instance.on_tick(NOW).unwrap_err());
    let at = |name: &str| text.find(name).unwrap_or_else(|| panic!("{name} is not in {text}"));
    assert!(at("inner") < at("outer"), "{text}");
    assert!(!text.contains("guest.wat"), "{text}");
}

#[test]
fn frames_have_lines_where_the_module_has_debug_information() {
    let wasm = wat::Parser::new()
        .generate_dwarf(wat::GenerateDwarf::Full)
        .parse_str(Some("guest.wat".as_ref()), BREAKS)
        .unwrap();
    let plugin = plugin_of(&engine(), &wasm, &Arc::new(Shared::new()));
    let mut instance = Instance::start(&plugin, NOW).unwrap();
    let text = message(&instance.on_tick(NOW).unwrap_err());
    for place in ["inner", "guest.wat:6", "outer", "guest.wat:8", "guest.wat:12"] {
        assert!(text.contains(place), "{place} is not in {text}");
    }
    // One that begins as an image has no back-off, so it must be cheap to break off.
    plugin.take_image(&wasm, NOW).unwrap();
    let mut instance = Instance::isolated(&plugin, NOW).unwrap();
    let id = open(&mut instance);
    let text = message(&instance.on_request_headers(id, get(), true, NOW).unwrap_err());
    assert!(text.contains("inner") && !text.contains("guest.wat"), "{text}");
}

/// How long a module with many functions takes to compile, to load from the cache, and to break off, with and without
/// debug information.
#[test]
#[ignore = "a measurement"]
fn what_debug_information_costs() {
    let mut text = BREAKS.strip_suffix(')').unwrap().to_owned();
    for number in 0..5000 {
        let body = "local.get 0\ni32.const 3\ni32.add\nlocal.set 0\n".repeat(10);
        write!(text, "\n(func $f{number} (param i32) (result i32)\n{body}\nlocal.get 0)").unwrap();
    }
    text.push(')');
    let plain = wat::parse_str(&text).unwrap();
    let debug = wat::Parser::new()
        .generate_dwarf(wat::GenerateDwarf::Full)
        .parse_str(Some("guest.wat".as_ref()), &text)
        .unwrap();
    for (name, wasm) in [("without", &plain), ("with", &debug)] {
        let folder = std::env::temp_dir().join(format!("tidegate-lines-{name}-{}", std::process::id()));
        let engine = || {
            let options =
                EngineOptions { cache_dir: Some(folder.clone()), epoch_tick: Duration::from_millis(1) };
            Engine::new(options).unwrap()
        };
        let timed = |act: &mut dyn FnMut()| {
            let began = std::time::Instant::now();
            act();
            began.elapsed()
        };
        let first = engine();
        let compiled = timed(&mut || drop(first.compile(wasm).unwrap()));
        let second = engine();
        let loaded = timed(&mut || drop(second.compile(wasm).unwrap()));
        let plugin = plugin_of(&second, wasm, &Arc::new(Shared::new()));
        let mut instance = Instance::start(&plugin, NOW).unwrap();
        let broke = timed(&mut || drop(instance.on_tick(NOW).unwrap_err()));
        println!(
            "{name}: {} bytes, compiled in {compiled:?}, loaded in {loaded:?}, a trap {broke:?}",
            wasm.len()
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
