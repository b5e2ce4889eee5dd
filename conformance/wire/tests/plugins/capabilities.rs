//! What a plugin may not do does not happen, is counted, and hurts nobody.

use tidegate_testkit::{RawClient, ScriptedUpstream, TestGateway, fill};

const FAULT: &[u8] = include_bytes!("../guests/fault.wat");

/// A gateway whose plugin adds `x-filter: one` to requests and responses, as far as it may.
fn gateway(upstream: &ScriptedUpstream, capabilities: &str) -> TestGateway {
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { guest: { module: guest.wasm, capabilities: ${capabilities} } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address()), ("capabilities", &capabilities)],
    );
    TestGateway::start_with(&yaml, &[("guest.wasm", FAULT)])
}

fn ask(gateway: &TestGateway) -> tidegate_testkit::Response {
    RawClient::connect(gateway.address("web")).exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n")
}

#[test]
fn what_is_listed_is_done() {
    let upstream = ScriptedUpstream::plain();
    let gateway =
        gateway(&upstream, "{ requestHeaders: { write: [x-filter] }, responseHeaders: { write: ['x-*'] } }");
    assert_eq!(ask(&gateway).header("x-filter"), Some("one"));
    assert_eq!(upstream.requests()[0].header("x-filter"), Some("one"));
    assert_eq!(gateway.metric("tidegate_plugin_refused_total", "guest"), 0.0);
}

#[test]
fn what_is_not_listed_is_refused_and_counted() {
    for capabilities in [
        "{ requestHeaders: { write: [] }, responseHeaders: { write: [x-other] } }",
        "{ functions: ['proxy_get_*', proxy_log] }",
    ] {
        let upstream = ScriptedUpstream::plain();
        let gateway = gateway(&upstream, capabilities);
        let answer = ask(&gateway);
        assert_eq!((answer.status, answer.header("x-filter")), (200, None), "{capabilities}");
        assert_eq!(upstream.requests()[0].header("x-filter"), None, "{capabilities}");
        assert_eq!(gateway.metric("tidegate_plugin_refused_total", "guest"), 2.0, "{capabilities}");
    }
}
