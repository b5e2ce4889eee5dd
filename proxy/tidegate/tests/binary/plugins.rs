//! What a running gateway says about its plugins: their log lines, and which one a request failed by.

use serde_json::Value;

use crate::process::{Folder, Gateway, request_with};

/// Logs "seen" for each request, "gone" when it is over, and breaks off where the path is `/trap`.
const SAYS: &str = r#"(module
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
    (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "seen")
    (data (i32.const 32) "gone")
    (data (i32.const 48) ":path")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) i32.const 4096)
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $log (i32.const 2) (i32.const 16) (i32.const 4)))
        (drop (call $get (i32.const 0) (i32.const 48) (i32.const 5) (i32.const 128) (i32.const 132)))
        (if (i32.eq (i32.load (i32.const 132)) (i32.const 5)) (then (unreachable)))
        (i32.const 0))
    (func (export "proxy_on_log") (param i32) (drop (call $log (i32.const 2) (i32.const 32) (i32.const 4)))))"#;

const CONFIGURATION: &str = "\
admin: { address: 127.0.0.1:0 }
workers: 1
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
plugins:
  says: { module: says.wasm }
  lost: { module: lost.wasm }
routes:
  - name: all
    rules:
      - { filters: [{ plugin: says }], respond: { body: passed } }
      - { matches: [{ path: { prefix: /lost } }], filters: [{ plugin: lost }], respond: { body: passed } }
accessLog: { path: access.log }
";

fn start(name: &str) -> (Folder, Gateway) {
    let folder = Folder::new(name);
    folder.write("says.wasm", wat::parse_str(SAYS).expect("a module"));
    folder.write("a.yaml", CONFIGURATION);
    let gateway = Gateway::start(&folder, "a.yaml");
    (folder, gateway)
}

#[test]
fn log_lines_of_guests_say_whose_they_are() {
    let (_folder, mut gateway) = start("plugins-lines");
    assert_eq!(gateway.get("/").0, 200);
    let lines = [gateway.wait("seen"), gateway.wait("gone")];
    for line in &lines {
        assert_eq!((&line["plugin"], &line["worker"]), (&Value::from("says"), &Value::from(0)), "{line}");
    }
    let ids: Vec<_> = lines.iter().filter_map(|line| line["request_id"].as_str()).collect();
    assert!(matches!(ids[..], [first, last] if first == last && !first.is_empty()), "{lines:?}");
}

#[test]
fn the_access_log_names_the_plugin_that_a_request_failed_by() {
    let (folder, mut gateway) = start("plugins-blamed");
    assert_eq!(gateway.get("/lost"), (503, "plugin lost is not loaded\n".to_owned()));
    assert_eq!(gateway.get("/trap").0, 503);
    // Down for its back-off, it is the one as well.
    assert_eq!(gateway.get("/other").0, 503);
    gateway.signal("TERM");
    gateway.ended();
    let log = std::fs::read_to_string(folder.path("access.log")).expect("it was opened");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("it is JSON")).collect();
    let said: Vec<_> = lines.iter().map(|line| (line["reason"].as_str(), line["plugin"].as_str())).collect();
    let expected = [("plugin_missing", "lost"), ("plugin_trap", "says"), ("plugin_trap", "says")];
    assert_eq!(said, expected.map(|(reason, plugin)| (Some(reason), Some(plugin))));
}

/// Answers each request with the value of "colour", or 404.
const SHOWS: &str = r#"(module
    (import "env" "proxy_get_shared_data" (func $get (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_send_local_response"
        (func $send (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "colour")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) i32.const 4096)
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $send
            (if (result i32) (call $get (i32.const 16) (i32.const 6) (i32.const 128) (i32.const 132) (i32.const 136))
                (then (i32.const 404)) (else (i32.const 200)))
            (i32.const 0) (i32.const 0) (i32.load (i32.const 128)) (i32.load (i32.const 132)) (i32.const 0) (i32.const 0)
            (i32.const -1)))
        (i32.const 1)))"#;

#[test]
fn an_operator_flips_a_flag_that_plugins_share() {
    let folder = Folder::new("plugins-shared");
    folder.write("shows.wasm", wat::parse_str(SHOWS).expect("a module"));
    let yaml = "\
admin: { address: 127.0.0.1:0, sharedData: [flags] }
workers: 2
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
plugins:
  one: { module: shows.wasm, vmId: flags }
  two: { module: shows.wasm, vmId: flags }
  alone: { module: shows.wasm }
routes:
  - name: all
    rules:
      - { filters: [{ plugin: one }], respond: {} }
      - { matches: [{ path: { prefix: /two } }], filters: [{ plugin: two }], respond: {} }
      - { matches: [{ path: { prefix: /alone } }], filters: [{ plugin: alone }], respond: {} }
";
    folder.write("a.yaml", yaml);
    let gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.get("/").0, 404);
    assert_eq!(gateway.admin("/shared-data/flags/colour").0, 404);
    let put = |path: &str, value: &str| request_with(gateway.admin, "PUT", path, value).0;
    for colour in ["blue", "green"] {
        assert_eq!(put("/shared-data/flags/colour", colour), 204);
        // Connections go to either worker.
        for _ in 0..8 {
            assert_eq!(gateway.get("/"), (200, colour.to_owned()));
            assert_eq!(gateway.get("/two"), (200, colour.to_owned()));
        }
        assert_eq!(gateway.admin("/shared-data/flags/colour"), (200, colour.to_owned()));
    }
    assert_eq!(gateway.get("/alone").0, 404);
    assert_eq!(put("/shared-data/alone/colour", "red"), 403);
    assert_eq!(put("/shared-data/flags/a%20b", "red"), 404);
    assert_eq!(put("/shared-data/flags/colour", &"x".repeat(65_537)), 413);
    assert_eq!(request_with(gateway.admin, "DELETE", "/shared-data/flags/colour", "").0, 405);
    assert_eq!(put("/metrics", "x"), 405);
    assert!(gateway.admin("/metrics").1.contains("tidegate_admin_shared_data_sets_total 2"));
}
