//! Requests that a filter ends while their body is on its way: the server is not left out for what it has not done.

use tidegate_testkit::{
    Answer, Fate, Frame, Frames, Http2Options, Http2Upstream, RawClient, ScriptedUpstream, Step, TestGateway,
    fill,
};

/// Its callback for the body of that side does what is asked for; 1000 is a text of three bytes, 1003 one of ten.
fn guest(side: &str, body: &str) -> Vec<u8> {
    format!(
        r#"(module
  (import "env" "proxy_set_buffer_bytes" (func $write (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response"
    (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 1000) "no!0123456789")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 30000))
  (func (export "proxy_on_{side}_headers") (param i32 i32 i32) (result i32) (i32.const 0))
  (func (export "proxy_on_{side}_body") (param i32 i32 i32) (result i32) {body}))"#
    )
    .into_bytes()
}

fn gateway(server: &str, more: &str, module: &[u8]) -> TestGateway {
    let yaml = fill(
        "
workers: 1
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { guest: { module: guest.wasm } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${server}', '${server}'], ejection: { failures: 1 }, ${more} } }
",
        &[("server", &server), ("more", &more)],
    );
    TestGateway::start_with(&yaml, &[("guest.wasm", module)])
}

const REFUSES: &str =
    "(drop (call $reply (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 3)
    (i32.const 0) (i32.const 0) (i32.const -1))) (i32.const 1)";
const HOLDS: &str = "(i32.const 1)";
const LENGTHENS: &str = "(drop (call $write (i32.const 0) (i32.const 0) (i32.const 3) (i32.const 1003) (i32.const 10))) (i32.const 0)";
const SHORTENS: &str = "(drop (call $write (i32.const 0) (i32.const 0) (i32.const 3) (i32.const 1003) (i32.const 1))) (i32.const 0)";

fn left_out(gateway: &TestGateway) -> f64 {
    gateway.metric("tidegate_upstream_ejections_total", "up")
}

/// Requests with bodies of that length are answered with the status, and no server is left out.
fn ends_without_blame(gateway: &TestGateway, length: usize, status: u16, name: &str) {
    for _ in 0..3 {
        let mut client = RawClient::connect(gateway.address("web"));
        client.send(format!("POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n"));
        client.send("x".repeat(length));
        assert_eq!(client.response("POST").expect("an answer").status, status, "{name}");
    }
    assert_eq!(left_out(gateway), 0.0, "{name}");
}

#[test]
fn servers_are_not_left_out_for_what_filters_do() {
    let long = 2 << 20;
    let rows = [("answers", REFUSES, 3, 403), ("holds too much", HOLDS, long, 413)];
    let lengths = [("a longer body", LENGTHENS, 3, 500), ("a shorter body", SHORTENS, 3, 500)];
    for (name, body, length, status) in rows.into_iter().chain(lengths) {
        let upstream = ScriptedUpstream::start(|_| Answer::steps([Step::ReadBody, Step::UntilClosed]));
        let gateway = gateway(&upstream.address().to_string(), "protocol: http1", &guest("request", body));
        ends_without_blame(&gateway, length, status, name);
    }
}

#[test]
fn servers_of_http2_are_not_left_out_for_what_filters_do() {
    let long = 2 << 20;
    for (name, body, length, status) in [
        ("answers", REFUSES, 3, 403),
        ("holds too much", HOLDS, long, 413),
        ("a longer body", LENGTHENS, 3, 500),
        ("a shorter body", SHORTENS, 3, 500),
    ] {
        let upstream = Http2Upstream::start(Http2Options { held: true, ..Http2Options::default() });
        let gateway = gateway(&upstream.address().to_string(), "protocol: http2", &guest("request", body));
        ends_without_blame(&gateway, length, status, name);
    }
}

/// In HTTP/2 nothing but the reset of its stream tells a client that an answer is not whole.
#[test]
fn an_answer_that_a_filter_makes_shorter_than_its_head_says_is_broken_off() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n";
    let answer = [head, &"x".repeat(1_000_000)].concat();
    let upstream = ScriptedUpstream::start(move |_| Answer::reply(answer.as_str()));
    let shortens = SHORTENS.replacen("(call $write (i32.const 0)", "(call $write (i32.const 1)", 1);
    let module = guest("response", &shortens);
    let gateway = gateway(&upstream.address().to_string(), "protocol: http1", &module);
    let mut frames = Frames::connect(gateway.address("web"), &[]);
    let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/case")];
    frames.send_all(&[Frame::headers(1, &fields, true)]);
    let fate = frames.fate(1);
    assert!(matches!(fate, Fate::Reset(2, _)), "{fate:?}");
    assert_eq!(left_out(&gateway), 0.0);
}
