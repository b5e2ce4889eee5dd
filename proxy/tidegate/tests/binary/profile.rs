//! CPU profiles of a gateway under load: its own functions are in them, and a guest's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::process::{Folder, Gateway, PROGRAM, command_of, request};

/// A guest that is busy for each request, in a function of its own.
const BUSY: &str = r#"(module
    (memory (export "memory") 1)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_memory_allocate") (param i32) (result i32) i32.const 1024)
    (func (export "proxy_on_context_create") (param i32 i32))
    (func $burn_the_cpu (result i32) (local $left i32) (local $sum i32)
        (local.set $left (i32.const 300000))
        (loop $again
            (local.set $sum (i32.add (i32.mul (local.get $sum) (i32.const 31)) (local.get $left)))
            (i32.store (i32.const 16) (local.get $sum))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $again (local.get $left)))
        (local.get $sum))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $burn_the_cpu))
        (i32.const 0))
    (func (export "proxy_on_log") (param i32))
    (func (export "proxy_on_done") (param i32) (result i32) (i32.const 1))
    (func (export "proxy_on_delete") (param i32)))"#;

const CONFIGURATION: &str = "
admin: { address: 127.0.0.1:0, operate: true }
workers: 1
listeners: [{ name: web, address: 127.0.0.1:0 }]
plugins: { busy: { module: busy.wasm } }
routes:
  - name: all
    rules: [{ filters: [{ plugin: busy }], respond: { status: 200, body: hello } }]
";

#[test]
fn a_profile_under_load_has_the_gateways_functions_and_the_guests() {
    let folder = Folder::new("profile");
    folder.write("busy.wasm", wat::parse_str(BUSY).expect("a module"));
    folder.write("a.yaml", CONFIGURATION);
    let gateway = Gateway::start(&folder, "a.yaml");
    let (address, over) = (gateway.web, Arc::new(AtomicBool::new(false)));
    let ends = Arc::clone(&over);
    let load = std::thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            assert_eq!(request(address, "GET", "/"), (200, "hello".to_owned()));
        }
    });
    let admin = gateway.admin;
    let first =
        std::thread::spawn(move || request(admin, "GET", "/profile?seconds=3&frequency=250&format=folded"));
    // One at a time: whichever of both came second is told so.
    let second = request(admin, "GET", "/profile?seconds=3&frequency=250&format=folded");
    let first = first.join().expect("it is answered");
    let (taken, refused) = if first.0 == 200 { (first, second) } else { (second, first) };
    assert_eq!((taken.0, refused.0), (200, 409), "{}{}", taken.1, refused.1);
    // The guest, and below it who called it; a sample may be cut off.
    let parts = [
        "guest (all): callbacks at once;guest busy: ",
        "guest busy: burn_the_cpu",
        "tidegate_wasm::",
        "tidegate_proxy::",
    ];
    let guest = taken.1.lines().find(|line| parts.iter().all(|part| line.contains(part)));
    assert!(guest.is_some(), "no guest in\n{}", taken.1);
    let drawn = request(admin, "GET", "/profile?seconds=2&frequency=500");
    assert_eq!(drawn.0, 200, "{}", drawn.1);
    assert!(drawn.1.starts_with("<svg ") && drawn.1.contains("guest busy: burn_the_cpu"), "{}", drawn.1);
    over.store(true, Ordering::Relaxed);
    load.join().expect("all were answered");
}

/// An upgrade puts another program where this one was read from.
#[test]
fn a_profile_of_a_replaced_program_says_so_and_has_the_guests_functions() {
    let folder = Folder::new("profile-replaced");
    folder.write("busy.wasm", wat::parse_str(BUSY).expect("a module"));
    folder.write("a.yaml", CONFIGURATION);
    let program = folder.path("tidegate");
    if std::fs::hard_link(PROGRAM, &program).is_err() {
        std::fs::copy(PROGRAM, &program).expect("it can be copied");
    }
    let gateway = Gateway::start_by(command_of(&program, &folder.path("")), "a.yaml");
    folder.write("tidegate", "another one");
    let (address, over) = (gateway.web, Arc::new(AtomicBool::new(false)));
    let ends = Arc::clone(&over);
    let load = std::thread::spawn(move || {
        while !ends.load(Ordering::Relaxed) {
            assert_eq!(request(address, "GET", "/").0, 200);
        }
    });
    let (status, folded) = gateway.admin("/profile?seconds=2&frequency=250&format=folded");
    over.store(true, Ordering::Relaxed);
    load.join().expect("all were answered");
    assert_eq!(status, 200, "{folded}");
    let unknown = "unknown: the program's file was replaced after the start";
    assert!(folded.contains(unknown) && folded.contains("guest busy: burn_the_cpu"), "{folded}");
    assert!(!folded.contains(&format!("{unknown};{unknown}")), "{folded}");
}

#[test]
fn a_profile_is_for_those_who_may_operate_and_bounded() {
    let folder = Folder::new("profile-refused");
    let plain = "listeners: [{ name: web, address: 127.0.0.1:0 }]\nroutes: [{ name: all, rules: [{ respond: { status: 200 } }] }]\n";
    folder.write("shows.yaml", format!("admin: {{ address: 127.0.0.1:0 }}\n{plain}"));
    let gateway = Gateway::start(&folder, "shows.yaml");
    assert_eq!(gateway.admin("/profile?seconds=1").0, 403);
    folder.write("operates.yaml", format!("admin: {{ address: 127.0.0.1:0, operate: true }}\n{plain}"));
    let gateway = Gateway::start(&folder, "operates.yaml");
    for query in ["seconds=0", "seconds=61", "frequency=1001", "format=pdf", "second=1"] {
        let (status, why) = gateway.admin(&format!("/profile?{query}"));
        assert_eq!(status, 400, "{query}: {why}");
    }
}
