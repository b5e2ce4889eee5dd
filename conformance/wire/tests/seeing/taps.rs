//! Taps: what is shown of live requests, which ones, what is taken out, and that nobody waits for who looks.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testkit::{
    Answer, Frame, Frames, LogFile, RawClient, ScriptedUpstream, Step, TapDropped, TapFilter, TapLimits,
    TestGateway, fill,
};

/// By the first letter of `x-do`: r refuses, w writes to the body, f breaks off; else it changes fields. Texts: 1000 `x-do`, 1010 `x-user`,
/// 1020 `ann`, 1030 `x-drop`, 1040 `cookie`, 1050 `not you`, 1060 `no`, 1070 `x-seen`.
const GUEST: &[u8] = br#"(module
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $put (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $answer (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 1000) "x-do")
  (data (i32.const 1010) "x-user")
  (data (i32.const 1020) "ann")
  (data (i32.const 1030) "x-drop")
  (data (i32.const 1040) "cookie")
  (data (i32.const 1050) "not you")
  (data (i32.const 1060) "no")
  (data (i32.const 1070) "x-seen")
  (global $does (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 30000))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (i32.store (i32.const 30000) (i32.const 0))
    (drop (call $get (i32.const 0) (i32.const 1000) (i32.const 4) (i32.const 64) (i32.const 68)))
    (global.set $does (i32.load8_u (i32.const 30000)))
    (if (i32.eq (global.get $does) (i32.const 102)) (then (unreachable)))
    (if (i32.eq (global.get $does) (i32.const 114)) (then
      (drop (call $answer (i32.const 403) (i32.const 1050) (i32.const 7) (i32.const 1060) (i32.const 2)
        (i32.const 0) (i32.const 0) (i32.const -1)))
      (return (i32.const 1))))
    (drop (call $put (i32.const 0) (i32.const 1010) (i32.const 6) (i32.const 1020) (i32.const 3)))
    (drop (call $put (i32.const 0) (i32.const 1040) (i32.const 6) (i32.const 1020) (i32.const 3)))
    (drop (call $remove (i32.const 0) (i32.const 1030) (i32.const 6)))
    (i32.const 0))
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32)
    (if (i32.ne (global.get $does) (i32.const 119)) (then (return (i32.const 0))))
    (if (i32.eqz (local.get 2)) (then (return (i32.const 1))))
    (drop (call $set (i32.const 0) (i32.const 0) (i32.const 99) (i32.const 1020) (i32.const 3)))
    (i32.const 0))
  (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
    (drop (call $put (i32.const 2) (i32.const 1070) (i32.const 6) (i32.const 1020) (i32.const 3)))
    (i32.const 0)))"#;

const YAML: &str = "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { guest: { module: guest.wat } }
routes:
  - name: shop
    rules:
      - { name: filtered, matches: [{ path: { prefix: /filtered } }], filters: [{ plugin: guest }, { requestHeaders: { set: { x-step: '1' } } }], forward: [{ upstream: up }] }
      - { name: special, matches: [{ path: { prefix: /plain }, headers: { x-special: 'yes' } }], respond: { status: 204 } }
      - { name: lost, matches: [{ path: { prefix: /lost } }], forward: [{ upstream: lost }] }
      - { name: plain, matches: [{ path: { prefix: / } }], forward: [{ upstream: up }] }
  - { name: other, hostnames: [other.test], rules: [{ name: all, respond: { status: 404 } }] }
upstreams:
  up: { servers: ['${up}'], ejection: false }
  lost: { servers: ['127.0.0.1:1'] }
${more}
";

fn start_with(upstream: &ScriptedUpstream, more: &str) -> TestGateway {
    let yaml = fill(YAML, &[("up", &upstream.address()), ("more", &more)]);
    TestGateway::start_with(&yaml, &[("guest.wat", GUEST)])
}

fn start() -> (ScriptedUpstream, TestGateway) {
    let up = ScriptedUpstream::plain();
    let gateway = start_with(&up, "");
    (up, gateway)
}

fn get(gateway: &TestGateway, path: &str, fields: &str) -> u16 {
    let mut client = RawClient::connect(gateway.address("web"));
    client.exchange(format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n{fields}\r\n")).status
}

fn all() -> TapFilter {
    TapFilter::default()
}

fn own(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// What changed of a field.
fn change<'a>(changes: &'a Value, name: &str) -> Option<(&'a Value, &'a Value)> {
    let found = changes.as_array()?.iter().find(|change| change["name"] == name)?;
    Some((&found["before"], &found["after"]))
}

fn value<'a>(fields: &'a Value, name: &str) -> Option<&'a str> {
    fields.as_array()?.iter().find(|field| field[0] == name)?[1].as_str()
}

#[test]
fn a_request_is_shown_with_the_path_that_it_took() {
    let (up, gateway) = start();
    let mut tap = gateway.tap(all());
    let mut client = RawClient::connect(gateway.address("web"));
    let request = "POST /plain/./a?b=c HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 3\r\n\r\nabc";
    assert_eq!(client.exchange(request).status, 200);
    let seen = tap.shown();
    for (key, expected) in [
        ("listener", json!("web")),
        ("method", json!("POST")),
        ("host", json!("shop.test")),
        ("path", json!("/plain/a?b=c")),
        ("target", json!("/plain/./a?b=c")),
        ("protocol", json!("HTTP/1.1")),
        ("tls", json!(false)),
        ("status", json!(200)),
        ("route", json!("shop")),
        ("rule", json!("plain")),
        ("generation", json!(1)),
        ("bytesReceived", json!(3)),
        ("filters", json!([])),
    ] {
        assert_eq!(seen[key], expected, "{key}: {seen}");
    }
    assert!(seen["client"].as_str().is_some_and(|client| client.starts_with("127.0.0.1:")), "{seen}");
    assert!(seen["durationUs"].as_u64() >= seen["headUs"].as_u64() && seen["headUs"].is_u64(), "{seen}");
    assert!(seen["requestId"].is_string() && seen.get("requestBody").is_none(), "{seen}");
    // Why the others lost, the closest first.
    let others = seen["others"].as_array().expect("a list");
    let names: Vec<_> = others.iter().map(|other| other["name"].as_str().unwrap_or_default()).collect();
    assert_eq!((names[0], names.len()), ("shop/special", 4), "{seen}");
    assert!(others[0]["why"].as_str().is_some_and(|why| why.contains("x-special")), "{seen}");
    let attempt = &seen["attempts"][0];
    assert_eq!(
        (&attempt["upstream"], &attempt["server"], &attempt["status"], &attempt["connection"]),
        (&json!("up"), &json!(up.address().to_string()), &json!(200), &json!("opened"))
    );
    assert!(attempt["tookUs"].is_u64() && attempt["picked"].is_string(), "{seen}");
    assert_eq!(change(&seen["sent"], ":path"), Some((&json!("/plain/./a?b=c"), &json!("/plain/a?b=c"))));
    assert!(change(&seen["sent"], "x-forwarded-for").is_some_and(|(before, _)| before.is_null()), "{seen}");
}

#[test]
fn requests_of_http2_and_refused_ones_are_shown() {
    let (_up, gateway) = start();
    let mut tap = gateway.tap(all());
    let mut frames = Frames::connect(gateway.address("web"), &[]);
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/plain"),
        (":authority", "shop.test"),
        ("cookie", "a=1"),
    ];
    frames.send(&Frame::headers(1, &fields, true));
    assert!(matches!(frames.fate(1), tidegate_testkit::Fate::Answered(200, _)));
    let seen = tap.shown();
    assert_eq!(
        (&seen["protocol"], &seen["status"], &seen["host"]),
        (&json!("HTTP/2.0"), &json!(200), &json!("shop.test"))
    );
    assert_eq!(value(&seen["requestHeaders"], "cookie"), Some("***"));
    // Refused before there was a route.
    assert_eq!(get(&gateway, "/a%00b", ""), 400);
    let seen = tap.shown();
    assert_eq!(
        (&seen["status"], &seen["reason"], &seen["others"]),
        (&json!(400), &json!("path"), &json!([])),
        "{seen}"
    );
    assert!(seen.get("route").is_none() && seen["attempts"] == json!([]), "{seen}");
    // No route.
    let mut client = RawClient::connect(gateway.address("web"));
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: other.test\r\n\r\n").status, 404);
    assert_eq!(tap.shown()["route"], "other");
}

#[test]
fn filters_are_shown_with_what_they_decided_and_changed() {
    let (_up, gateway) = start();
    let mut tap = gateway.tap(all());
    assert_eq!(
        get(&gateway, "/filtered", "x-drop: 1\r\ncookie: secret\r\nauthorization: Bearer secret\r\n"),
        200
    );
    let seen = tap.shown();
    assert!(!seen.to_string().contains("secret"), "{seen}");
    let filter = &seen["filters"][0];
    assert_eq!(
        (&filter["kind"], &filter["plugin"], &filter["at"], &filter["decision"]),
        (&json!("plugin"), &json!("guest"), &json!("shop/filtered"), &json!("continued")),
        "{seen}"
    );
    assert_eq!(change(&filter["request"], "x-user"), Some((&Value::Null, &json!("ann"))), "{seen}");
    assert_eq!(change(&filter["request"], "x-drop"), Some((&json!("1"), &Value::Null)));
    assert_eq!(change(&filter["request"], "cookie"), Some((&json!("***"), &json!("***"))));
    assert_eq!(change(&filter["response"], "x-seen"), Some((&Value::Null, &json!("ann"))));
    assert_eq!(filter["request"].as_array().map(Vec::len), Some(3), "{seen}");
    assert_eq!(filter["callbacks"], 2);
    assert!(filter["guestUs"].is_u64() && filter["hostUs"].is_u64(), "{seen}");
    let step = &seen["filters"][1];
    assert_eq!(
        (&step["kind"], change(&step["request"], "x-step")),
        (&json!("requestHeaders"), Some((&Value::Null, &json!("1"))))
    );
    assert_eq!(value(&seen["requestHeaders"], "authorization"), Some("***"));
    assert_eq!(value(&seen["responseHeaders"], "x-seen"), Some("ann"));

    // It refuses.
    assert_eq!(get(&gateway, "/filtered", "x-do: refuse\r\n"), 403);
    let seen = tap.shown();
    let filter = &seen["filters"][0];
    assert_eq!((&filter["decision"], &filter["status"]), (&json!("answered"), &json!(403)), "{seen}");
    assert_eq!(
        (&seen["answeredBy"], &seen["details"], &seen["attempts"]),
        (&json!("guest"), &json!("not you"), &json!([]))
    );

    // It holds the body until it has all of it, and writes to it.
    let mut client = RawClient::connect(gateway.address("web"));
    let head = "POST /filtered HTTP/1.1\r\nhost: shop.test\r\nx-do: write\r\ncontent-length: 3\r\n\r\n";
    assert_eq!(client.exchange(format!("{head}abc")).status, 200);
    let seen = tap.shown();
    let body = &seen["filters"][0]["requestBody"];
    assert_eq!(*body, json!({ "before": 3, "after": 3, "changed": true }), "{seen}");

    // It breaks off, and the request with it.
    assert_eq!(get(&gateway, "/filtered", "x-do: fail\r\n"), 503);
    let seen = tap.shown();
    let filter = &seen["filters"][0];
    assert_eq!((&filter["decision"], &seen["failedBy"]), (&json!("failed"), &json!("guest")), "{seen}");
    assert!(filter["error"].as_str().is_some_and(|error| error.contains("unreachable")), "{seen}");
    assert_eq!(seen["reason"], "plugin_trap");
}

#[test]
fn all_attempts_are_shown() {
    let up = ScriptedUpstream::start(|call| {
        Answer::reply(match call.overall {
            0 => "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        })
    });
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }], retries: { attempts: 1, on: [503] } }] }]
upstreams: { up: { servers: ['${up}'], ejection: false } }
",
        &[("up", &up.address())],
    );
    let gateway = TestGateway::start(&yaml);
    let mut tap = gateway.tap(all());
    assert_eq!(get(&gateway, "/", ""), 200);
    let seen = tap.shown();
    let attempts = seen["attempts"].as_array().expect("a list");
    let statuses: Vec<_> = attempts.iter().map(|attempt| attempt["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(503), Some(200)], "{seen}");
    assert!(attempts[0]["beganUs"].as_u64() <= attempts[1]["beganUs"].as_u64(), "{seen}");

    let (_up, gateway) = start();
    let mut tap = gateway.tap(all());
    assert_eq!(get(&gateway, "/lost", ""), 503);
    let seen = tap.shown();
    let attempt = &seen["attempts"][0];
    assert_eq!(
        (&attempt["reason"], &seen["reason"]),
        (&json!("upstream_connect"), &json!("upstream_connect")),
        "{seen}"
    );
    assert!(attempt["error"].is_string() && attempt["server"] == "127.0.0.1:1", "{seen}");
}

#[test]
fn only_what_matches_is_shown() {
    let (_up, gateway) = start();
    let cases: [(TapFilter, &str); 9] = [
        (TapFilter { statuses: vec![(500, 599)], ..all() }, "/lost"),
        (TapFilter { route: own("shop/lost"), ..all() }, "/lost"),
        (TapFilter { upstream: own("lost"), ..all() }, "/lost"),
        (TapFilter { reason: own("any"), ..all() }, "/lost"),
        (TapFilter { path: own("/lost"), ..all() }, "/lost"),
        (TapFilter { plugin: own("guest"), ..all() }, "/filtered"),
        (TapFilter { route: own("shop/filtered"), ..all() }, "/filtered"),
        (TapFilter { statuses: vec![(204, 204)], ..all() }, "/plain"),
        (TapFilter { route: own("other"), ..all() }, "/"),
    ];
    for (filter, path) in cases {
        let mut tap = gateway.tap(filter.clone());
        for path in ["/plain/x", "/lost", "/filtered"] {
            get(&gateway, path, "");
        }
        get(&gateway, "/plain", "x-special: yes\r\n");
        let mut client = RawClient::connect(gateway.address("web"));
        client.send("GET / HTTP/1.1\r\nhost: other.test\r\nconnection: close\r\n\r\n");
        client.rest();
        assert_eq!(tap.shown()["path"], path, "{filter:?}");
        // Nothing else: the next one is of another round.
        get(&gateway, path, if path == "/plain" { "x-special: yes\r\n" } else { "" });
        if path != "/" {
            assert_eq!(tap.shown()["path"], path, "{filter:?}");
        }
        assert_eq!(tap.dropped(), TapDropped::default());
    }
    assert_eq!(gateway.metric("tidegate_tap_open", ""), 0.0);
}

#[test]
fn what_logs_take_out_is_taken_out() {
    let up = ScriptedUpstream::plain();
    let log = LogFile::default();
    let more = "admin: { address: '127.0.0.1:0', tap: { redact: { headers: [X-Key-*] } } }
accessLog: { path: 'LOG', redact: { query: [token], headers: [x-private] } }";
    let gateway = start_with(&up, &more.replace("LOG", &log.path().display().to_string()));
    let mut tap = gateway.tap(all());
    let fields = "x-private: secret\r\nx-key-1: secret\r\ncookie: secret\r\nx-open: open\r\n";
    assert_eq!(get(&gateway, "/filtered/./a?token=secret&a=b", fields), 200);
    let seen = tap.shown();
    // What the answer says of it is the server's doing.
    for part in ["path", "target", "requestHeaders", "sent", "filters"] {
        assert!(!seen[part].to_string().contains("secret"), "{part}: {seen}");
    }
    assert_eq!(
        (&seen["path"], &seen["target"]),
        (&json!("/filtered/a?token=***&a=b"), &json!("/filtered/./a?token=***&a=b"))
    );
    assert_eq!(value(&seen["requestHeaders"], "x-open"), Some("open"));
}

#[test]
fn bodies_are_shown_when_asked_for_and_only_their_begin() {
    let up = ScriptedUpstream::start(|_| {
        Answer::steps([
            Step::ReadBody,
            Step::send(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
            ),
        ])
    });
    let gateway = start_with(&up, "");
    let limits = TapLimits { requests: 10, rate: 10, body: 5 };
    let mut tap = gateway.try_tap(all(), limits).expect("it is the first");
    let mut client = RawClient::connect(gateway.address("web"));
    let request = "POST /plain HTTP/1.1\r\nhost: shop.test\r\ncontent-length: 8\r\n\r\n12345678";
    assert_eq!(client.exchange(request).status, 200);
    let seen = tap.shown();
    assert_eq!((&seen["requestBody"], &seen["responseBody"]), (&json!("12345"), &json!("abcde")), "{seen}");
    assert_eq!((&seen["bytesReceived"], &seen["bytesSent"]), (&json!(8), &json!(7)));
}

#[test]
fn what_is_too_much_is_dropped_and_counted_and_nobody_waits() {
    let (_up, gateway) = start();
    let limits = TapLimits { requests: 1000, rate: 1000, body: 0 };
    // Nobody reads the first one; 128 wait.
    let hangs = gateway.try_tap(all(), limits).expect("it is the first");
    let mut client = RawClient::connect(gateway.address("web"));
    for _ in 0..140 {
        assert_eq!(client.exchange("GET /plain HTTP/1.1\r\nhost: shop.test\r\n\r\n").status, 200);
    }
    let dropped = || hangs.dropped().queue;
    gateway.wait("drops", |_| dropped() == 12);
    assert_eq!(gateway.metric("tidegate_tap_dropped_total", "queue"), 12.0);
    assert_eq!(gateway.metric("tidegate_tap_open", ""), 1.0);
    hangs.close();
    assert_eq!(gateway.metric("tidegate_tap_open", ""), 0.0);
    assert_eq!(client.exchange("GET /plain HTTP/1.1\r\nhost: shop.test\r\n\r\n").status, 200);
    assert_eq!(dropped(), 12, "nothing is counted once it is closed");

    // As many as asked for; then it is closed without its reader.
    let limits = TapLimits { requests: 2, ..limits };
    let mut tap = gateway.try_tap(all(), limits).expect("the other one is closed");
    for _ in 0..4 {
        assert_eq!(client.exchange("GET /plain HTTP/1.1\r\nhost: shop.test\r\n\r\n").status, 200);
    }
    assert_eq!((&tap.shown()["status"], &tap.shown()["status"]), (&json!(200), &json!(200)));
    assert_eq!(gateway.metric("tidegate_tap_open", ""), 0.0);
    assert_eq!(tap.dropped(), TapDropped::default());
}

#[test]
fn a_few_may_look_at_once() {
    let (_up, gateway) = start();
    let taps: Vec<_> = (0..4).map(|_| gateway.tap(all())).collect();
    let limits = TapLimits { requests: 1, rate: 1, body: 0 };
    let refused = gateway.try_tap(all(), limits).expect_err("four are open");
    assert!(refused.to_string().contains("4 taps are open"), "{refused}");
    assert_eq!(get(&gateway, "/plain", ""), 200);
    for mut tap in taps {
        assert_eq!(tap.shown()["path"], "/plain");
    }
    let slow = TapFilter { slower_than: Some(Duration::from_secs(100)), ..all() };
    drop(gateway.tap(slow));
    assert_eq!(gateway.metric("tidegate_tap_open", ""), 0.0);
}
