//! Guests that break off: traps, loops, memory, wild pointers.

use super::*;
use std::sync::{
    Mutex, MutexGuard, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

const LOOP: &str = r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (loop $ever (br $ever)) (i32.const 0))"#;

fn limited(engine: &Engine, wasm: &[u8], limits: Limits) -> Instance {
    let module = engine.compile(wasm).unwrap();
    let spec = PluginSpec { limits, ..spec(module) };
    Instance::start(&Arc::new(Plugin::build(engine, spec, Arc::new(Shared::new())).unwrap()), NOW).unwrap()
}

#[test]
fn a_trap_poisons_the_instance_but_not_the_message() {
    let mut instance = start(
        r#"(data (i32.const 0) "last words")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $log (i32.const 5) (i32.const 0) (i32.const 10)))
            (drop (call $continue (i32.const 0)))
            unreachable)
        (func (export "proxy_on_log") (param i32) (call $say (i32.const 1)))"#,
    );
    let (id, other) = (open(&mut instance), open(&mut instance));
    let trap = instance.on_request_headers(id, get(), true, NOW).unwrap_err();
    assert!(trap.to_string().contains("unreachable"), "{trap}");
    assert!(trap.to_string().contains("wasm backtrace"), "{trap}");
    assert_eq!((trap.is_timeout(), trap.kind()), (false, "trap"));
    assert!(instance.poisoned().is_some());
    let effects: Vec<_> = std::iter::from_fn(|| instance.poll_effect()).collect();
    assert!(matches!(&effects[..], [Effect::Log { message, .. }] if message == "last words"), "{effects:?}");
    assert_eq!(instance.take_request_head(id).unwrap().uri, "/path?query");
    // From now on the guest is not called, but what is given can be taken back.
    assert!(instance.on_request_headers(other, get(), true, NOW).is_err());
    assert!(instance.take_request_head(other).is_some());
    assert!(instance.on_response_body(other, Bytes::from_static(b"ab"), true, NOW).is_err());
    assert_eq!(instance.take_response_body(other).len(), 2);
    assert!(instance.on_tick(NOW).is_err());
    assert!(instance.on_http_call_response(1, None, NOW).is_err());
    instance.close_stream(id, NOW);
    instance.close_stream(other, NOW);
    instance.shut_down(NOW);
    assert_eq!((instance.streams(), instance.has_effects()), (0, false));
}

/// How many ticks an endless loop gets that may have three; the threads' time is as `measure` tells.
fn ticks_of_a_loop(measure: fn() -> Option<Duration>) -> u64 {
    let engine = engine();
    engine.measure_threads(measure);
    let limits = Limits { call_time: Duration::from_millis(3), ..Limits::default() };
    let mut instance = limited(&engine, &wasm(LOOP), limits);
    let done = AtomicBool::new(false);
    let began = engine.ticks();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                engine.tick();
                std::thread::park_timeout(Duration::from_micros(200));
            }
        });
        let id = open(&mut instance);
        let trap = instance.on_request_headers(id, get(), true, NOW).unwrap_err();
        done.store(true, Ordering::Relaxed);
        assert!(matches!(trap, Trap::CallTime { .. }), "{trap:?}");
    });
    engine.ticks() - began
}

#[test]
fn a_call_that_was_kept_from_the_cpu_gets_more_time_but_not_without_end() {
    static TIME: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let busy = || Some(Duration::from_secs(TIME.fetch_add(1, Ordering::Relaxed)));
    // Its own time, half of it to look whether it is on a CPU, and a tick or a few for the thread that ticks.
    let on_cpu = ticks_of_a_loop(busy);
    let off_cpu = ticks_of_a_loop(|| Some(Duration::from_secs(1)));
    assert!(on_cpu >= 4 && off_cpu >= 4 + 8 * 2, "{on_cpu} and {off_cpu} ticks");
}

#[test]
fn an_endless_loop_ends_with_the_time_for_a_call() {
    let engine = engine();
    let mut instance =
        limited(&engine, &wasm(LOOP), Limits { call_time: Duration::from_millis(3), ..Limits::default() });
    let done = AtomicBool::new(false);
    let trap = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                engine.tick();
                std::thread::yield_now();
            }
        });
        let id = open(&mut instance);
        let trap = instance.on_request_headers(id, get(), true, NOW).unwrap_err();
        done.store(true, Ordering::Relaxed);
        trap
    });
    assert!(matches!(trap, Trap::CallTime { limit } if limit == Duration::from_millis(3)), "{trap}");
    assert!(trap.is_timeout());
}

/// An engine on which a tick passes whenever a guest asks for random bytes, for one test at a time.
fn ticking() -> (&'static Engine, MutexGuard<'static, ()>) {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    static TURN: Mutex<()> = Mutex::new(());
    fn tick(_: &mut [u8]) {
        if let Some(engine) = ENGINE.get() {
            engine.tick();
        }
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let engine = ENGINE.get_or_init(|| {
        let options = EngineOptions { cache_dir: None, epoch_tick: Duration::from_millis(1) };
        Engine::with_random(options, tick).unwrap()
    });
    (engine, turn)
}

/// A tick may come right behind the beginning of a call. What one guest writes down as now, another one, which is called
/// after it, must not find ahead of its own.
#[test]
fn the_clock_of_a_call_is_never_ahead() {
    let guest = wat::parse_str(format!(
        r#"(module (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        {COMMON}
        (func $tell_milliseconds
            (drop (call $random (i32.const 0) (i32.const 0)))
            (drop (call $time (i32.const 200)))
            (call $say (i32.wrap_i64 (i64.div_u
                (i64.sub (i64.load (i32.const 200)) (i64.const 1000000000000000000)) (i64.const 1000000)))))
        (func (export "proxy_on_tick") (param i32)
            (call $tell_milliseconds) (call $tell_milliseconds) (call $tell_milliseconds)))"#
    ))
    .unwrap();
    let (engine, _turn) = ticking();
    let mut instance = limited(engine, &guest, Limits::default());
    instance.on_tick(NOW).unwrap();
    assert_eq!(lines(&mut instance), ["000", "001", "002"]);
}

#[test]
fn the_calls_of_a_request_have_a_time_together() {
    let guest = wat::parse_str(format!(
        r#"(module (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        {COMMON}
        (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (local $n i32)
            (loop $again
                (drop (call $random (i32.const 0) (i32.const 0)))
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $n) (i32.const 4))))
            (i32.const 0)))"#
    ))
    .unwrap();
    let limits = Limits {
        call_time: Duration::from_millis(5),
        request_time: Duration::from_millis(10),
        ..Limits::default()
    };
    let (engine, _turn) = ticking();
    let mut instance = limited(engine, &guest, limits);
    let (first, second) = (open(&mut instance), open(&mut instance));
    for id in [first, second, first, second] {
        instance.on_request_body(id, Bytes::new(), false, NOW).unwrap();
    }
    let trap = instance.on_request_body(second, Bytes::new(), false, NOW).unwrap_err();
    assert!(matches!(trap, Trap::RequestTime { limit } if limit == Duration::from_millis(10)), "{trap}");
}

/// Callbacks that are called together share what is left of their request's time. Each has its own time as well, but what
/// those before it have used is known only when the time is over.
#[test]
fn the_last_calls_of_a_request_have_no_more_time_than_is_left() {
    let ticks = |count: u32| "(drop (call $random (i32.const 0) (i32.const 0)))".repeat(count as usize);
    let guest = |log: u32, done: u32, delete: u32| {
        wat::parse_str(format!(
            r#"(module (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            {COMMON}
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {} (i32.const 0))
            (func (export "proxy_on_log") (param i32) {} (loop))
            (func (export "proxy_on_done") (param i32) (result i32) {} (loop) (i32.const 1))
            (func (export "proxy_on_delete") (param i32) {} (loop)))"#,
            ticks(4),
            ticks(log),
            ticks(done),
            ticks(delete)
        ))
        .unwrap()
    };
    let limits = Limits {
        call_time: Duration::from_millis(5),
        request_time: Duration::from_millis(10),
        ..Limits::default()
    };
    let (engine, _turn) = ticking();
    let ended = |guest: &[u8]| ended_with(engine, guest, limits);
    assert!(ended(&guest(2, 2, 2)).is_none(), "ten of the eleven ticks that surely cover the limit");
    for of_all in [guest(4, 4, 0), guest(2, 2, 4), guest(0, 4, 4)] {
        let trap = ended(&of_all).unwrap();
        assert!(matches!(trap, Trap::RequestTime { limit } if limit == Duration::from_millis(10)), "{trap}");
    }
    let call_time =
        |trap: &Trap| matches!(trap, Trap::CallTime { limit } if *limit == Duration::from_millis(5));
    assert!(ended(&guest(7, 0, 0)).as_ref().is_some_and(call_time));
    let mut limits = limits;
    limits.request_time = Duration::from_millis(40);
    let ended = |guest: &[u8]| ended_with(engine, guest, limits);
    assert!(ended(&guest(5, 5, 5)).is_none());
    for of_one in [guest(0, 12, 0), guest(3, 3, 12)] {
        assert!(ended(&of_one).as_ref().is_some_and(call_time));
    }
}

/// Why an instance broke off over a request, if it did.
fn ended_with(engine: &Engine, guest: &[u8], limits: Limits) -> Option<Trap> {
    let mut instance = limited(engine, guest, limits);
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    instance.close_stream(id, NOW);
    instance.poisoned().cloned()
}

#[test]
fn memory_that_was_refused_in_an_earlier_call_is_not_why_another_broke_off() {
    let mut instance = start(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (memory.grow (i32.const 60000))) (i32.const 0))
        (func (export "proxy_on_log") (param i32))
        (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
        (func (export "proxy_on_delete") (param i32) unreachable)"#,
    );
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    instance.close_stream(id, NOW);
    assert!(matches!(instance.poisoned(), Some(Trap::Trapped { .. })), "{:?}", instance.poisoned());
}

#[test]
fn memory_does_not_grow_beyond_its_limit() {
    let mut instance = limited(
        &engine(),
        &wasm(
            r#"(func (export "proxy_on_tick") (param i32)
                (call $say (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
                (call $say (i32.eq (memory.grow (i32.const 14)) (i32.const -1)))
                (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable)))"#,
        ),
        Limits { memory: 16 << 16, ..Limits::default() },
    );
    assert_eq!(instance.memory_bytes(), 2 << 16);
    instance.on_tick(NOW).unwrap();
    assert_eq!(
        (lines(&mut instance), instance.memory_bytes()),
        (vec!["000".to_owned(), "001".to_owned()], 4 << 16)
    );
    let trap = (0..20).find_map(|_| instance.on_tick(NOW).err()).unwrap();
    assert!(matches!(trap, Trap::Memory { limit, .. } if limit == 16 << 16), "{trap}");
}

#[test]
fn endless_wishes_are_a_trap() {
    let mut instance = start(
        r#"(func (export "proxy_on_tick") (param i32) (loop $ever (drop (call $tick (i32.const 1))) (br $ever)))"#,
    );
    let trap = instance.on_tick(NOW).unwrap_err();
    assert!(trap.to_string().contains("effects wait"), "{trap}");
    assert!(!instance.has_effects());
}

#[test]
fn deep_recursion_is_a_trap() {
    let mut instance = start(
        r#"(func $deep (param i64) (result i64)
            (i64.add (call $deep (i64.add (local.get 0) (i64.const 1))) (local.get 0)))
        (func (export "proxy_on_tick") (param i32) (drop (call $deep (i64.const 0))))"#,
    );
    let trap = instance.on_tick(NOW).unwrap_err();
    assert!(matches!(trap, Trap::Stack { .. }), "{trap}");
}

#[test]
fn wild_pointers_are_answered_with_a_status() {
    let mut instance = start(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (call $log (i32.const 2) (i32.const -1) (i32.const 5)))
            (call $say (call $log (i32.const 9) (i32.const 0) (i32.const 5)))
            (call $say (call $get (i32.const 0) (i32.const 131072) (i32.const 1) (i32.const 2048) (i32.const 2052)))
            (call $say (call $pairs (i32.const 0) (i32.const -1) (i32.const 2052)))
            (call $say (call $pairs (i32.const 0) (i32.const 2048) (i32.const 131070)))
            (call $say (call $set_pairs (i32.const 0) (i32.const 5) (i32.const -1)))
            (call $say (call $time (i32.const 131068)))
            (call $say (call $reply (i32.const 200) (i32.const -1) (i32.const 6) (i32.const 0) (i32.const 6)
                (i32.const 6) (i32.const 21) (i32.const -1)))
            (call $say (call $set_shared (i32.const 0) (i32.const 131073) (i32.const 0) (i32.const 0) (i32.const 0)))
            (call $say (call $define (i32.const 0) (i32.const 0) (i32.const 1) (i32.const -4)))
            (i32.const 0))"#,
    );
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    assert_eq!(lines(&mut instance), ["006", "002", "006", "006", "006", "006", "006", "006", "006", "006"]);
}

#[test]
fn memory_that_the_guest_gives_is_checked() {
    for (pointer, status) in [("i32.const 0", "006"), ("i32.const -8", "006"), ("i32.const 131071", "006")] {
        let guest = format!(
            r#"(module (import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
            (memory (export "memory") 2) (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) ({pointer}))
            (data (i32.const 0) "000")
            (func (export "proxy_on_configure") (param i32 i32) (result i32)
                (i32.store8 (i32.const 2) (i32.add (i32.const 48)
                    (call $buffer (i32.const 7) (i32.const 0) (i32.const 99) (i32.const 16) (i32.const 20))))
                (drop (call $log (i32.const 2) (i32.const 0) (i32.const 3)))
                (i32.const 1)))"#
        );
        let plugin = plugin_of(&engine(), &wat::parse_str(guest).unwrap(), &Arc::new(Shared::new()));
        let mut instance = Instance::start(&plugin, NOW).unwrap();
        assert_eq!(lines(&mut instance), [status], "{pointer}");
    }
}

#[test]
fn a_guest_may_do_next_to_nothing_while_it_gives_memory() {
    let guest = |body: &str| {
        let guest = format!(
            r#"(module (import "env" "proxy_get_buffer_bytes" (func $buffer (param i32 i32 i32 i32 i32) (result i32)))
            (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "args_get" (func $args (param i32 i32) (result i32)))
            (memory (export "memory") 2) (func (export "proxy_abi_version_0_2_1"))
            (func $fetch (result i32) (call $buffer (i32.const 7) (i32.const 0) (i32.const 99) (i32.const 16) (i32.const 20)))
            (func (export "malloc") (param i32) (result i32) (drop {body}) (i32.const 64))
            (func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.eqz (call $fetch))))"#
        );
        let plugin = plugin_of(&engine(), &wat::parse_str(guest).unwrap(), &Arc::new(Shared::new()));
        Instance::start(&plugin, NOW)
    };
    assert!(guest("(call $log (i32.const 2) (i32.const 0) (i32.const 3))").is_ok());
    assert!(guest("(call $clock (i32.const 0) (i64.const 0) (i32.const 32))").is_ok());
    for forbidden in ["(call $fetch)", "(call $args (i32.const 0) (i32.const 0))"] {
        let error = guest(forbidden).unwrap_err().to_string();
        assert!(error.contains("not allowed"), "{error}");
    }
}
