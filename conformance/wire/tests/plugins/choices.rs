//! Tidegate's own foreign functions in a gateway: filters that choose upstreams and routes, wait, and break off.

use std::fmt::{Display, Write as _};
use std::time::Instant;

use tidegate_testkit::{
    Answer, Fate, Frame, Frames, LogFile, RawClient, ScriptedUpstream, TestGateway, fill,
};

/// A module that, in a request's head, calls foreign functions with these arguments, one after the other. A sleep that it
/// has asked for lets the request go on when it is over.
fn guest(calls: &[(&str, &[u8])], action: u32) -> Vec<u8> {
    let (mut data, mut code, mut at) = (String::new(), String::new(), 1024);
    for (name, argument) in calls {
        let hex: String = argument.iter().map(|byte| format!("\\{byte:02x}")).collect();
        let (argument_at, names, arguments) = (at + 64, name.len(), argument.len());
        let _ = write!(data, "(data (i32.const {at}) \"{name}\") (data (i32.const {argument_at}) \"{hex}\")");
        let _ = write!(
            code,
            "(if (call $foreign (i32.const {at}) (i32.const {names}) (i32.const {argument_at}) (i32.const {arguments})
                (i32.const 8) (i32.const 12)) (then unreachable))"
        );
        at += 256;
    }
    format!(
        r#"(module
  (import "env" "proxy_call_foreign_function" (func $foreign (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (memory (export "memory") 1)
  (global $stream (mut i32) (i32.const 0))
  {data}
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "tidegate_exact_actions"))
  (func (export "malloc") (param i32) (result i32) (i32.const 30000))
  (func (export "proxy_on_request_headers") (param $id i32) (param i32 i32) (result i32)
    (global.set $stream (local.get $id)) {code} (i32.const {action}))
  (func (export "proxy_on_foreign_function") (param i32 i32 i32)
    (drop (call $effective (global.get $stream)))
    (drop (call $continue (i32.const 0)))))"#
    )
    .into_bytes()
}

struct Lab {
    gateway: TestGateway,
    stable: ScriptedUpstream,
    canary: ScriptedUpstream,
    log: LogFile,
}

/// A gateway with two upstreams and rules that no request finds by itself.
fn lab(plugin: &str, guest: &[u8]) -> Lab {
    let named = |name: &'static str| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-upstream: {name}\r\n\r\n");
        ScriptedUpstream::start(move |_| Answer::reply(head.clone()))
    };
    let (stable, canary) = (named("stable"), named("canary"));
    let log = LogFile::default();
    let values: [(&str, &dyn Display); 4] = [
        ("plugin", &plugin),
        ("stable", &stable.address()),
        ("canary", &canary.address()),
        ("log", &log.path().display()),
    ];
    let yaml = fill(
        "
listeners:
  - { name: web, address: '127.0.0.1:0', protocol: http }
  - { name: other, address: '127.0.0.1:0', protocol: http }
plugins:
  chooser: { module: guest.wasm${plugin} }
  marker: { module: mark.wasm }
routes:
  - name: shop
    listeners: [web]
    rules:
      - name: all
        filters: [{ plugin: chooser }]
        forward: [{ upstream: stable }]
  - name: hidden
    listeners: [web]
    rules:
      - name: first
        matches: [{ path: { exact: /never } }]
        filters: [{ responseHeaders: { set: { x-rule: first } } }]
        respond: { status: 203 }
      - name: second
        matches: [{ path: { prefix: /api }, headers: { x-never: sent } }]
        filters:
          - plugin: marker
          - responseHeaders: { set: { x-rule: second } }
          - rewrite: { path: { prefix: /v2 } }
        forward: [{ upstream: stable }]
  - { name: away, listeners: [other], rules: [{ name: far, respond: { status: 204 } }] }
upstreams:
  stable: { servers: ['${stable}'] }
  canary: { servers: ['${canary}'] }
accessLog: { path: '${log}' }
",
        &values,
    );
    let files: [(&str, &[u8]); 2] = [("guest.wasm", guest), ("mark.wasm", MARK.as_bytes())];
    Lab { gateway: TestGateway::start_with(&yaml, &files), stable, canary, log }
}

/// Writes a field of the request.
const MARK: &str = r#"(module
  (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "x-mark")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 4096))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $set (i32.const 0) (i32.const 16) (i32.const 6) (i32.const 16) (i32.const 6))))"#;

/// The one line of the access log.
fn log(lab: &Lab) -> String {
    lab.log.lines(1).swap_remove(0)
}

const GET: &str = "GET /api/x HTTP/1.1\r\nhost: a.test\r\n\r\n";

#[test]
fn a_filter_sends_a_request_to_another_upstream() {
    let lab = lab("", &guest(&[("tidegate_set_upstream", b"canary")], 0));
    let answer = RawClient::connect(lab.gateway.address("web")).exchange(GET);
    assert_eq!((answer.status, answer.header("x-upstream")), (200, Some("canary")));
    assert_eq!((lab.stable.requests().len(), lab.canary.requests().len()), (0, 1));
    let log = log(&lab);
    assert!(log.contains(r#""upstream":"canary""#) && log.contains(r#""upstream_by":"chooser""#), "{log}");
}

#[test]
fn names_that_are_not_there_are_no_choice() {
    for (name, argument) in [
        ("tidegate_set_upstream", &b"blue"[..]),
        ("tidegate_set_route", b"away"),
        ("tidegate_set_route", b"far"),
    ] {
        // The guest breaks off at a status that is not 0.
        let lab = lab("", &guest(&[(name, argument)], 0));
        assert_eq!(RawClient::connect(lab.gateway.address("web")).exchange(GET).status, 503, "{name}");
    }
}

#[test]
fn a_plugin_chooses_only_what_it_may() {
    let may = ", capabilities: { forwardTo: [canary], routeTo: [hidden/second] }";
    for (name, argument, status) in [
        ("tidegate_set_upstream", &b"canary"[..], 200),
        ("tidegate_set_upstream", b"stable", 503),
        ("tidegate_set_route", b"hidden/second", 200),
        ("tidegate_set_route", b"hidden", 503),
    ] {
        let lab = lab(may, &guest(&[(name, argument)], 0));
        assert_eq!(RawClient::connect(lab.gateway.address("web")).exchange(GET).status, status, "{name}");
    }
}

#[test]
fn a_filter_gives_a_request_another_rule() {
    let lab = lab("", &guest(&[("tidegate_set_route", b"hidden")], 0));
    let answer = RawClient::connect(lab.gateway.address("web")).exchange(GET);
    assert_eq!((answer.status, answer.header("x-rule")), (203, Some("first")));
    let log = log(&lab);
    assert!(log.contains(r#""route":"hidden","rule":"first""#), "{log}");
    assert!(log.contains(r#""route_by":"chooser""#) && !log.contains("upstream_by"), "{log}");
}

#[test]
fn a_chosen_rule_has_its_filters_and_stays_though_they_write() {
    let lab =
        lab("", &guest(&[("tidegate_set_route", b"hidden/second"), ("tidegate_set_upstream", b"canary")], 0));
    let answer = RawClient::connect(lab.gateway.address("web")).exchange(GET);
    assert_eq!((answer.status, answer.header("x-rule")), (200, Some("second")));
    let asked = lab.canary.requests();
    assert_eq!(asked.first().map(|asked| asked.target().to_owned()), Some("/v2/x".to_owned()));
}

#[test]
fn a_filter_waits_by_a_timer_of_its_own() {
    for isolation in ["", ", isolation: request", ", isolation: connection"] {
        let lab = lab(isolation, &guest(&[("tidegate_sleep", &30_u32.to_le_bytes())], 3));
        let mut client = RawClient::connect(lab.gateway.address("web"));
        let began = Instant::now();
        assert_eq!(client.exchange(GET).status, 200, "{isolation}");
        assert!(began.elapsed().as_millis() >= 30, "{isolation}");
    }
}

#[test]
fn a_client_that_leaves_takes_its_timer_along() {
    let lab = lab("", &guest(&[("tidegate_sleep", &3_600_000_u32.to_le_bytes())], 3));
    let mut client = RawClient::connect(lab.gateway.address("web"));
    client.send(GET);
    drop(client);
    let log = log(&lab);
    assert!(log.contains(r#""reason":"client_gone""#), "{log}");
}

#[test]
fn open_timers_are_limited() {
    let limits = ", limits: { openCalls: 0 }";
    let lab = lab(limits, &guest(&[("tidegate_sleep", &1_u32.to_le_bytes())], 3));
    assert_eq!(RawClient::connect(lab.gateway.address("web")).exchange(GET).status, 503);
}

#[test]
fn a_filter_breaks_a_request_off_and_says_why() {
    let lab = lab("", &guest(&[("tidegate_reset", b"injected")], 0));
    let mut client = RawClient::connect(lab.gateway.address("web"));
    client.send(GET);
    assert!(client.response("GET").is_err(), "there is no answer");
    let log = log(&lab);
    assert!(log.contains(r#""details":"injected""#) && log.contains(r#""reason":"plugin_reset""#), "{log}");
    assert!(log.contains(r#""plugin":"chooser""#), "{log}");
}

#[test]
fn over_http2_a_filter_breaks_off_its_stream_and_no_other() {
    let lab = lab("", &guest(&[("tidegate_reset", b"injected")], 0));
    let mut frames = Frames::connect(lab.gateway.address("web"), &[]);
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test")];
    let to = |path: &'static str| [&fields[..], &[(":path", path)]].concat();
    frames.send_all(&[
        Frame::headers(1, &to("/api/x"), true),
        Frame::headers(3, &to("/never"), true),
        Frame::headers(5, &to("/api/y"), true),
    ]);
    // RFC 9113 section 7: INTERNAL_ERROR says that the sender met a fault, and that the request may have been acted on.
    assert_eq!(frames.fate(1), Fate::Reset(2, Vec::new()));
    assert_eq!(frames.fate(3), Fate::Answered(203, Vec::new()));
    assert_eq!(frames.fate(5), Fate::Reset(2, Vec::new()), "the connection goes on");
    let lines = lab.log.lines(3);
    let broken = lines.iter().filter(|line| line.contains(r#""reason":"plugin_reset""#));
    assert!(broken.clone().all(|line| line.contains(r#""details":"injected""#)), "{lines:?}");
    assert_eq!(broken.count(), 2, "{lines:?}");
}
