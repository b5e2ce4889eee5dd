//! Starting and ending: order of the callbacks, refusals, other versions of the ABI.

use super::*;

fn refused(rest: &str) -> StartError {
    Instance::start(&plugin(rest), NOW).unwrap_err()
}

#[test]
fn callbacks_come_in_order() {
    let mut instance = start(
        r#"(func (export "_initialize") (call $say (i32.const 10)))
        (func (export "main") (param i32 i32) (result i32) (call $say (i32.const 11)) (i32.const 0))
        (func (export "proxy_on_context_create") (param i32 i32)
            (call $say (i32.add (i32.const 20) (local.get 0))) (call $say (i32.add (i32.const 30) (local.get 1))))
        (func (export "proxy_on_vm_start") (param i32 i32) (result i32) (call $say (i32.const 40)) (i32.const 1))
        (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $say (local.get 1)) (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $say (i32.const 60)) (i32.const 0))
        (func (export "proxy_on_log") (param i32) (call $say (i32.const 70)))
        (func (export "proxy_on_done") (param i32) (result i32) (call $say (i32.const 80)) (i32.const 0))
        (func (export "proxy_on_delete") (param i32) (call $say (i32.const 90)))"#,
    );
    assert_eq!(lines(&mut instance), ["010", "011", "021", "030", "040", "010"]);
    let silent = open(&mut instance);
    instance.close_stream(silent, NOW);
    assert!(!instance.has_effects(), "a stream without events is never shown");
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    instance.close_stream(id, NOW);
    instance.close_stream(id, NOW);
    assert_eq!(lines(&mut instance), ["023", "031", "060", "070", "080", "090"]);
    assert!(!instance.shut_down(NOW), "it has answered false");
    assert_eq!(lines(&mut instance), ["080"]);
    instance.delete(NOW);
    instance.delete(NOW);
    assert_eq!(lines(&mut instance), ["090"]);
}

#[test]
fn a_guest_without_callbacks_for_heads_is_told_of_the_request() {
    for (callbacks, ends) in [
        ("(func (export \"proxy_on_log\") (param i32) (call $say (i32.const 70)))", &["070"][..]),
        (
            "(func (export \"proxy_on_done\") (param i32) (result i32) (call $say (i32.const 80)) (i32.const 1))",
            &["080"],
        ),
        ("(func (export \"proxy_on_delete\") (param i32) (call $say (i32.const 90)))", &["090"]),
        ("(func (export \"proxy_on_request_body\") (param i32 i32 i32) (result i32) unreachable)", &[]),
        ("(func (export \"proxy_on_response_headers\") (param i32 i32 i32) (result i32) unreachable)", &[]),
        ("", &[]),
    ] {
        let mut instance = start(&format!(
            r#"(func (export "proxy_on_context_create") (param i32 i32) (call $say (i32.add (i32.const 20) (local.get 0))))
            {callbacks}"#
        ));
        assert_eq!(lines(&mut instance), ["021"]);
        let id = open(&mut instance);
        assert_eq!(instance.on_request_headers(id, get(), true, NOW).unwrap(), Step::Continue);
        assert_eq!(lines(&mut instance), ["022"], "{callbacks}");
        instance.close_stream(id, NOW);
        assert_eq!(lines(&mut instance), ends, "{callbacks}");
    }
}

#[test]
fn a_refused_configuration_comes_with_the_last_lines() {
    let error = refused(
        r#"(data (i32.const 0) "no such key: keyz")
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (call $log (i32.const 4) (i32.const 0) (i32.const 17))) (i32.const 0))"#,
    );
    assert_eq!(error.to_string(), "proxy_on_configure answered false; last log lines: no such key: keyz");
    let error = refused(r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32) (i32.const 0))"#);
    assert!(matches!(&error, StartError::VmStart { log } if log.is_empty()), "{error}");
}

#[test]
fn a_start_that_breaks_off_is_told() {
    for callback in [
        r#"(func (export "_initialize") unreachable)"#,
        r#"(func (export "_start") unreachable)"#,
        r#"(func $now unreachable) (start $now)"#,
        r#"(func (export "proxy_on_vm_start") (param i32 i32) (result i32) unreachable)"#,
    ] {
        let error = refused(callback);
        assert!(matches!(error, StartError::Trap(Trap::Trapped { .. })), "{callback}: {error}");
    }
    let early = refused(r#"(func (export "_initialize") (drop (call $tick (i32.const 5))))"#).to_string();
    assert!(early.contains("proxy_set_tick_period_milliseconds") && early.contains("not allowed"), "{early}");
}

#[test]
fn the_first_version_of_the_abi_works() {
    let guest = wat::parse_str(
        r#"(module
        (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
        (import "env" "proxy_get_configuration" (func $configuration (param i32 i32) (result i32)))
        (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
        (import "env" "proxy_continue_request" (func $continue (result i32)))
        (import "env" "proxy_clear_route_cache" (func $clear (result i32)))
        (memory (export "memory") 1) (func (export "proxy_abi_version_0_1_0")) (func (export "_start"))
        (func (export "malloc") (param i32) (result i32) (i32.const 64))
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (call $configuration (i32.const 0) (i32.const 4)))
            (drop (call $log (i32.const 2) (i32.load (i32.const 0)) (i32.load (i32.const 4))))
            (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32) (result i32)
            (drop (call $continue)) (drop (call $clear))
            (i32.add (i32.const 1) (call $get (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 4)))))"#,
    )
    .unwrap();
    let plugin = plugin_of(&engine(), &guest, &Arc::new(Shared::new()));
    let mut instance = Instance::start(&plugin, NOW).unwrap();
    assert_eq!(lines(&mut instance), ["the config"]);
    let id = open(&mut instance);
    assert_eq!(instance.on_request_headers(id, get(), false, NOW).unwrap(), Step::Pause);
    assert_eq!(wishes(&mut instance), ["resume Request", "clear route"]);
    assert_eq!(instance.on_request_body(id, Bytes::from_static(b"a"), true, NOW).unwrap(), Step::Continue);
}

#[test]
fn log_lines_have_levels_and_a_limit() {
    let guest = plugin(
        r#"(func (export "proxy_on_tick") (param $n i32)
            (drop (call $log (i32.const 1) (i32.const 0) (i32.const 0)))
            (loop $again
                (call $say (i32.const 1))
                (br_if $again (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 1500)))))"#,
    );
    let mut instance = Instance::start(&guest, NOW).unwrap();
    instance.on_tick(NOW).unwrap();
    assert_eq!(lines(&mut instance).len(), 1000, "no debug line, and not all of the others");
    guest.set_log_level(LogLevel::Debug);
    let later = Now { monotonic: NOW.monotonic + Duration::from_secs(1), ..NOW };
    instance.on_tick(later).unwrap();
    let said = lines(&mut instance);
    assert_eq!(said[0], "499 log lines of the plugin were dropped: too many in a second");
    assert_eq!((said[1].as_str(), said[2].as_str()), ("", "001"));
}
