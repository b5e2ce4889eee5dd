//! What a meter is told by the instances that it measures.

use super::*;
use crate::{Meter, Seen, TIMED};
use std::cell::Cell;

/// Goes on by a microsecond with each reading of a test.
fn clock() -> Duration {
    thread_local! { static READ: Cell<u64> = const { Cell::new(0) } }
    Duration::from_micros(READ.replace(READ.get() + 1))
}

fn measured(rest: &str, limits: Limits) -> (Instance, Arc<Meter>) {
    let engine = engine();
    let spec = PluginSpec { limits, ..spec(engine.compile(&wasm(rest)).unwrap()) };
    let plugin = Arc::new(Plugin::build(&engine, spec, Arc::default()).unwrap());
    let (mut instance, meter) = (Instance::start(&plugin, NOW).unwrap(), Arc::new(Meter::new(clock)));
    instance.measure(meter.clone());
    (instance, meter)
}

fn seen(meter: &Meter) -> Seen {
    let mut seen = Seen::default();
    meter.read(&mut seen);
    seen
}

const TWO_CALLS: &str = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $time (i32.const 2048))) (drop (call $time (i32.const 2048))) (i32.const 0))"#;

fn request(instance: &mut Instance) {
    let id = open(instance);
    instance.on_request_headers(id, get(), true, NOW).unwrap();
    instance.close_stream(id, NOW);
}

#[test]
fn one_call_in_many_is_timed_and_all_are_counted() {
    let (mut instance, meter) = measured(TWO_CALLS, Limits::default());
    for _ in 0..=TIMED {
        request(&mut instance);
    }
    let seen = seen(&meter);
    let count = |durations: &crate::Durations| durations.buckets().last().map(|(_, count)| count);
    assert_eq!((seen.calls, count(&seen.guest), count(&seen.host)), (TIMED + 1, Some(2), Some(2)));
    // The clock is read before and after the call and each of the two calls of host functions.
    assert_eq!(seen.host.sum, Duration::from_micros(2 * 2));
    assert!(seen.guest.sum >= Duration::from_micros(2 * 3), "{:?}", seen.guest.sum);
}

#[test]
fn timed_calls_do_what_the_others_do() {
    let (mut instance, _) = measured(TWO_CALLS, Limits { call_host_calls: 1, ..Limits::default() });
    let id = open(&mut instance);
    assert!(instance.on_request_headers(id, get(), true, NOW).is_err(), "limits hold");
    let (mut instance, _) = measured(TWO_CALLS, Limits { request_host_calls: 2, ..Limits::default() });
    for _ in 0..3 {
        request(&mut instance);
    }
}

#[test]
fn what_an_instance_holds_is_given_back() {
    let grows = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (memory.grow (i32.const 4))) (i32.const 0))"#;
    let (mut instance, meter) = measured(grows, Limits::default());
    assert_eq!((seen(&meter).instances, seen(&meter).memory), (1, 2 << 16));
    let ids = [open(&mut instance), open(&mut instance)];
    instance.on_request_headers(ids[0], get(), true, NOW).unwrap();
    assert_eq!((seen(&meter).streams, seen(&meter).memory), (2, 6 << 16));
    instance.close_stream(ids[0], NOW);
    assert_eq!(seen(&meter).streams, 1);
    drop(instance);
    let left = seen(&meter);
    assert_eq!((left.instances, left.streams, left.memory, left.starts), (0, 0, 0, 1));
}

#[test]
fn failures_and_limits_are_counted_by_kind() {
    let breaks = r#"
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (memory.grow (i32.const 4))) (unreachable))"#;
    let (mut instance, meter) = measured(breaks, Limits { memory: 2 << 16, ..Limits::default() });
    let id = open(&mut instance);
    assert!(matches!(instance.on_request_headers(id, get(), true, NOW), Err(Trap::Memory { .. })));
    let seen = seen(&meter);
    assert_eq!(seen.failures().filter(|(_, count)| *count > 0).collect::<Vec<_>>(), [("memory", 1)]);
    assert_eq!(seen.limits().filter(|(_, count)| *count > 0).collect::<Vec<_>>(), [("memory", 1)]);
}
