//! What plugins do to a request that is past them: answers, breaks and continues out of ticks, queues and answers to calls.

use tidegate_testkit::{
    Answer, ByteServer, Gate, RawClient, ScriptedUpstream, Step, TestGateway, Wire, fill,
};

/// Where the guest's late act comes from.
const WAYS: [&str; 3] = ["call", "tick", "queue"];

/// A guest that calls `/call` for each request that it meets, lets the request go on, and does `act` when the answer is
/// there; then it calls `/acted`. Texts: 1000 `tea`, 1010 `up`, 1020 `q`, 1100 and 1200 the heads of its calls.
fn guest(way: &str, act: &str, more: &str) -> Vec<u8> {
    let (answer, tick, queue) = match way {
        "call" => ("(call $late)", "", ""),
        "tick" => {
            ("(drop (call $period (i32.const 1)))", "(drop (call $period (i32.const 0))) (call $late)", "")
        }
        _ => (
            "(drop (call $enqueue (i32.load (i32.const 64)) (i32.const 1000) (i32.const 1)))",
            "",
            "(call $late)",
        ),
    };
    format!(
        r#"(module
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
  (import "env" "proxy_set_tick_period_milliseconds" (func $period (param i32) (result i32)))
  (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
  (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
  (import "env" "proxy_set_buffer_bytes" (func $set_buffer (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $send (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 1000) "tea")
  (data (i32.const 1010) "up")
  (data (i32.const 1020) "q")
  (data (i32.const 1100) "{call}")
  (data (i32.const 1200) "{acted}")
  (global $stream (mut i32) (i32.const 0))
  (global $done (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 30000))
  (func $ask (param $head i32)
    (drop (call $call (i32.const 1010) (i32.const 2) (local.get $head) (i32.const 66) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 68))))
  (func $reply
    (drop (call $send (i32.const 418) (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 3)
      (i32.const 0) (i32.const 0) (i32.const -1))))
  (func $late
    (if (global.get $done) (then (return)))
    (global.set $done (i32.const 1))
    (drop (call $effective (global.get $stream)))
    {act}
    (call $ask (i32.const 1200)))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (drop (call $register (i32.const 1020) (i32.const 1) (i32.const 64))) (i32.const 1))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (global.set $stream (local.get 0))
    (call $ask (i32.const 1100))
    (i32.const 0))
  (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
    (if (i32.eqz (global.get $done)) (then {answer})))
  (func (export "proxy_on_tick") (param i32) {tick})
  (func (export "proxy_on_queue_ready") (param i32 i32) {queue})
  {more})"#,
        call = call_head("/call/"),
        acted = call_head("/acted"),
    )
    .into_bytes()
}

/// The head of a GET as guests hand it over; paths have six bytes.
fn call_head(path: &str) -> String {
    r"\03\00\00\00\07\00\00\00\03\00\00\00\05\00\00\00\06\00\00\00\0a\00\00\00\01\00\00\00:method\00GET\00:path\00PATH\00:authority\00a\00"
        .replace("PATH", path)
}

/// Holds what comes to this callback for ever, and calls `/held/` to say that it does.
fn holder(callback: &str) -> Vec<u8> {
    format!(
        r#"(module
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 1010) "up")
  (data (i32.const 1100) "{}")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 30000))
  (func (export "proxy_on_{callback}") (param i32 i32 i32) (result i32)
    (drop (call $call (i32.const 1010) (i32.const 2) (i32.const 1100) (i32.const 66) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 68)))
    (i32.const 3)))"#,
        call_head("/held/")
    )
    .into_bytes()
}

/// A gateway, and what holds the upstream back: the answer to the guest's call, the rest of the answer to the client.
struct Lab {
    upstream: ScriptedUpstream,
    gateway: TestGateway,
    call: Gate,
    rest: Gate,
}

impl Lab {
    /// `early`: the upstream sends a head and `abc` at once, else when the gate opens; then `def`.
    fn new(guest: &[u8], early: bool, holder: Option<&[u8]>) -> Self {
        let (call, rest) = (Gate::new(), Gate::new());
        let gates = (call.clone(), rest.clone());
        let upstream = ScriptedUpstream::start(move |asked| match asked.head.target.as_str() {
            "/call/" => Answer::steps([Step::Wait(gates.0.clone()), Step::send(EMPTY)]),
            "/acted" | "/held/" => Answer::reply(EMPTY),
            _ if early => Answer::steps([Step::send(BEGIN), Step::Wait(gates.1.clone()), Step::send(END)]),
            _ => Answer::steps([Step::Wait(gates.1.clone()), Step::send(BEGIN), Step::send(END)]),
        });
        let further = if holder.is_some() { ", { plugin: holder }" } else { "" };
        let yaml = fill(
            "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
workers: 1
plugins:
  guest: { module: guest.wasm, capabilities: { upstreams: [up] } }
  holder: { module: holder.wasm, capabilities: { upstreams: [up] } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }${further}], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
            &[("up", &upstream.address()), ("further", &further)],
        );
        let nothing = self::holder("nothing");
        let files = [("guest.wasm", guest), ("holder.wasm", holder.unwrap_or(&nothing))];
        let gateway = TestGateway::start_with(&yaml, &files);
        Self { upstream, gateway, call, rest }
    }

    /// A client whose request is past the guest: `reached` are the targets that the upstream has got by then.
    fn asked(&self, reached: &[&str]) -> RawClient {
        let mut client = RawClient::connect(self.gateway.address("web"));
        client.send("GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n");
        self.reached(reached);
        client
    }

    fn reached(&self, targets: &[&str]) {
        self.upstream.wait("requests", |connections| {
            let seen: Vec<&str> = connections.iter().flat_map(|c| &c.requests).map(|r| r.target()).collect();
            targets.iter().all(|target| seen.contains(target))
        });
    }
}

const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const BEGIN: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
const END: &str = "3\r\ndef\r\n0\r\n\r\n";

#[test]
fn an_answer_while_the_upstream_is_waited_for_is_the_answer() {
    for way in WAYS {
        let lab = Lab::new(&guest(way, "(call $reply)", ""), false, None);
        let mut client = lab.asked(&["/case", "/call/"]);
        lab.call.open();
        let answer = client.response("GET").expect("the guest's answer");
        assert_eq!((answer.status, answer.text().as_str()), (418, "tea"), "{way}");
    }
}

#[test]
fn a_request_that_is_broken_off_late_has_no_answer() {
    for way in WAYS {
        let lab = Lab::new(&guest(way, "(drop (call $close (i32.const 0)))", ""), false, None);
        let mut client = lab.asked(&["/case", "/call/"]);
        lab.call.open();
        assert!(client.response("GET").is_err(), "{way}");
    }
}

#[test]
fn an_answer_behind_the_head_of_another_breaks_that_off() {
    for way in WAYS {
        let lab = Lab::new(&guest(way, "(call $reply)", ""), true, None);
        let mut client = lab.asked(&["/case", "/call/"]);
        client.wire().exactly(1).expect("the head has come");
        lab.call.open();
        // The upstream's answer never ends by itself.
        let (bytes, _) = client.rest();
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            text.contains("abc") && !text.ends_with("0\r\n\r\n") && !text.contains("tea"),
            "{way}: {text}"
        );
    }
}

#[test]
fn a_late_continue_changes_nothing() {
    // The whole body is held and replaced; a continue from before its time must let no part of it go.
    let body = r#"(func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
        (if (local.get 2) (then
          (drop (call $set_buffer (i32.const 1) (i32.const 0) (i32.const 99) (i32.const 1000) (i32.const 3)))
          (return (i32.const 0))))
        (i32.const 1))"#;
    for way in WAYS {
        let act = "(drop (call $continue (i32.const 0))) (drop (call $continue (i32.const 1)))";
        let lab = Lab::new(&guest(way, act, body), false, None);
        let mut client = lab.asked(&["/case", "/call/"]);
        lab.call.open();
        lab.reached(&["/acted"]);
        lab.rest.open();
        let answer = client.response("GET").expect("the upstream's answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "tea"), "{way}");
    }
}

#[test]
fn an_answer_counts_while_another_plugin_holds_the_exchange() {
    for callback in ["request_headers", "response_headers"] {
        let lab = Lab::new(&guest("call", "(call $reply)", ""), true, Some(&holder(callback)));
        let mut client = lab.asked(&["/call/", "/held/"]);
        lab.call.open();
        let answer = client.response("GET").unwrap_or_else(|error| panic!("{callback}: {error}"));
        assert_eq!((answer.status, answer.text().as_str()), (418, "tea"), "{callback}");
    }
}

/// Never comes back from a request's head.
const BUSY: &str = r#"(module (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 30000))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (loop (br 0)) (i32.const 0)))"#;

/// The target of the request that comes next on a connection.
fn target(wire: &mut Wire) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(wire.exactly(1).expect("a head"));
    }
    String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned()
}

/// The worker is busy while both come: the guest answers just before the upstream's answer, whole, is looked at.
#[test]
fn an_answer_right_before_that_of_the_upstream_is_the_answer() {
    let both = r#"(func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32) (i32.const 0))
        (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32) (i32.const 0))"#;
    for more in ["", both] {
        let server = ByteServer::start();
        let yaml = fill(
            "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
workers: 1
plugins:
  guest: { module: guest.wasm, capabilities: { upstreams: [up] } }
  busy: { module: busy.wasm, limits: { callTime: 300ms, requestTime: 1s } }
routes:
  - name: r
    rules:
      - matches: [{ path: { exact: /busy } }]
        filters: [{ plugin: busy }]
        respond: { status: 204 }
      - filters: [{ plugin: guest }]
        forward: [{ upstream: up }]
upstreams: { up: { servers: ['${up}'] } }
",
            &[("up", &server.address())],
        );
        let files =
            [("guest.wasm", guest("call", "(call $reply)", more)), ("busy.wasm", BUSY.as_bytes().to_vec())];
        let gateway =
            TestGateway::start_with(&yaml, &files.each_ref().map(|(name, text)| (*name, text.as_slice())));
        let mut client = RawClient::connect(gateway.address("web"));
        client.send("GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let mut wires = [server.accept(), server.accept()].map(|mut wire| (target(&mut wire), wire));
        wires.sort_by(|one, other| one.0.cmp(&other.0));
        let [(call, to_guest), (case, to_client)] = &mut wires;
        assert_eq!((call.as_str(), case.as_str()), ("/call/", "/case"));

        let mut busy = RawClient::connect(gateway.address("web"));
        busy.send("GET /busy HTTP/1.1\r\nhost: a.test\r\n\r\n");
        gateway.wait("the worker to be busy", |gateway| {
            gateway.metric("tidegate_plugin_requests_total", r#"plugin="busy""#) == 1.0
        });
        to_guest.send(EMPTY.as_bytes()).expect("the gateway is there");
        to_client.send(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc").expect("the gateway is there");
        assert_eq!(busy.response("GET").expect("an answer").status, 503);
        let answer = client.response("GET").expect("a whole answer");
        assert_eq!((answer.status, answer.text().as_str()), (418, "tea"), "{more}");
    }
}
