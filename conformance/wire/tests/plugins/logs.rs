//! Plugins that no request passes: those that are shown what is over, and those that work in the background.

use tidegate_testkit::{Answer, ByteServer, End, Gate, RawClient, ScriptedUpstream, Step, TestGateway, fill};

/// Notes a line for each stream that is logged: path, status, the answer's `x-up`, its trailer `x-sum`, why, and the
/// server's address; what is not there is `-`. As a filter it answers with the lines.
const AUDIT: &str = r#"(module
  (import "env" "proxy_get_header_map_value" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_send_local_response" (func $reply (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 8)
  (global $next (mut i32) (i32.const 262144))
  (global $length (mut i32) (i32.const 0))
  (data (i32.const 0) ":path:statusx-upx-sum- \0a/die")
  (data (i32.const 100) "response\00code_details")
  (data (i32.const 140) "upstream\00address")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param $size i32) (result i32)
    (if (i32.gt_u (i32.add (global.get $next) (local.get $size)) (i32.const 500000))
      (then (global.set $next (i32.const 262144))))
    (global.set $next (i32.add (global.get $next) (local.get $size)))
    (i32.sub (global.get $next) (local.get $size)))
  (func $note (param $at i32) (param $size i32)
    (memory.copy (i32.add (i32.const 4096) (global.get $length)) (local.get $at) (local.get $size))
    (global.set $length (i32.add (global.get $length) (local.get $size))))
  (func $result (param $status i32)
    (if (local.get $status)
      (then (call $note (i32.const 21) (i32.const 1)))
      (else (call $note (i32.load (i32.const 200)) (i32.load (i32.const 204)))))
    (call $note (i32.const 22) (i32.const 1)))
  (func $field (param $map i32) (param $at i32) (param $size i32)
    (call $result (call $get (local.get $map) (local.get $at) (local.get $size) (i32.const 200) (i32.const 204))))
  (func (export "proxy_on_log") (param i32)
    ;; nothing of this has an effect
    (drop (call $add (i32.const 2) (i32.const 12) (i32.const 4) (i32.const 12) (i32.const 4)))
    (drop (call $reply (i32.const 500) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
      (i32.const 0) (i32.const -1)))
    (call $field (i32.const 0) (i32.const 0) (i32.const 5))
    (call $field (i32.const 2) (i32.const 5) (i32.const 7))
    (call $field (i32.const 2) (i32.const 12) (i32.const 4))
    (call $field (i32.const 3) (i32.const 16) (i32.const 5))
    (call $result (call $property (i32.const 100) (i32.const 21) (i32.const 200) (i32.const 204)))
    (call $result (call $property (i32.const 140) (i32.const 16) (i32.const 200) (i32.const 204)))
    (call $note (i32.const 23) (i32.const 1))
    (if (i32.eqz (call $get (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 200) (i32.const 204)))
      (then (if (i32.eq (i32.load (i32.load (i32.const 200))) (i32.load (i32.const 24))) (then (unreachable))))))
  (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
    (drop (call $reply (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 4096) (global.get $length) (i32.const 0)
      (i32.const 0) (i32.const -1)))
    (global.set $length (i32.const 0))
    (i32.const 1)))"#;

const CONFIG: &str = "
listeners:
  - { name: web, address: '127.0.0.1:0' }
  - { name: db, address: '127.0.0.1:0', protocol: tcp }
plugins: { audit: { module: audit.wasm } }
routes:
  - name: r
    listeners: [web]
    hostnames: [a.test]
    rules:
      - { matches: [{ path: { exact: /lines } }], filters: [{ plugin: audit }], respond: { status: 500 } }
      - { matches: [{ path: { exact: /fixed } }], respond: { status: 203 } }
      - matches: [{ path: { prefix: /changed } }]
        filters: [{ rewrite: { path: { prefix: /to } } }, { responseHeaders: { set: { x-up: set } } }]
        forward: [{ upstream: up }]
      - { forward: [{ upstream: up }] }
  - { name: db, listeners: [db], rules: [{ forward: [{ upstream: bytes }] }] }
upstreams: { up: { servers: ['${up}'] }, bytes: { servers: ['${bytes}'] } }
accessLog: { path: /dev/null, plugins: [audit] }
";

struct Lab {
    gateway: TestGateway,
    upstream: ScriptedUpstream,
    bytes: ByteServer,
}

impl Lab {
    fn new() -> Self {
        let upstream = ScriptedUpstream::start(|call| match call.head.target.as_str() {
            "/reset" => Answer::steps([Step::ReadBody, Step::Reset]),
            _ => Answer::reply(
                "HTTP/1.1 200 OK\r\nx-up: own\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
            ),
        });
        let bytes = ByteServer::start();
        let yaml = fill(CONFIG, &[("up", &upstream.address()), ("bytes", &bytes.address())]);
        Self { gateway: TestGateway::start_with(&yaml, &[("audit.wasm", AUDIT.as_bytes())]), upstream, bytes }
    }

    fn send(&self, target: &str) -> u16 {
        let mut client = RawClient::connect(self.gateway.address("web"));
        client.exchange(format!("GET {target} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")).status
    }

    /// The lines since they were last asked for, without those of the question itself.
    fn lines(&self) -> Vec<String> {
        let mut client = RawClient::connect(self.gateway.address("web"));
        let answer = client.exchange("GET /lines HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let text = String::from_utf8(answer.body).expect("text");
        text.lines()
            .filter(|line| !line.starts_with("/lines "))
            .map(|line| line.trim_end().to_owned())
            .collect()
    }
}

#[test]
fn what_is_over_is_shown_whatever_became_of_it() {
    let lab = Lab::new();
    let server = lab.upstream.address();
    for (target, status, line) in [
        ("/plain?x=1", 200, format!("/plain?x=1 200 own 7 via_upstream {server}")),
        ("/changed/a", 200, format!("/to/a 200 set 7 via_upstream {server}")),
        ("/fixed", 203, "/fixed 203 - - direct_response -".to_owned()),
        ("/reset", 502, format!("/reset 502 - - upstream_reset {server}")),
        ("/a%2fb", 400, "/a%2fb 400 - - path -".to_owned()),
    ] {
        assert_eq!(lab.send(target), status, "{target}");
        assert_eq!(lab.lines(), [line], "{target}");
    }
    let mut client = RawClient::connect(lab.gateway.address("web"));
    assert_eq!(client.exchange("GET /x HTTP/1.1\r\nhost: nobody.test\r\n\r\n").status, 404);
    drop(client);
    assert_eq!(lab.lines(), ["/x 404 - - no_route -"]);
}

#[test]
fn a_connection_of_bytes_is_shown_too() {
    let lab = Lab::new();
    let mut client = RawClient::connect(lab.gateway.address("db"));
    let mut server = lab.bytes.accept();
    client.send("x");
    assert_eq!(server.exactly(1).expect("it comes"), b"x");
    server.reset();
    assert_eq!(client.rest().1, End::Broken);
    lab.gateway.wait("its end", |gateway| gateway.metric("tidegate_tcp_connections_active", "") == 0.0);
    assert_eq!(lab.lines(), [format!("- - - - upstream_reset {}", lab.bytes.address())]);
}

#[test]
fn a_logger_that_breaks_off_hurts_nobody() {
    let lab = Lab::new();
    for _ in 0..3 {
        assert_eq!(lab.send("/die"), 200);
    }
    let traps = |gateway: &TestGateway| gateway.metric("tidegate_plugin_traps_total", "audit");
    lab.gateway.wait("the traps", |gateway| traps(gateway) >= 1.0);
    assert_eq!(lab.send("/fine"), 200);
}

/// A guest that calls `sink` with a path of four bytes when it starts and at each tick, and breaks off at one of them.
fn worker(start: &str, tick: &str, dies_at: u32) -> Vec<u8> {
    let pairs = |path: &str| {
        let pairs = [(":path", path), (":method", "GET"), (":authority", "a")];
        let mut bytes = 3_u32.to_le_bytes().to_vec();
        for (key, value) in pairs {
            bytes.extend(u32::try_from(key.len()).expect("short").to_le_bytes());
            bytes.extend(u32::try_from(value.len()).expect("short").to_le_bytes());
        }
        for (key, value) in pairs {
            bytes.extend([key.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
        }
        (bytes.len(), bytes.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>())
    };
    let ((size, start), (_, tick)) = (pairs(start), pairs(tick));
    let call = |at: u32| {
        format!(
            "(drop (call $call (i32.const 0) (i32.const 4) (i32.const {at}) (i32.const {size}) (i32.const 0) \
             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 5000) (i32.const 24)))"
        )
    };
    format!(
        r#"(module
  (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
  (import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $ticks (mut i32) (i32.const 0))
  (data (i32.const 0) "sink") (data (i32.const 100) "{start}") (data (i32.const 300) "{tick}")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 4096))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    {0} (drop (call $tick (i32.const 10))) (i32.const 1))
  (func (export "proxy_on_tick") (param i32)
    (global.set $ticks (i32.add (global.get $ticks) (i32.const 1)))
    (if (i32.eq (global.get $ticks) (i32.const {dies_at})) (then (unreachable)))
    {1}))"#,
        call(100),
        call(300)
    )
    .into_bytes()
}

const BACKGROUND: &str = "
workers: 2
listeners: [{ name: web, address: '127.0.0.1:0' }]
plugins: { worker: { module: worker.wasm, background: true, capabilities: { upstreams: [sink] } } }
routes: [{ name: r, rules: [{ forward: [{ upstream: held }] }] }]
upstreams: { sink: { servers: ['${sink}'] }, held: { servers: ['${held}'] } }
";

fn count(sink: &ScriptedUpstream, target: &str) -> usize {
    sink.requests().iter().filter(|request| request.target() == target).count()
}

#[test]
fn a_background_plugin_has_one_instance_which_moves_at_a_reload() {
    let (sink, gate) = (ScriptedUpstream::plain(), Gate::new());
    let pass = gate.clone();
    let held = ScriptedUpstream::start(move |_| {
        let answer = Step::send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        Answer::steps([Step::Wait(pass.clone()), answer])
    });
    let yaml = fill(BACKGROUND, &[("sink", &sink.address()), ("held", &held.address())]);
    let files: [(&str, &[u8]); 1] = [("worker.wasm", &worker("/one", "/old", 0))];
    let gateway = TestGateway::start_with(&yaml, &files);
    // Calls are not bound to arrive in the order in which they were made.
    gateway.wait("ticks", |_| count(&sink, "/old") >= 3 && count(&sink, "/one") >= 1);
    assert_eq!(count(&sink, "/one"), 1, "one start for two workers");
    assert_eq!(gateway.metric("tidegate_plugin_starts_total", "worker"), 1.0);
    // A change elsewhere leaves it alone.
    gateway.reload(&format!("{yaml}\naccessLog: {{ path: /dev/null }}"));
    assert_eq!(gateway.metric("tidegate_plugin_starts_total", "worker"), 1.0);

    // A request that holds the old configuration does not hold the old instance.
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    held.wait("the request", |connections| connections.iter().any(|c| !c.requests.is_empty()));
    let old = gateway.modules().remove(0).sha256;
    let seen = || gateway.modules().into_iter().find(|module| module.sha256 == old).map(|module| module.seen);
    gateway.put_file("worker.wasm", &worker("/two", "/new", 0));
    gateway.reload(&yaml);
    gateway.wait("the old instance to end", |_| seen().is_none_or(|seen| seen.instances == 0));
    // Calls that were on their way may still arrive; that it makes no more is seen by its own count.
    let before = seen().map(|seen| seen.calls);
    gateway.wait("ticks of the new one", |_| count(&sink, "/new") >= 6 && count(&sink, "/two") >= 1);
    assert_eq!(seen().map(|seen| seen.calls), before);
    assert_eq!(count(&sink, "/two"), 1);
    assert_eq!(gateway.generations().len(), 2, "the old configuration is in use");
    gate.open();
    assert_eq!(client.response("GET").map(|answer| answer.status).ok(), Some(200));
    // Without it in the document it ends.
    let without = "listeners: [{ name: web, address: '127.0.0.1:0' }]\nworkers: 2";
    gateway.reload(without);
    gateway.wait("the old configurations to go", |gateway| gateway.generations().len() == 1);
    sink.wait("all that was on its way", |all| all.iter().all(|connection| connection.finished));
    let after = count(&sink, "/new");
    gateway.put_file("worker.wasm", &worker("/one", "/old", 0));
    gateway.reload(&yaml);
    let before = count(&sink, "/old");
    gateway.wait("ticks of another one", |_| count(&sink, "/old") >= before + 6);
    assert_eq!(count(&sink, "/new"), after);
}

#[test]
fn a_background_plugin_that_breaks_off_is_started_again() {
    let (sink, held) = (ScriptedUpstream::plain(), ScriptedUpstream::plain());
    let yaml = fill(BACKGROUND, &[("sink", &sink.address()), ("held", &held.address())]);
    let gateway = TestGateway::start_with(&yaml, &[("worker.wasm", &worker("/one", "/old", 2))]);
    gateway.wait("a third start", |gateway| gateway.metric("tidegate_plugin_starts_total", "worker") >= 3.0);
    assert!(gateway.metric("tidegate_plugin_traps_total", "worker") >= 2.0);
    gateway.wait("its calls", |_| count(&sink, "/one") >= 3 && count(&sink, "/old") >= 2);
}

/// Counts what `connection.termination_details` says of what is over in a metric of that name; `-` where it says nothing.
const WHY: &str = r#"(module
  (import "env" "proxy_get_property" (func $property (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "connection\00termination_details") (data (i32.const 200) "-")
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 1024))
  (func (export "proxy_on_log") (param i32)
    (if (call $property (i32.const 0) (i32.const 30) (i32.const 100) (i32.const 104))
      (then (i32.store (i32.const 100) (i32.const 200)) (i32.store (i32.const 104) (i32.const 1))))
    (drop (call $define (i32.const 0) (i32.load (i32.const 100)) (i32.load (i32.const 104)) (i32.const 108)))
    (drop (call $increment (i32.load (i32.const 108)) (i64.const 1)))))"#;

#[test]
fn why_a_request_ended_its_connection_is_told() {
    let yaml = "
listeners: [{ name: web, address: '127.0.0.1:0', timeouts: { headers: 200ms } }]
plugins: { why: { module: why.wat } }
routes:
  - name: r
    listeners: [web]
    rules: [{ respond: { status: 200 } }]
accessLog: { path: /dev/null, plugins: [why] }
";
    let gateway = TestGateway::start_with(yaml, &[("why.wat", WHY.as_bytes())]);
    let address = gateway.address("web");
    for (sent, status, word) in [
        ("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n", 200, "-"),
        ("GET /a%2fb HTTP/1.1\r\nhost: a.test\r\n\r\n", 400, "-"),
        ("GET / HTTP/1.1\r\n\r\n", 400, "host"),
        ("GET / HTTP/1.1\r\nhost: a.test\r\nno field\r\n\r\n", 400, "malformed"),
        (
            "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
            "framing",
        ),
        ("GET / HT", 408, "head_timeout"),
    ] {
        let before = gateway.guest_metric("why", word);
        let mut client = RawClient::connect(address);
        assert_eq!(client.exchange(sent).status, status, "{sent:?}");
        gateway.wait(sent, |gateway| gateway.guest_metric("why", word) == before + 1);
    }
}
