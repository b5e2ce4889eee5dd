//! New versions of a module under load: none of the old ones stays. With `TIDEGATE_RELOADS` in the environment it is
//! that many reloads (`cargo xtask suites reloads` does 10,000), otherwise a few.

#![allow(clippy::panic, reason = "a test that cannot go on says why")]

#[expect(dead_code, reason = "this test needs a part of it only")]
#[path = "binary/process.rs"]
mod process;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use process::{Folder, Gateway, request};

/// Calls may take long: the machine may have more work than CPUs, and this is not about time.
const CONFIGURATION: &str = "\
admin: { address: 127.0.0.1:0 }
workers: 2
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
plugins: { version: { module: version.wasm, limits: { callTime: 2s, requestTime: 5s } } }
routes: [{ name: all, rules: [{ filters: [{ plugin: version }], respond: { status: 404 } }] }]
";

/// Answers every request with its number, and writes to a page of memory of its own.
fn module(number: u64) -> Vec<u8> {
    let source = format!(
        r#"(module
            (import "env" "proxy_send_local_response"
                (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 4)
            (data (i32.const 16) "{number:08}")
            (func (export "proxy_abi_version_0_2_1"))
            (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 4096)
            (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
                (i64.store (i32.const 131072) (i64.const {number}))
                (drop (call $reply (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 8)
                    (i32.const 0) (i32.const 0) (i32.const -1)))
                (i32.const 1)))"#
    );
    wat::parse_str(source).expect("the text is a module")
}

/// A figure of the gateway's own.
fn metric(gateway: &Gateway, name: &str) -> f64 {
    let (_, text) = gateway.admin("/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).expect("the metric is there")
}

#[test]
fn memory_stays_flat_over_reloads_under_load() {
    let reloads = std::env::var("TIDEGATE_RELOADS").ok().map_or(200, |text| text.parse().expect("a number"));
    let folder = Folder::new("reloads");
    folder.write("version.wasm", module(0));
    folder.write("a.yaml", CONFIGURATION);
    let mut gateway = Gateway::start(&folder, "a.yaml");
    let (web, over) = (gateway.web, AtomicBool::new(false));
    let (asked, wrong) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let mut memory = Vec::new();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let (status, body) = request(web, "GET", "/");
                    asked.fetch_add(1, Ordering::Relaxed);
                    if status != 200 || body.len() != 8 {
                        wrong.lock().expect("nobody panics with it").push((status, body));
                    }
                }
            });
        }
        let reload = |gateway: &mut Gateway, number: u64| {
            folder.write("version.wasm", module(number));
            gateway.signal("HUP");
            gateway.wait("configuration live on all workers");
        };
        // The threads that load must end, whatever happens here.
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 1..=reloads {
                reload(&mut gateway, number);
                if number % (reloads / SAMPLES).max(1) == 0 {
                    memory.push(metric(&gateway, "process_resident_memory_bytes"));
                }
            }
        }));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = run {
            std::panic::resume_unwind(panic);
        }
    });
    let in_mebibytes: Vec<u64> = memory.iter().map(|bytes| (bytes / 1048576.0).round() as u64).collect();
    println!("{reloads} reloads, {asked:?} requests, resident MiB: {in_mebibytes:?}");
    let wrong = wrong.into_inner().expect("nobody panics with it");
    assert!(wrong.is_empty(), "of {asked:?} requests: {wrong:?}");
    assert_eq!(request(web, "GET", "/").1, format!("{reloads:08}"));
    // The ledger: only the generation that serves, on both workers.
    let ledger: serde_json::Value = serde_json::from_str(&gateway.admin("/ledger").1).expect("it is JSON");
    let held = ledger["generations"].as_array().expect("a list");
    assert!(held.len() == 1 && held[0]["workers"] == 2, "{ledger}");
    let modules = ledger["modules"].as_array().expect("a list");
    assert!(modules.len() <= 1, "{ledger}");
    // The first quarter warms up: caches fill, the allocator settles. What is being compiled at the moment makes single
    // samples jump, so the middle ones are compared.
    let quarter = memory.len() / 4;
    let (before, after) = (median(&memory[quarter..2 * quarter]), median(&memory[3 * quarter..]));
    println!("median of the second quarter {before}, of the last {after} bytes");
    // The allocator takes memory in steps, which in a short run are more than a twentieth of all.
    let step = if reloads < 2000 { 6.0 * 1048576.0 } else { 0.0 };
    assert!(after < before * 1.05 + step, "memory grew from {before} to {after} bytes: {in_mebibytes:?} MiB");
}

fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// How often memory is looked at.
const SAMPLES: u64 = 100;
