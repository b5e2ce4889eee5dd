//! Plugins on the way of connections: what they see, hold, change and end.
#![allow(clippy::panic, reason = "a test fails by a panic")]

use std::time::Duration;

use tidegate_testkit::{
    Answer, ByteServer, End, Gate, LogFile, RawClient, ScriptedUpstream, Step, TestGateway, Wire, fill,
};

/// A guest that keeps a trace of its callbacks, a letter each; `trace` in a callback's text stands for the call that
/// replaces a buffer with it. What it does with a new connection and with bytes of both sides is given.
fn guest(open: &str, down: &str, up: &str) -> Vec<u8> {
    format!(
        r#"(module
  (import "env" "proxy_set_buffer_bytes" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_buffer_bytes" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_continue_stream" (func $continue (param i32) (result i32)))
  (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
  (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 64)
  (global $next (mut i32) (i32.const 65536))
  (global $length (mut i32) (i32.const 0))
  (global $saved (mut i32) (i32.const 0))
  (data (i32.const 0) "AB<>auth")
  (data (i32.const 100) "\03\00\00\00\05\00\00\00\02\00\00\00\07\00\00\00\03\00\00\00\0a\00\00\00\01\00\00\00:path\00/x\00:method\00GET\00:authority\00a\00")
  (data (i32.const 200) "upstream\00address")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param $size i32) (result i32)
    (if (i32.gt_u (i32.add (global.get $next) (local.get $size)) (i32.const 4000000))
      (then (global.set $next (i32.const 65536))))
    (global.set $next (i32.add (global.get $next) (local.get $size)))
    (i32.sub (global.get $next) (local.get $size)))
  (func $note (param $letter i32)
    (i32.store8 (i32.add (i32.const 1024) (global.get $length)) (local.get $letter))
    (global.set $length (i32.add (global.get $length) (i32.const 1))))
  (func $number (param $letter i32) (param $number i32)
    (call $note (local.get $letter)) (call $note (i32.add (i32.const 48) (local.get $number))))
  ;; the byte of a buffer at a place, from its end where the place is negative
  (func $byte (param $kind i32) (param $place i32) (param $size i32) (result i32)
    (if (i32.lt_s (local.get $place) (i32.const 0))
      (then (local.set $place (i32.add (local.get $size) (local.get $place)))))
    (if (i32.ge_u (local.get $place) (local.get $size)) (then (return (i32.const 0))))
    (drop (call $get (local.get $kind) (local.get $place) (i32.const 1) (i32.const 16) (i32.const 20)))
    (i32.load8_u (i32.load (i32.const 16))))
  (func (export "proxy_on_context_create") (param i32) (param $parent i32)
    (if (local.get $parent) (then (call $note (i32.const 99)))))
  (func (export "proxy_on_new_connection") (param $id i32) (result i32)
    (global.set $saved (local.get $id)) (call $note (i32.const 110)) {open})
  (func (export "proxy_on_downstream_data") (param $id i32) (param $size i32) (param $end i32) (result i32)
    (call $number (i32.const 100) (local.get $end))
    (if (i32.eq (call $byte (i32.const 2) (i32.const 0) (local.get $size)) (i32.const 63))
      (then (drop (call $set (i32.const 2) (i32.const 0) (i32.const -1) (i32.const 1024) (global.get $length)))
        (global.set $length (i32.const 0)) (return (i32.const 0))))
    {down})
  (func (export "proxy_on_upstream_data") (param $id i32) (param $size i32) (param $end i32) (result i32)
    (call $number (i32.const 117) (local.get $end)) {up})
  (func (export "proxy_on_downstream_connection_close") (param i32) (param $by i32)
    (call $number (i32.const 68) (local.get $by)))
  (func (export "proxy_on_upstream_connection_close") (param i32) (param $by i32)
    (call $number (i32.const 85) (local.get $by)))
  (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
    (call $note (i32.const 104))
    (drop (call $effective (global.get $saved))) (drop (call $continue (i32.const 2))))
  (func (export "proxy_on_done") (param i32) (result i32) (call $note (i32.const 111)) (i32.const 1))
  (func (export "proxy_on_log") (param i32) (call $note (i32.const 108)))
  (func (export "proxy_on_delete") (param i32) (call $note (i32.const 120))))"#
    )
    .into_bytes()
}

const GO: &str = "(i32.const 0)";
/// Holds until the last byte is a dot, or there is no more.
fn until_dot(kind: u32) -> String {
    format!(
        "(if (i32.and (i32.eqz (local.get $end))
            (i32.ne (call $byte (i32.const {kind}) (i32.const -1) (local.get $size)) (i32.const 46)))
           (then (return (i32.const 1))))
         (i32.const 0)"
    )
}

const CONFIG: &str = "
listeners: [{ name: db, address: '127.0.0.1:0', protocol: tcp, filters: [outer] }]
plugins:
  outer: { module: outer.wasm, onFailure: ${policy}, capabilities: { upstreams: [auth] } }
  inner: { module: inner.wasm, onFailure: ${policy} }
routes: [{ name: db, listeners: [db], rules: [{ filters: [{ plugin: inner }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] }, auth: { servers: ['${auth}'] } }
accessLog: { path: '${log}' }
";

/// A gateway with two plugins before one server.
struct Lab {
    gateway: TestGateway,
    server: ByteServer,
    log: LogFile,
    auth: ScriptedUpstream,
    yaml: String,
}

impl Lab {
    fn new(outer: &[u8], inner: &[u8], policy: &str) -> Self {
        let (server, log, auth) = (ByteServer::start(), LogFile::default(), ScriptedUpstream::plain());
        let values: [(&str, &dyn std::fmt::Display); 4] = [
            ("up", &server.address()),
            ("log", &log.path().display()),
            ("auth", &auth.address()),
            ("policy", &policy),
        ];
        let yaml = fill(CONFIG, &values);
        let gateway = TestGateway::start_with(&yaml, &[("outer.wasm", outer), ("inner.wasm", inner)]);
        Self { gateway, server, log, auth, yaml }
    }

    /// With one plugin that does something, and one that lets everything pass.
    fn with(outer: &[u8]) -> Self {
        Self::new(outer, &guest(GO, GO, GO), "closed")
    }

    fn connect(&self) -> RawClient {
        RawClient::connect(self.gateway.address("db"))
    }

    fn joined(&self) -> (RawClient, Wire) {
        let client = self.connect();
        (client, self.server.accept())
    }

    /// What the outer plugin has noted since it was last asked, on the way of a further connection.
    fn trace(&self) -> String {
        let (mut client, mut server) = self.joined();
        client.send("?");
        client.half_close();
        let (bytes, _) = server.drain();
        drop(server);
        client.rest();
        let text = String::from_utf8(bytes).expect("letters");
        text.strip_suffix("cnd0").unwrap_or_else(|| panic!("{text}")).to_owned()
    }

    fn reason(&self, at: usize) -> String {
        self.logged(at, "reason")
    }

    /// A text of a line of the access log; empty if it has none.
    fn logged(&self, at: usize, key: &str) -> String {
        let lines = self.log.lines(at + 1);
        let text = lines[at].split_once(&format!("\"{key}\":\"")).and_then(|(_, rest)| rest.split_once('"'));
        text.map_or("", |(text, _)| text).to_owned()
    }
}

/// Waits until the gateway has no connection any more, so that all ends are told.
fn quiet(lab: &Lab) {
    lab.gateway.wait("connections to end", |gateway| {
        gateway.metric("tidegate_connections_open", "") == 0.0
            && gateway.metric("tidegate_tcp_connections_active", "") == 0.0
    });
}

#[test]
fn callbacks_come_in_the_order_of_the_wire() {
    let lab = Lab::with(&guest(GO, GO, GO));
    let (mut client, mut server) = lab.joined();
    client.send("abc");
    assert_eq!(server.exactly(3).expect("it comes"), b"abc");
    server.send(b"defg").expect("open");
    assert_eq!(client.wire().exactly(4).expect("it comes"), b"defg");
    client.half_close();
    assert_eq!(server.drain(), (Vec::new(), End::Closed));
    drop(server);
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
    quiet(&lab);
    // The server's end has no peer for guests of the field; the client ended first (2: remote).
    assert_eq!(lab.trace(), "cnd0u0d1u1U0D2olx");

    let (client, server) = lab.joined();
    client.reset();
    drop(server);
    quiet(&lab);
    assert_eq!(
        lab.trace().split_once("cn").map(|(_, rest)| rest),
        Some("D2U1olx"),
        "by a reset of the client"
    );

    // A server that resets at once might as well not have taken the connection, and would be asked again.
    let (mut client, mut server) = lab.joined();
    client.send("x");
    assert_eq!(server.exactly(1).expect("it comes"), b"x");
    server.reset();
    client.rest();
    quiet(&lab);
    let trace = lab.trace();
    assert!(trace.ends_with("cnd0U2D1olx"), "by a reset of the server: {trace}");
    assert_eq!(lab.gateway.metric("tidegate_plugin_requests_total", "outer"), 6.0);
}

#[test]
fn bytes_pass_the_plugins_in_order_and_in_reverse() {
    let append = |at: u32, kind: u32| {
        format!(
            "(if (local.get $size) (then (drop (call $set (i32.const {kind}) (local.get $size) (i32.const 0) \
             (i32.const {at}) (i32.const 1))))) (i32.const 0)"
        )
    };
    let (outer, inner) = (guest(GO, &append(0, 2), &append(0, 3)), guest(GO, &append(1, 2), &append(1, 3)));
    let lab = Lab::new(&outer, &inner, "closed");
    let (mut client, mut server) = lab.joined();
    client.send("x");
    assert_eq!(server.exactly(3).expect("it comes"), b"xAB");
    server.send(b"y").expect("open");
    assert_eq!(client.wire().exactly(3).expect("it comes"), b"yBA");
    // Bytes at the very end are changed as well.
    client.send("end");
    client.half_close();
    assert_eq!(server.drain(), (b"endAB".to_vec(), End::Closed));
}

#[test]
fn paused_bytes_are_held_and_seen_as_a_whole() {
    let lab = Lab::with(&guest(GO, &until_dot(2), &until_dot(3)));
    let (mut client, mut server) = lab.joined();
    client.send("one ");
    server.send(b"up ").expect("open");
    // A byte that passes later shows that these were held.
    lab.gateway.wait("both to come", |gateway| {
        gateway.metric("tidegate_tcp_received_bytes_total", "") == 4.0
            && gateway.metric("tidegate_tcp_sent_bytes_total", "") == 3.0
    });
    client.send("two.");
    assert_eq!(server.exactly(8).expect("it comes"), b"one two.");
    server.send(b"down.").expect("open");
    assert_eq!(client.wire().exactly(8).expect("it comes"), b"up down.");
    client.send("no dot");
    client.half_close();
    assert_eq!(server.drain(), (b"no dot".to_vec(), End::Closed));
}

#[test]
fn what_is_held_has_a_limit() {
    let lab = Lab::with(&guest(GO, "(i32.const 1)", GO));
    let (mut client, mut server) = lab.joined();
    client.send(vec![b'x'; 3 << 20]);
    assert_ne!(client.rest().1, End::Open);
    assert_eq!(server.drain(), (Vec::new(), End::Broken));
    assert_eq!(lab.reason(0), "too_large");
    assert_eq!(lab.gateway.metric("tidegate_tcp_failures_total", "too_large"), 1.0);
}

#[test]
fn a_plugin_may_close_the_connection() {
    let close = "(if (i32.eq (call $byte (i32.const 2) (i32.const 0) (local.get $size)) (i32.const 75))
        (then (drop (call $close (i32.const 2))))) (i32.const 0)";
    let lab = Lab::with(&guest(GO, close, GO));
    let (mut client, mut server) = lab.joined();
    client.send("let through");
    assert_eq!(server.exactly(11).expect("it comes"), b"let through");
    server.send(b"answer").expect("open");
    assert_eq!(client.wire().exactly(6).expect("it comes"), b"answer");
    client.send("K is never seen");
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
    assert_eq!(server.drain(), (Vec::new(), End::Closed));
    assert_eq!(lab.reason(0), "plugin_closed");
    quiet(&lab);
    // Closed by the gateway (1: local) on both sides.
    assert!(lab.trace().ends_with("D1U1olx"));

    let lab = Lab::with(&guest("(drop (call $close (i32.const 3))) (i32.const 1)", GO, GO));
    assert_eq!(lab.connect().rest(), (Vec::new(), End::Closed));
    assert_eq!(lab.reason(0), "plugin_closed");
    assert!(lab.server.is_left_alone(Duration::from_millis(50)), "the server never heard of it");
}

/// Calls `auth` and holds.
const ASK: &str = "(drop (call $call (i32.const 4) (i32.const 4) (i32.const 100) (i32.const 62) (i32.const 0) \
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 5000) (i32.const 24))) (i32.const 1)";

#[test]
fn a_new_connection_may_wait_for_a_call() {
    let lab = Lab::with(&guest(ASK, GO, GO));
    let mut client = lab.connect();
    client.send("before the answer");
    let mut server = lab.server.accept();
    assert_eq!(server.exactly(17).expect("it comes"), b"before the answer");
    let asked = lab.auth.requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].target(), "/x");

    // Bytes may wait for one as well.
    let lab = Lab::with(&guest(GO, ASK, GO));
    let (mut client, mut server) = lab.joined();
    client.send("checked");
    assert_eq!(server.exactly(7).expect("it comes"), b"checked");
    client.half_close();
    assert_eq!(server.drain(), (Vec::new(), End::Closed), "the end may too");
}

#[test]
fn a_connection_is_not_let_pass_before_the_answer() {
    let gate = Gate::new();
    let held = gate.clone();
    let auth = ScriptedUpstream::start(move |_| {
        let answer = Step::send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        Answer::steps([Step::ReadBody, Step::Wait(held.clone()), answer])
    });
    let lab = Lab::with(&guest(ASK, GO, GO));
    lab.gateway.reload(&lab.yaml.replace(&lab.auth.address().to_string(), &auth.address().to_string()));
    let mut client = lab.connect();
    client.send("too early");
    auth.wait("the call", |connections| connections.iter().any(|c| !c.requests.is_empty()));
    assert!(lab.server.is_left_alone(Duration::from_millis(100)), "nothing has passed yet");
    gate.open();
    assert_eq!(lab.server.accept().exactly(9).expect("it comes"), b"too early");
}

#[test]
fn a_connection_may_wait_for_its_first_bytes() {
    let lab = Lab::with(&guest("(i32.const 1)", &until_dot(2), GO));
    let mut client = lab.connect();
    client.send("hel");
    assert!(lab.server.is_left_alone(Duration::from_millis(100)));
    client.send("lo.");
    assert_eq!(lab.server.accept().exactly(6).expect("it comes"), b"hello.");
    drop(client);
    // A client that leaves while it is held ends its connection.
    let client = lab.connect();
    client.reset();
    lab.log.lines(1);
    quiet(&lab);
}

const TRAP: &str = "(if (i32.eq (call $byte (i32.const 2) (i32.const 0) (local.get $size)) (i32.const 84))
    (then (unreachable))) (i32.const 0)";

#[test]
fn a_plugin_that_breaks_off_ends_its_connections() {
    let lab = Lab::with(&guest(GO, TRAP, GO));
    let (mut client, mut server) = lab.joined();
    let (mut other, mut neighbour) = lab.joined();
    client.send("fine");
    assert_eq!(server.exactly(4).expect("it comes"), b"fine");
    client.send("T");
    assert_eq!(client.rest(), (Vec::new(), End::Broken));
    assert_eq!(server.drain(), (Vec::new(), End::Broken));
    // The instance was theirs too.
    assert_eq!(other.rest(), (Vec::new(), End::Broken));
    assert_eq!(neighbour.drain(), (Vec::new(), End::Broken));
    assert_eq!((lab.reason(0), lab.reason(1)), ("plugin_trap".into(), "plugin_trap".into()));
    assert_eq!((lab.logged(0, "plugin"), lab.logged(1, "plugin")), ("outer".into(), "outer".into()));
    assert_eq!(lab.gateway.metric("tidegate_plugin_traps_total", "outer"), 1.0);
    lab.gateway.wait("another instance", |_| {
        let mut client = lab.connect();
        client.send("again");
        client.half_close();
        let passes = !lab.server.is_left_alone(Duration::from_millis(20));
        drop(client);
        passes
    });
}

#[test]
fn an_open_policy_goes_on_without_the_plugin() {
    let hold_then_trap =
        "(if (i32.eq (call $byte (i32.const 2) (i32.const 0) (local.get $size)) (i32.const 84))
        (then (if (local.get $end) (then (unreachable))) (return (i32.const 1)))) (i32.const 0)";
    let lab = Lab::new(&guest(GO, hold_then_trap, GO), &guest(GO, GO, GO), "open");
    let (mut client, mut server) = lab.joined();
    client.send("This is held until the end");
    client.half_close();
    assert_eq!(server.drain(), (b"This is held until the end".to_vec(), End::Closed));
    server.send(b"answer").expect("open");
    drop(server);
    assert_eq!(client.rest(), (b"answer".to_vec(), End::Closed));
    assert_eq!(lab.reason(0), "");
    assert_eq!(lab.gateway.metric("tidegate_plugin_traps_total", "outer"), 1.0);
}

#[test]
fn a_plugin_that_was_never_loaded_follows_its_policy() {
    let lab = Lab::new(b"no module", &guest(GO, GO, GO), "closed");
    let mut client = lab.connect();
    assert_eq!(client.rest().0, b"");
    assert_eq!(lab.reason(0), "plugin_missing");
    let lab = Lab::new(b"no module", &guest(GO, GO, GO), "open");
    let (mut client, mut server) = lab.joined();
    client.send("past it");
    assert_eq!(server.exactly(7).expect("it comes"), b"past it");
}

#[test]
fn a_connection_keeps_its_plugins_over_a_reload() {
    let append = "(if (local.get $size) (then (drop (call $set (i32.const 2) (local.get $size) (i32.const 0) \
        (i32.const 0) (i32.const 1))))) (i32.const 0)";
    let lab = Lab::with(&guest(GO, append, GO));
    let (mut client, mut server) = lab.joined();
    client.send("x");
    assert_eq!(server.exactly(2).expect("it comes"), b"xA");
    lab.gateway.put_file(
        "outer.wasm",
        &guest(GO, &append.replace("(i32.const 0) (i32.const 1))", "(i32.const 1) (i32.const 1))"), GO),
    );
    lab.gateway.reload(&lab.yaml);
    client.send("y");
    assert_eq!(server.exactly(2).expect("it comes"), b"yA", "the one that it began with");
    let (mut client, mut server) = lab.joined();
    client.send("z");
    assert_eq!(server.exactly(2).expect("it comes"), b"zB");
}

/// Counts what `connection.termination_details` says, in a metric of that name with a letter before it: `d` when the
/// connection begins, `c` when the client's side is closed, `l` in the log.
const WHY: &str = r#"(module
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "connection\00termination_details")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1025))
  (func $count (param $letter i32)
    (if (call $property (i32.const 0) (i32.const 30) (i32.const 100) (i32.const 104)) (then (return)))
    (i32.store8 (i32.const 1024) (local.get $letter))
    (drop (call $define (i32.const 0) (i32.const 1024) (i32.add (i32.const 1) (i32.load (i32.const 104))) (i32.const 108)))
    (drop (call $increment (i32.load (i32.const 108)) (i64.const 1))))
  (func (export "proxy_on_new_connection") (param i32) (result i32) (call $count (i32.const 100)) (i32.const 0))
  (func (export "proxy_on_downstream_connection_close") (param i32 i32) (call $count (i32.const 99)))
  (func (export "proxy_on_log") (param i32) (call $count (i32.const 108))))"#;

#[test]
fn plugins_read_why_a_connection_ended() {
    let server = ByteServer::start();
    let yaml = fill(
        "
listeners: [{ name: db, address: '127.0.0.1:0', protocol: tcp, filters: [guest] }]
plugins: { guest: { module: guest.wat } }
routes: [{ name: db, listeners: [db], rules: [{ timeouts: { idle: 1s }, forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &server.address())],
    );
    let gateway = TestGateway::start_with(&yaml, &[("guest.wat", WHY.as_bytes())]);
    let counted = |name: &str| gateway.guest_metric("guest", name);
    let mut client = RawClient::connect(gateway.address("db"));
    let mut wire = server.accept();
    // In order: nothing to be told.
    client.half_close();
    assert_eq!(wire.drain(), (Vec::new(), End::Closed));
    wire.half_close();
    assert_eq!(client.rest().1, End::Closed);
    let silent = RawClient::connect(gateway.address("db"));
    let _wire = server.accept();
    gateway.wait("the log of an idle connection", |_| counted("lidle") == 1);
    drop(silent);
    RawClient::connect(gateway.address("db")).reset();
    gateway.wait("the log of a reset connection", |_| counted("lclient_reset") == 1);
    assert_eq!((counted("cidle"), counted("cclient_reset")), (1, 1));
    assert_eq!((counted("didle"), counted("dclient_reset")), (0, 0));
}
