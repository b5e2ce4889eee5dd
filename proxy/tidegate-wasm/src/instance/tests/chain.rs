//! Callbacks that follow each other in one call.

use super::*;
use crate::{Trap, abi::chain};

/// A guest that says which callback it is in, and for which request. What it does beside: when it is told of a stream, in
/// the log, and at its end.
fn guest(create: &str, log: &str, done: &str) -> Instance {
    let wasm = wat::parse_str(format!(
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        {COMMON}
        (data (i32.const 0) ":path")
        (data (i32.const 16) "half")
        (global $first (mut i32) (i32.const 0))
        (func $where (param $n i32)
            (call $say (local.get $n))
            (if (i32.eqz (call $get (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 2048) (i32.const 2052)))
                (then (call $tell))))
        (func $other (drop (call $effective (global.get $first))))
        (func $half (i32.store (i32.const 64) (i32.const 16)) (i32.store (i32.const 68) (i32.const 4))
            (drop (call $write (i32.const 1) (i32.const 64) (i32.const 1) (i32.const 96))))
        (func (export "proxy_on_context_create") (param i32 i32)
            (if (local.get 1) (then
                (call $where (i32.const 1))
                (if (global.get $first) (then {create}) (else (global.set $first (local.get 0)))))))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $where (i32.const 2)) (i32.const 0))
        (func (export "proxy_on_log") (param i32) (call $where (i32.const 3)) {log})
        (func (export "proxy_on_done") (param i32) (result i32) (call $where (i32.const 4)) {done} (i32.const 1))
        (func (export "proxy_on_delete") (param i32) (call $where (i32.const 5))))"#,
    ))
    .unwrap();
    let instance = Instance::start(&plugin_of(&engine(), &wasm, &Arc::new(Shared::new())), NOW).unwrap();
    assert!(instance.chain.is_some());
    instance
}

fn begin(instance: &mut Instance, path: &str) -> StreamId {
    let id = open(instance);
    let head = Request::get(path).header("host", "h").body(()).unwrap().into_parts().0;
    assert_eq!(instance.on_request_headers(id, head, true, NOW).unwrap(), Step::Continue);
    instance.take_request_head(id);
    id
}

#[test]
fn each_callback_acts_for_its_stream_whatever_the_one_before_it_did() {
    for other in ["", "(call $other)", "(call $half)", "(call $half) (call $other)"] {
        let half: &[&str] = if other.contains("half") { &["half"] } else { &[] };
        let mut instance = guest(other, other, other);
        let first = begin(&mut instance, "/1");
        let second = begin(&mut instance, "/2");
        let said = lines(&mut instance);
        let want = [&["001", "/1", "002", "/1", "001", "/2"], half, &["002", "/2"]].concat();
        assert_eq!(said, want, "{other}");
        instance.close_stream(second, NOW);
        let want = [&["003", "/2"], half, &["004", "/2"], half, &["005", "/2"]].concat();
        assert_eq!(lines(&mut instance), want, "{other}");
        instance.close_stream(first, NOW);
        let want = [&["003", "/1"], half, &["004", "/1"], half, &["005", "/1"]].concat();
        assert_eq!(lines(&mut instance), want, "{other}");
    }
}

#[test]
fn what_stops_a_chain_stops_that_one_only() {
    let mut instance = guest("", "(if (i32.eq (local.get 0) (global.get $first)) (then (call $half)))", "");
    for (path, half) in [("/1", &["half"][..]), ("/2", &[])] {
        let id = begin(&mut instance, path);
        lines(&mut instance);
        instance.close_stream(id, NOW);
        let want = [&["003", path][..], half, &["004", path, "005", path]].concat();
        assert_eq!(lines(&mut instance), want);
    }
}

#[test]
fn a_callback_that_breaks_off_ends_the_chain_and_is_the_last_of_the_trace() {
    for (log, done, want) in
        [("unreachable", "", &["003", "/"][..]), ("", "unreachable", &["003", "/", "004", "/"])]
    {
        let mut instance = guest("", log, done);
        let id = begin(&mut instance, "/");
        lines(&mut instance);
        instance.close_stream(id, NOW);
        assert_eq!(lines(&mut instance), want);
        let Some(Trap::Trapped { backtrace, .. }) = instance.poisoned() else { panic!("{instance:?}") };
        assert_eq!(backtrace.matches('!').count(), 1, "{backtrace}");
        assert!(!backtrace.contains("tidegate") && !backtrace.ends_with('\n'), "{backtrace}");
    }
}

#[test]
fn guests_without_one_of_the_callbacks_and_instances_for_a_request_have_none() {
    assert!(start("").chain.is_none());
    let plugin = guest("", "", "").plugin.clone();
    assert!(plugin.image().is_none());
    assert!(Instance::isolated(&plugin, NOW).unwrap().chain.is_none());
}

/// The time of the next one may be over in its first instructions, before it could say anything.
#[test]
fn nothing_of_a_chain_is_left_for_the_next_one() {
    let half_if_first = "(if (i32.eq (local.get 0) (global.get $first)) (then (call $half)))";
    for (create, log, done) in [("", "", ""), (half_if_first, half_if_first, ""), ("", "", half_if_first)] {
        let mut instance = guest(create, log, done);
        for path in ["/1", "/2", "/3"] {
            let id = begin(&mut instance, path);
            instance.close_stream(id, NOW);
            instance.store.data_mut().chained = true;
            assert_eq!(chain::passed(&mut instance.store), 0);
            instance.store.data_mut().chained = false;
        }
        assert!(instance.poisoned().is_none());
    }
}

/// What the last callback of a chain does concerns nothing that comes behind it.
#[test]
fn what_the_last_callback_of_a_chain_does_stops_no_other_one() {
    let wasm = wat::parse_str(format!(
        r#"(module {COMMON}
        (func (export "proxy_on_context_create") (param i32 i32))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $effective (local.get 0))) (i32.const 0))
        (func (export "proxy_on_log") (param i32))
        (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
        (func (export "proxy_on_delete") (param i32)))"#,
    ))
    .unwrap();
    let mut instance = Instance::start(&plugin_of(&engine(), &wasm, &Arc::new(Shared::new())), NOW).unwrap();
    let id = begin(&mut instance, "/");
    let chain = instance.chain.as_ref().unwrap();
    assert_eq!(chain.end(&mut instance.store, id.0).unwrap(), 3);
}

#[test]
fn its_code_can_be_named() {
    let instance = guest("", "", "");
    let functions = instance.plugin().engine().functions();
    assert_eq!(functions.iter().map(|code| code.name.as_str()).collect::<Vec<_>>(), ["callbacks at once"; 2]);
    assert!(functions.iter().all(|code| code.start < code.end), "{functions:?}");
}
