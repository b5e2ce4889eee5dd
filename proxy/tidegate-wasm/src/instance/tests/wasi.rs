//! The part of WASI that guests see.

use super::*;

/// A guest with WASI functions under the given name of the module.
fn guest(module: &str, body: &str) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(module
        (import "{module}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "{module}" "environ_sizes_get" (func $sizes (param i32 i32) (result i32)))
        (import "{module}" "environ_get" (func $environ (param i32 i32) (result i32)))
        (import "{module}" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
        (import "{module}" "random_get" (func $random (param i32 i32) (result i32)))
        (import "{module}" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
        (import "{module}" "path_open"
            (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "{module}" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "{module}" "proc_exit" (func $exit (param i32)))
        {COMMON} {body})"#
    ))
    .unwrap()
}

fn started(wasm: &[u8]) -> Instance {
    Instance::start(&plugin_of(&engine(), wasm, &Arc::new(Shared::new())), NOW).unwrap()
}

#[test]
fn both_names_are_served_from_the_start_on() {
    let body = r#"(data (i32.const 0) "hello\nlog")
        (func (export "_initialize")
            (i32.store (i32.const 64) (i32.const 0)) (i32.store (i32.const 68) (i32.const 5))
            (i32.store (i32.const 72) (i32.const 6)) (i32.store (i32.const 76) (i32.const 3))
            (call $say (call $write (i32.const 1) (i32.const 64) (i32.const 2) (i32.const 96)))
            (call $say (i32.load (i32.const 96)))
            (call $say (call $write (i32.const 3) (i32.const 64) (i32.const 2) (i32.const 96)))
            (call $say (call $write (i32.const 2) (i32.const -4) (i32.const 2) (i32.const 96)))
            (call $say (call $sizes (i32.const 100) (i32.const 104)))
            (call $say (i32.load (i32.const 100))) (call $say (i32.load (i32.const 104)))
            (call $say (call $environ (i32.const 112) (i32.const 128)))
            (drop (call $log (i32.const 2) (i32.load (i32.const 112)) (i32.const 9)))
            (call $say (call $random (i32.const 200) (i32.const 16)))
            (call $say (call $random (i32.const 200) (i32.const 65537)))
            (call $say (call $prestat (i32.const 3) (i32.const 200)))
            (call $say (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0)
                (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 200)))
            (call $exit (i32.const 7)))"#;
    for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        let mut instance = started(&guest(module, body));
        let want = [
            "hellolog",
            "000",
            "008",
            "008",
            "021",
            "000",
            "001",
            "010",
            "000",
            "REGION=eu",
            "000",
            "028",
            "008",
            "044",
            "the module called proc_exit(7)",
        ];
        assert_eq!(lines(&mut instance), want, "{module}");
    }
}

#[test]
fn a_guest_can_wait_by_looking_at_the_clock() {
    let body = r#"(func (export "proxy_on_tick") (param i32) (local $until i64)
            (call $say (call $clock (i32.const 1) (i64.const 1) (i32.const 200)))
            (call $say (i64.eq (i64.div_u (i64.load (i32.const 200)) (i64.const 1000000000)) (i64.const 7)))
            (local.set $until (i64.add (i64.load (i32.const 200)) (i64.const 50)))
            (loop $wait
                (drop (call $poll (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 300)))
                (drop (call $clock (i32.const 1) (i64.const 1) (i32.const 200)))
                (br_if $wait (i64.lt_u (i64.load (i32.const 200)) (local.get $until))))
            (call $say (call $clock (i32.const 9) (i64.const 1) (i32.const 200))))"#;
    let mut instance = started(&guest("wasi_snapshot_preview1", body));
    instance.on_tick(NOW).unwrap();
    assert_eq!(lines(&mut instance), ["000", "001", "058"]);
}

#[test]
fn a_line_may_be_written_in_pieces() {
    let body = r#"(data (i32.const 0) "panic: no\nend")
        (func $piece (param $fd i32) (param $at i32) (param $len i32)
            (i32.store (i32.const 64) (local.get $at)) (i32.store (i32.const 68) (local.get $len))
            (drop (call $write (local.get $fd) (i32.const 64) (i32.const 1) (i32.const 96))))
        (func (export "proxy_on_tick") (param i32)
            (call $piece (i32.const 2) (i32.const 0) (i32.const 7))
            (call $piece (i32.const 2) (i32.const 7) (i32.const 3))
            (call $piece (i32.const 2) (i32.const 0) (i32.const 5))
            (call $piece (i32.const 1) (i32.const 10) (i32.const 1))
            (call $say (i32.const 7))
            (call $piece (i32.const 1) (i32.const 10) (i32.const 3))
            unreachable)"#;
    let mut instance = started(&guest("wasi_snapshot_preview1", body));
    assert!(instance.on_tick(NOW).is_err());
    assert_eq!(lines(&mut instance), ["panic: no", "panic", "e", "007", "end"]);
}
