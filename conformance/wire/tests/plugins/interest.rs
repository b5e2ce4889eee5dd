//! Guests that say which requests they have to do with: the others pass without them.

use tidegate_testkit::{RawClient, ScriptedUpstream, TestGateway};

/// A module that says this while it is configured and writes `x-mark` into requests that it is shown.
fn guest(interest: &str) -> Vec<u8> {
    let (text, length) = (interest.replace('\n', "\\0a"), interest.len());
    format!(
        r#"(module
  (import "env" "proxy_call_foreign_function" (func $foreign (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_replace_header_map_value" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 16) "tidegate_interest")
  (data (i32.const 64) "x-mark")
  (data (i32.const 128) "{text}")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 4096))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $foreign (i32.const 16) (i32.const 17) (i32.const 128) (i32.const {length}) (i32.const 8) (i32.const 12)))
    (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (call $set (i32.const 0) (i32.const 64) (i32.const 6) (i32.const 64) (i32.const 6))))"#
    )
    .into_bytes()
}

struct Lab {
    gateway: TestGateway,
    upstream: ScriptedUpstream,
}

impl Lab {
    /// A gateway in whose rule the guest stands behind a step that writes `x-early`.
    fn new(interest: &str, plugin: &str) -> Self {
        let upstream = ScriptedUpstream::plain();
        let yaml = format!(
            "
listeners:
  - {{ name: web, address: '127.0.0.1:0', protocol: http }}
plugins:
  guest: {{ module: guest.wasm{plugin} }}
routes:
  - name: all
    rules:
      - name: all
        filters: [{{ requestHeaders: {{ set: {{ x-early: '1' }} }} }}, {{ plugin: guest }}]
        forward: [{{ upstream: up }}]
upstreams:
  up: {{ servers: ['{}'] }}
",
            upstream.address()
        );
        let gateway = TestGateway::start_with(&yaml, &[("guest.wasm", &guest(interest))]);
        Lab { gateway, upstream }
    }

    /// Whether the guest was shown such a request.
    fn shows(&self, line: &str, fields: &str) -> bool {
        let mut client = RawClient::connect(self.gateway.address("web"));
        let answer = client.exchange(format!("{line} HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n"));
        assert_eq!(answer.status, 200, "{line}");
        let requests = self.upstream.requests();
        requests.last().expect("it came").header("x-mark").is_some()
    }
}

#[test]
fn requests_that_fit_no_condition_pass_without_the_guest() {
    for plugin in ["", ", isolation: request", ", isolation: connection"] {
        let lab = Lab::new("header x-debug\nmethod DELETE\npath /a\nprefix /b/", plugin);
        assert!(lab.shows("GET /", "X-Debug: 1\r\n"));
        assert!(lab.shows("DELETE /", ""));
        assert!(lab.shows("GET /a?x=1", ""));
        assert!(lab.shows("GET /b/c", ""));
        for line in ["GET /", "GET /ab", "GET /b", "GET /?/a"] {
            assert!(!lab.shows(line, "x-debugs: 1\r\n"), "{line}{plugin}");
        }
        assert_eq!(lab.gateway.metric("tidegate_plugin_requests_total", "guest"), 4.0);
        assert_eq!(lab.gateway.metric("tidegate_plugin_passed_over_total", "guest"), 4.0);
    }
}

#[test]
fn the_head_counts_as_the_guest_would_see_it() {
    assert!(Lab::new("header x-early", "").shows("GET /", ""), "what a step before it has written");
    assert!(Lab::new("header x-request-id", "").shows("GET /", ""), "what the gateway adds");
    assert!(Lab::new("path /a/b", "").shows("GET /./a//../a/%62", ""), "the path as it is passed on");
}

#[test]
fn no_condition_is_about_no_request() {
    let lab = Lab::new("", "");
    assert!(!lab.shows("GET /", "") && !lab.shows("POST /a", "content-length: 0\r\n"));
}

#[test]
fn what_cannot_be_a_condition_changes_nothing() {
    for (interest, plugin) in [
        ("header host", ""),
        ("prefix a", ""),
        ("method GET\nwhat", ""),
        ("header x-secret", ", capabilities: { requestHeaders: { read: [x-other] } }"),
        ("method PUT", ", capabilities: { functions: [proxy_replace_header_map_value] }"),
    ] {
        assert!(Lab::new(interest, plugin).shows("GET /", ""), "{interest}{plugin}");
    }
}
