//! Shared data, queues, metrics and ticks as guests see them.

use super::*;
use crate::MetricValue;

#[test]
fn shared_data_is_compared_and_set() {
    let shared = Arc::new(Shared::new());
    let guest = wasm(
        r#"(data (i32.const 0) "keyvalue")
        (func (export "proxy_on_tick") (param i32)
            (call $say (call $shared (i32.const 0) (i32.const 3) (i32.const 2048) (i32.const 2052) (i32.const 2056)))
            (call $tell)
            (call $say (call $set_shared (i32.const 0) (i32.const 3) (i32.const 3) (i32.const 5) (i32.const 0)))
            (call $say (call $shared (i32.const 0) (i32.const 3) (i32.const 2048) (i32.const 2052) (i32.const 2056)))
            (call $tell)
            (call $say (i32.load (i32.const 2056)))
            (call $say (call $set_shared (i32.const 0) (i32.const 3) (i32.const 3) (i32.const 5) (i32.const 99))))"#,
    );
    let engine = engine();
    let plugin = plugin_of(&engine, &guest, &shared);
    let mut first = Instance::start(&plugin, NOW).unwrap();
    first.on_tick(NOW).unwrap();
    assert_eq!(lines(&mut first), ["001", "", "000", "000", "value", "001", "008"]);
    let mut second = Instance::start(&plugin, NOW).unwrap();
    second.on_tick(NOW).unwrap();
    assert_eq!(lines(&mut second)[..2], ["000", "value"]);
}

#[test]
fn metrics_have_numbers_and_kinds() {
    let shared = Arc::new(Shared::new());
    let guest = wasm(
        r#"(data (i32.const 0) "hitsdepthsize")
        (func $define_all
            (call $say (call $define (i32.const 0) (i32.const 0) (i32.const 4) (i32.const 2100)))
            (call $say (i32.load (i32.const 2100)))
            (call $say (call $define (i32.const 1) (i32.const 4) (i32.const 5) (i32.const 2104)))
            (call $say (i32.load (i32.const 2104)))
            (call $say (call $define (i32.const 2) (i32.const 9) (i32.const 4) (i32.const 2108)))
            (call $say (i32.load (i32.const 2108)))
            (call $say (call $define (i32.const 3) (i32.const 0) (i32.const 4) (i32.const 2112))))
        (func (export "proxy_on_configure") (param i32 i32) (result i32) (call $define_all) (i32.const 1))
        (func (export "proxy_on_tick") (param i32)
            (call $say (call $increment (i32.const 4) (i64.const 2)))
            (call $say (call $increment (i32.const 4) (i64.const -1)))
            (call $say (call $record (i32.const 5) (i64.const 9)))
            (call $say (call $record (i32.const 6) (i64.const 3)))
            (call $say (call $increment (i32.const 6) (i64.const 3)))
            (call $say (call $metric (i32.const 4) (i32.const 2120)))
            (call $say (i32.load (i32.const 2120)))
            (call $say (call $metric (i32.const 6) (i32.const 2120)))
            (call $say (call $metric (i32.const 400) (i32.const 2120)))
            (call $say (call $record (i32.const 0) (i64.const 1))))"#,
    );
    let mut instance = Instance::start(&plugin_of(&engine(), &guest, &shared), NOW).unwrap();
    assert_eq!(lines(&mut instance), ["000", "004", "000", "005", "000", "006", "002"]);
    instance.on_tick(NOW).unwrap();
    let want = ["000", "002", "000", "000", "002", "000", "002", "002", "001", "001"];
    assert_eq!(lines(&mut instance), want);
    let found: Vec<_> = shared.metrics().into_iter().map(|metric| (metric.name, metric.value)).collect();
    assert_eq!(found[0], ("depth".into(), MetricValue::Gauge(9)));
    assert_eq!(found[1], ("hits".into(), MetricValue::Counter(2)));
    assert!(matches!(&found[2], (name, MetricValue::Histogram { count: 1, sum: 3, .. }) if name == "size"));
}

#[test]
fn queues_wake_the_plugin_that_registered_them() {
    let mut instance = start(
        r#"(data (i32.const 0) "qentry")
        (func (export "proxy_on_configure") (param i32 i32) (result i32)
            (call $say (call $queue (i32.const 0) (i32.const 1) (i32.const 2100)))
            (i32.const 1))
        (func (export "proxy_on_tick") (param i32)
            (call $say (call $enqueue (i32.load (i32.const 2100)) (i32.const 1) (i32.const 5))))
        (func (export "proxy_on_queue_ready") (param i32 i32)
            (call $say (call $dequeue (local.get 1) (i32.const 2048) (i32.const 2052))) (call $tell)
            (call $say (call $dequeue (local.get 1) (i32.const 2048) (i32.const 2052)))
            (call $say (call $dequeue (i32.const 77) (i32.const 2048) (i32.const 2052))))"#,
    );
    assert_eq!(lines(&mut instance), ["000"]);
    instance.on_tick(NOW).unwrap();
    let queue = std::iter::from_fn(|| instance.poll_effect()).find_map(|effect| match effect {
        Effect::QueueReady { plugin, queue } if plugin == "plugin" => Some(queue),
        _ => None,
    });
    instance.on_queue_ready(queue.unwrap(), NOW).unwrap();
    let want = ["000", "000", "entry", "007", "001"];
    assert_eq!(lines(&mut instance), want, "the answer to enqueue stands behind the effect");
}

#[test]
fn time_is_what_the_caller_says_and_never_stands_still() {
    let mut instance = start(
        r#"(func (export "proxy_on_tick") (param i32)
            (drop (call $time (i32.const 2100))) (drop (call $time (i32.const 2108)))
            (call $say (i64.gt_u (i64.load (i32.const 2108)) (i64.load (i32.const 2100))))
            (call $say (i64.eq (i64.div_u (i64.load (i32.const 2100)) (i64.const 1000000000)) (i64.const 1000000000))))"#,
    );
    instance.on_tick(NOW).unwrap();
    assert_eq!(lines(&mut instance), ["001", "001"]);
}
