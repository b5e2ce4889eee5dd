//! A gateway that does nothing does not wake: alone in its file, since the threads of other gateways would be counted.

use std::cell::Cell;
use std::fs;

use tidegate_testkit::{RawClient, ScriptedUpstream, TestGateway, fill};

const FAULT: &[u8] = include_bytes!("guests/fault.wat");

/// How often the thread of this name has given up its CPU.
fn waits_of(thread: &str) -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("threads are listed").filter_map(Result::ok);
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let status = statuses
        .into_iter()
        .find(|status| status.lines().any(|line| line.strip_prefix("Name:\t") == Some(thread)))
        .expect("the thread lives");
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.and_then(|count| count.trim().parse().ok()).expect("the kernel counts")
}

/// Waits until the thread has not woken for fifty looks, which are at least two of its ticks apart.
fn rests(gateway: &TestGateway, thread: &str) {
    let (last, same) = (Cell::new(0), Cell::new(0));
    gateway.wait("the thread to rest", |_| {
        let now = waits_of(thread);
        same.set(if last.replace(now) == now { same.get() + 1 } else { 0 });
        same.get() >= 50
    });
}

#[test]
fn the_thread_that_ticks_rests_and_still_ends_a_guest_that_loops() {
    let upstream = ScriptedUpstream::plain();
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { guest: { module: guest.wasm, limits: { callTime: 10ms } } }
routes:
  - name: r
    rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address())],
    );
    let gateway = TestGateway::start_with(&yaml, &[("guest.wasm", FAULT)]);
    let ask = |fault: &str| {
        let mut client = RawClient::connect(gateway.address("web"));
        client.exchange(format!("GET / HTTP/1.1\r\nhost: a.test\r\nx-fault: {fault}\r\n\r\n")).status
    };
    assert_eq!(ask("-"), 200);
    rests(&gateway, "epoch");
    assert_eq!(ask("l"), 503);
    rests(&gateway, "epoch");
    assert_eq!(ask("-"), 200, "its time goes on");
}
