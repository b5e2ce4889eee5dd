//! Instances of one connection or request: what they begin with, what they do not share, what no image can be taken of.

use super::*;
use crate::ImageError;

/// A plugin with its image, if there is one, and what was wrong if not.
fn imaged(wasm: &[u8]) -> (Arc<Plugin>, Result<(), ImageError>) {
    let plugin = plugin_of(&engine(), wasm, &Arc::new(Shared::new()));
    let taken = plugin.take_image(wasm, NOW);
    (plugin, taken)
}

fn imaged_guest(rest: &str) -> Arc<Plugin> {
    let (plugin, taken) = imaged(&wasm(rest));
    taken.unwrap();
    plugin
}

fn isolated(plugin: &Arc<Plugin>) -> Instance {
    Instance::isolated(plugin, NOW).unwrap()
}

/// Shows a request to the guest; what the guest says.
fn ask(instance: &mut Instance) -> Vec<String> {
    let id = open(instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    instance.close_stream(id, NOW);
    lines(instance)
}

/// Counts from what configuration has left, in memory and in a global.
const COUNTING: &str = r#"
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (global.set $saved (i32.const 40)) (i32.store (i32.const 3000) (i32.const 70))
        (drop (call $tick (i32.const 5))) (call $say (i32.const 1)) (i32.const 1))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (global.set $saved (i32.add (global.get $saved) (i32.const 1)))
        (i32.store (i32.const 3000) (i32.add (i32.load (i32.const 3000)) (i32.const 1)))
        (call $say (global.get $saved)) (call $say (i32.load (i32.const 3000))) (i32.const 0))"#;

#[test]
fn each_begins_as_configuration_left_the_first() {
    let plugin = imaged_guest(COUNTING);
    let (mut one, mut other) = (isolated(&plugin), isolated(&plugin));
    assert!(!one.has_effects() && one.tick_period().is_none(), "ticks are the first instance's matter");
    assert_eq!(ask(&mut one), ["041", "071"]);
    assert_eq!(ask(&mut one), ["042", "072"]);
    assert_eq!(ask(&mut other), ["041", "071"]);
    drop((one, other));
    assert_eq!(ask(&mut isolated(&plugin)), ["041", "071"], "a place is clean when it is used again");
    let mut shared = Instance::start(&plugin, NOW).unwrap();
    assert_eq!(
        (ask(&mut shared), ask(&mut shared)),
        (vec!["001".into(), "041".into(), "071".into()], vec!["042".into(), "072".into()])
    );
}

#[test]
fn globals_of_all_kinds_and_grown_memory_are_kept() {
    let plugin = imaged_guest(
        r#"(global $long (mut i64) (i64.const 0)) (global $float (mut f32) (f32.const 0))
        (global $double (mut f64) (f64.const 0)) (global $fixed i32 (i32.const 7))
        (global $vector (mut v128) (v128.const i64x2 0 0))
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (global.set $long (i64.const -5000000000)) (global.set $float (f32.const 1.5))
            (global.set $double (f64.const -2.25)) (global.set $vector (v128.const i64x2 -1 11))
            (drop (memory.grow (i32.const 3))) (i32.store (i32.const 300000) (i32.const 123)) (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (i32.wrap_i64 (i64.div_s (global.get $long) (i64.const -1000000000))))
            (call $say (i32.trunc_f32_s (f32.mul (global.get $float) (f32.const 10))))
            (call $say (i32.trunc_f64_s (f64.mul (global.get $double) (f64.const -100))))
            (call $say (i32.wrap_i64 (i64x2.extract_lane 1 (global.get $vector))))
            (call $say (i32.load (i32.const 300000))) (call $say (global.get $fixed)) (call $say (memory.size))
            (drop (memory.grow (i32.const 1))) (call $say (memory.size)) (i32.const 0))"#,
    );
    for _ in 0..2 {
        assert_eq!(ask(&mut isolated(&plugin)), ["005", "015", "225", "011", "123", "007", "005", "006"]);
    }
}

#[test]
fn tables_are_kept() {
    let plugin = imaged_guest(
        r#"(type $number (func (result i32)))
        (table $t 3 8 funcref) (elem (i32.const 0) $one $two) (elem $later funcref (ref.func $three))
        (func $one (result i32) (i32.const 1)) (func $two (result i32) (i32.const 2))
        (func $three (result i32) (i32.const 3))
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (table.set $t (i32.const 0) (ref.func $two)) (table.set $t (i32.const 1) (ref.null func))
            (drop (table.grow $t (ref.func $three) (i32.const 2))) (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (call_indirect $t (type $number) (i32.const 0)))
            (call $say (ref.is_null (table.get $t (i32.const 1)))) (call $say (table.size $t))
            (call $say (call_indirect $t (type $number) (i32.const 4)))
            (table.init $t $later (i32.const 0) (i32.const 0) (i32.const 1))
            (call $say (call_indirect $t (type $number) (i32.const 0))) (i32.const 0))"#,
    );
    for _ in 0..2 {
        assert_eq!(ask(&mut isolated(&plugin)), ["002", "001", "005", "003", "003"]);
    }
}

#[test]
fn segments_are_where_they_were() {
    let plugin = imaged_guest(
        r#"(data $gone (i32.const 3000) "\07") (data $waits "\09")
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (i32.load8_u (i32.const 3000)))
            (memory.init $waits (i32.const 3000) (i32.const 0) (i32.const 1))
            (call $say (i32.load8_u (i32.const 3000)))
            (memory.init $gone (i32.const 3000) (i32.const 0) (i32.const 1)) (i32.const 0))"#,
    );
    let mut instance = isolated(&plugin);
    let id = open(&mut instance);
    let trap = instance.on_request_headers(id, get(), true, NOW).unwrap_err();
    assert!(trap.to_string().contains("out of bounds"), "active segments are gone after the start: {trap}");
    assert_eq!(lines(&mut instance), ["007", "009"]);
    assert!(isolated(&plugin).poisoned().is_none(), "a trap is of one instance only");
}

#[test]
fn metrics_keep_their_numbers() {
    let shared = Arc::new(Shared::new());
    let guest = wasm(
        r#"(data (i32.const 0) "hitsmore")
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (call $define (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 3000))) (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (call $say (call $increment (i32.load (i32.const 3000)) (i64.const 1)))
            (drop (call $define (i32.const 0) (i32.const 4) (i32.const 4) (i32.const 3004)))
            (call $say (call $increment (i32.load (i32.const 3004)) (i64.const 1))) (i32.const 0))"#,
    );
    let plugin = plugin_of(&engine(), &guest, &shared);
    plugin.take_image(&guest, NOW).unwrap();
    for _ in 0..3 {
        assert_eq!(ask(&mut isolated(&plugin)), ["000", "000"]);
    }
    let found: Vec<_> = shared.metrics().into_iter().map(|metric| (metric.name, metric.value)).collect();
    let counted = |name: &str| (name.to_owned(), crate::MetricValue::Counter(3));
    assert_eq!(found, [counted("hits"), counted("more")]);
}

#[test]
fn time_limits_hold() {
    let engine = engine();
    let guest = wasm(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (loop (br 0)) (i32.const 0))"#,
    );
    let plugin = plugin_of(&engine, &guest, &Arc::new(Shared::new()));
    plugin.take_image(&guest, NOW).unwrap();
    let mut instance = isolated(&plugin);
    let id = open(&mut instance);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Acquire) {
                engine.tick();
                std::thread::yield_now();
            }
        });
        let trap = instance.on_request_headers(id, get(), true, NOW).unwrap_err();
        over.store(true, std::sync::atomic::Ordering::Release);
        assert!(trap.is_timeout(), "{trap}");
    });
}

#[test]
fn memory_limits_hold() {
    let plugin = imaged_guest(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (if (i32.eq (memory.grow (i32.const 600)) (i32.const -1)) (then unreachable)) (i32.const 0))"#,
    );
    let mut instance = isolated(&plugin);
    let id = open(&mut instance);
    let trap = instance.on_request_headers(id, get(), true, NOW).unwrap_err();
    assert_eq!(trap.kind(), "memory");
}

#[test]
fn modules_that_hide_state_are_started_one_by_one() {
    for (what, rest) in [
        ("data.drop", r#"(data $waits "\09") (func $never (data.drop $waits))"#),
        ("elem.drop", r#"(func $f) (elem $waits func $f) (func $never (elem.drop $waits))"#),
        ("global 2 is a reference", "(global (mut funcref) (ref.null func))"),
    ] {
        let (plugin, taken) = imaged(&wasm(&format!("{rest} {COUNTING}")));
        let error = taken.unwrap_err();
        assert!(matches!(&error, ImageError::Unfit(why) if why.contains(what)), "{what}: {error}");
        assert!(plugin.image().is_none());
        let mut instance = isolated(&plugin);
        assert!(!instance.has_effects() && instance.tick_period().is_none(), "{what}");
        assert_eq!(ask(&mut instance), ["041", "071"], "{what}");
        assert_eq!(ask(&mut isolated(&plugin)), ["041", "071"], "{what}");
    }
}

#[test]
fn a_refused_configuration_gives_no_image() {
    let (_, taken) =
        imaged(&wasm(r#"(func (export "proxy_on_configure") (param i32 i32) (result i32) (i32.const 0))"#));
    assert!(matches!(taken, Err(ImageError::Start(StartError::Configure { .. }))), "{taken:?}");
}

#[test]
fn places_are_limited_and_used_again() {
    let plugin = imaged_guest("");
    let mut live = Vec::new();
    let full = loop {
        match Instance::isolated(&plugin, NOW) {
            Ok(instance) => live.push(instance),
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StartError::Full { limit } if limit as usize == live.len()), "{full}");
    live.pop();
    live.push(isolated(&plugin));
    drop(live);
    isolated(&plugin);
}

/// What was read from a secret file is in a configured instance's memory, so it must not get to the disk.
#[test]
fn images_are_not_kept_on_disk() {
    let folder = std::env::temp_dir().join(format!("tidegate-image-{}", std::process::id()));
    let options = EngineOptions { cache_dir: Some(folder.clone()), epoch_tick: Duration::from_millis(1) };
    let guest = wasm(
        r#"(func (export "proxy_on_configure") (param i32 i32) (result i32)
            (drop (call $buffer (i32.const 7) (i32.const 0) (i32.const 99) (i32.const 2048) (i32.const 2052)))
            (i32.const 1))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $tell) (i32.const 0))"#,
    );
    let plugin = plugin_of(&Engine::new(options).unwrap(), &guest, &Arc::new(Shared::new()));
    plugin.take_image(&guest, NOW).unwrap();
    assert_eq!(ask(&mut isolated(&plugin)), ["the config"], "the guest's copy");
    for file in std::fs::read_dir(&folder).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(10).any(|window| window == b"the config"));
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

/// Writes to the image, to the zeros behind it and to globals, after it has said what it finds there.
const SCRIBBLING: &str = r#"(global $long (export "long") (mut i64) (i64.const 0)) (global $vector (mut v128) (v128.const i64x2 0 0))
    (func (export "proxy_on_configure") (param i32 i32) (result i32)
        (drop (memory.grow (i32.const 30))) (global.set $long (i64.const 7)) (global.set $saved (i32.const 40))
        (i32.store8 (i32.const 3000) (i32.const 70)) (i32.store8 (i32.const 65535) (i32.const 5))
        (i32.store8 (i32.const 1500000) (i32.const 6)) (i32.const 1))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (local $at i32)
        (call $say (i32.wrap_i64 (global.get $long))) (call $say (global.get $saved))
        (call $say (i32.wrap_i64 (i64x2.extract_lane 0 (global.get $vector))))
        (loop $next
            (if (i32.load8_u (local.get $at)) (then (call $say (i32.load8_u (local.get $at)))))
            (i32.store8 (local.get $at) (i32.const 9))
            (br_if $next (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 100))) (i32.const 300000))))
        (call $say (i32.load8_u (i32.const 65535))) (call $say (i32.load8_u (i32.const 1500000)))
        (call $say (i32.load8_u (i32.const 1900000)))
        (i32.store8 (i32.const 65535) (i32.const 9)) (i32.store8 (i32.const 1500000) (i32.const 9))
        (i32.store8 (i32.const 1900000) (i32.const 9))
        (global.set $long (i64.const 9)) (global.set $saved (i32.const 9))
        (global.set $vector (v128.const i64x2 9 9)) (i32.const 0))"#;

/// The whole memory of an instance.
fn memory_of(instance: &mut Instance) -> Vec<u8> {
    let memory = instance.store.data().memory.unwrap();
    memory.data(&instance.store).to_vec()
}

#[test]
fn an_instance_that_begins_anew_is_as_a_new_one() {
    let plugin = imaged_guest(SCRIBBLING);
    let mut fresh = isolated(&plugin);
    let beginning = memory_of(&mut fresh);
    let first = ask(&mut fresh);
    let mut used = isolated(&plugin);
    for round in 0..50 {
        assert_eq!(ask(&mut used), first, "round {round}");
        assert_ne!(memory_of(&mut used), beginning);
        assert_eq!(used.begin_anew(), knows_what_is_written(), "round {round}");
        if !knows_what_is_written() {
            return;
        }
        assert!(memory_of(&mut used) == beginning, "round {round}");
        assert!(!used.has_effects() && used.streams() == 0 && used.open_calls() == 0);
    }
}

/// Whether the kernel tells where a guest has written (Linux 6.7); without that no instance is used again.
fn knows_what_is_written() -> bool {
    let plugin = imaged_guest("");
    drop(isolated(&plugin));
    plugin.engine.pages().is_some()
}

#[test]
fn a_stream_and_a_call_that_were_left_open_are_gone_when_an_instance_begins_anew() {
    let plugin = imaged_guest(calls::AUTH);
    let mut instance = isolated(&plugin);
    let mut before = Vec::new();
    for _ in 0..3 {
        let id = open(&mut instance);
        assert_eq!(instance.on_request_headers(id, post(), false, NOW).unwrap(), Step::Wait);
        assert_eq!((instance.streams(), instance.open_calls(), instance.has_effects()), (1, 1, true));
        let called = std::iter::from_fn(|| instance.poll_effect()).find_map(|effect| match effect {
            Effect::HttpCall { token, .. } => Some(token),
            _ => None,
        });
        // Whoever reads what is left of the effects must not read it of the next request.
        assert!(instance.has_effects());
        assert_eq!(instance.begin_anew(), knows_what_is_written());
        if !knows_what_is_written() {
            return;
        }
        assert_eq!((instance.streams(), instance.open_calls(), instance.has_effects()), (0, 0, false));
        instance.on_http_call_response(called.unwrap(), None, NOW).unwrap();
        assert!(!instance.has_effects(), "the guest is not told");
        before.push(called);
    }
    assert!(before.windows(2).all(|calls| calls[0] == calls[1]), "numbers begin anew as well: {before:?}");
}

#[test]
fn what_cannot_begin_anew_says_so() {
    let cases = [
        ("grown memory", "(drop (memory.grow (i32.const 1)))", ""),
        ("a changed table", "(table.set $t (i32.const 0) (ref.null func))", "(table $t 1 funcref)"),
        ("much written", "(memory.fill (i32.const 70000) (i32.const 1) (i32.const 600000))", ""),
    ];
    for (name, does, with) in cases {
        let plugin = imaged_guest(&format!(
            r#"{with} (func (export "proxy_on_configure") (param i32 i32) (result i32)
                (drop (memory.grow (i32.const 20))) (i32.const 1))
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) {does} (i32.const 0))"#
        ));
        let mut instance = isolated(&plugin);
        ask(&mut instance);
        assert!(!instance.begin_anew(), "{name}");
    }
    let plugin = imaged_guest(
        r#"(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable)"#,
    );
    let mut instance = isolated(&plugin);
    let id = open(&mut instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap_err();
    assert!(!instance.begin_anew(), "broken off");
    assert!(!Instance::start(&plugin, NOW).unwrap().begin_anew(), "not of the image");
}
