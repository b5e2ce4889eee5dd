//! Plugins with an instance for each worker, connection or request: who shares state, and whom a failure reaches.

use tidegate_testkit::{
    Answer, Fate, Frame, Frames, Gate, RawClient, Response, ScriptedUpstream, Step, TestGateway, fill,
};

const COUNTING: &str = include_str!("../guests/counting.wat");
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server that answers, for `/held` when the gate is open.
fn upstream(gate: &Gate) -> ScriptedUpstream {
    let gate = gate.clone();
    ScriptedUpstream::start(move |call| match call.head.target.as_str() {
        "/held" => Answer::steps([Step::Wait(gate.clone()), Step::send(OK)]),
        _ => Answer::reply(OK),
    })
}

/// A gateway whose plugin is isolated like that; `more` are further keys of the plugin.
fn gateway(upstream: &ScriptedUpstream, isolation: &str, guest: &str, more: &str) -> TestGateway {
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  guest: { module: guest.wat, isolation: ${isolation}, capabilities: { upstreams: [up] }${more} }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address()), ("isolation", &isolation), ("more", &more)],
    );
    TestGateway::start_with(&yaml, &[("guest.wat", guest.as_bytes())])
}

fn send(client: &mut RawClient, target: &str, wish: &str) {
    let wish = if wish.is_empty() { String::new() } else { format!("x-do: {wish}\r\n") };
    client.send(format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n{wish}\r\n"));
}

fn answer(client: &mut RawClient) -> Response {
    client.response("GET").expect("well formed")
}

/// One request on a connection of its own.
fn ask(gateway: &TestGateway, wish: &str) -> Response {
    let mut client = RawClient::connect(gateway.address("web"));
    send(&mut client, "/", wish);
    answer(&mut client)
}

/// What the guest had counted when it saw the answer.
fn count(answer: &Response) -> (u16, Option<&str>) {
    (answer.status, answer.header("x-count"))
}

/// A request that waits for the upstream, once it does.
fn held(gateway: &TestGateway, upstream: &ScriptedUpstream) -> RawClient {
    let mut client = RawClient::connect(gateway.address("web"));
    let before = upstream.requests().len();
    send(&mut client, "/held", "");
    upstream.wait("the request that is held", |c| c.iter().flat_map(|c| &c.requests).count() > before);
    client
}

#[test]
fn requests_share_an_instance_or_do_not() {
    for (isolation, counts) in [("worker", ["102", "103", "103"]), ("request", ["101", "101", "101"])] {
        let gate = Gate::new();
        let upstream = upstream(&gate);
        let gateway = gateway(&upstream, isolation, COUNTING, "");
        let mut first = held(&gateway, &upstream);
        assert_eq!(count(&ask(&gateway, "")), (200, Some(counts[0])), "{isolation}");
        assert_eq!(count(&ask(&gateway, "")), (200, Some(counts[1])), "{isolation}");
        gate.open();
        assert_eq!(count(&answer(&mut first)), (200, Some(counts[2])), "{isolation}");
    }
}

#[test]
fn requests_of_a_connection_share_an_instance() {
    let upstream = upstream(&Gate::new());
    let gateway = gateway(&upstream, "connection", COUNTING, "");
    let (mut one, mut other) =
        (RawClient::connect(gateway.address("web")), RawClient::connect(gateway.address("web")));
    for expected in ["101", "102", "103"] {
        for client in [&mut one, &mut other] {
            send(client, "/", "");
            assert_eq!(count(&answer(client)), (200, Some(expected)));
        }
    }
    assert_eq!(gateway.metric("tidegate_plugin_isolated_instances", "guest"), 2.0);
    drop((one, other));
    gateway.wait("instances to end with their connections", |gateway| {
        gateway.metric("tidegate_plugin_isolated_instances", "guest") == 0.0
    });
}

#[test]
fn streams_of_an_http2_connection_share_an_instance_or_do_not() {
    for (isolation, counts) in [("connection", ["101", "102", "103"]), ("request", ["101", "101", "101"])] {
        let upstream = upstream(&Gate::new());
        let gateway = gateway(&upstream, isolation, COUNTING, "");
        let mut frames = Frames::connect(gateway.address("web"), &[]);
        for stream in [1, 3, 5] {
            let head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.test")];
            frames.send(&Frame::headers(stream, &head, true));
            assert!(matches!(frames.fate(stream), Fate::Answered(200, _)), "{isolation}");
        }
        let requests = upstream.requests();
        let seen: Vec<_> = requests.iter().filter_map(|request| request.header("x-count")).collect();
        assert_eq!(seen, counts, "{isolation}");
    }
}

#[test]
fn a_failure_is_of_one_request() {
    for isolation in ["request", "connection"] {
        let gate = Gate::new();
        let upstream = upstream(&gate);
        let gateway = gateway(&upstream, isolation, COUNTING, "");
        let mut first = held(&gateway, &upstream);
        for wish in ["t", "l", "t", "t"] {
            assert_eq!(ask(&gateway, wish).status, 503, "{isolation}, {wish}");
            // There is no back-off: the very next request is served.
            assert_eq!(count(&ask(&gateway, "")), (200, Some("101")), "{isolation}, after {wish}");
        }
        gate.open();
        assert_eq!(count(&answer(&mut first)), (200, Some("101")), "{isolation}, the one that was there");
        assert_eq!(gateway.metric("tidegate_plugin_traps_total", "guest"), 3.0, "{isolation}");
        assert_eq!(gateway.metric("tidegate_plugin_timeouts_total", "guest"), 1.0, "{isolation}");
        let failures = |reason| gateway.metric("tidegate_request_failures_total", reason);
        assert_eq!((failures("plugin_trap"), failures("plugin_timeout")), (3.0, 1.0), "{isolation}");
    }
}

#[test]
fn a_failure_on_a_connection_leaves_its_next_request_another_instance() {
    let upstream = upstream(&Gate::new());
    let gateway = gateway(&upstream, "connection", COUNTING, "");
    let mut frames = Frames::connect(gateway.address("web"), &[]);
    let head = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.test")];
    for (stream, wish, status) in [(1, "n", 200), (3, "t", 503), (5, "n", 200), (7, "n", 200)] {
        let head: Vec<_> = head.iter().copied().chain([("x-do", wish)]).collect();
        frames.send(&Frame::headers(stream, &head, true));
        let fate = frames.fate(stream);
        assert!(matches!(fate, Fate::Answered(found, _) if found == status), "{stream}: {fate:?}");
    }
    let requests = upstream.requests();
    let seen: Vec<_> = requests.iter().filter_map(|request| request.header("x-count")).collect();
    assert_eq!(seen, ["101", "101", "102"]);
}

#[test]
fn calls_come_back_to_the_instance_that_made_them() {
    for isolation in ["request", "connection", "worker"] {
        let upstream = upstream(&Gate::new());
        let gateway = gateway(&upstream, isolation, COUNTING, "");
        assert_eq!(count(&ask(&gateway, "c")), (200, Some("102")), "{isolation}");
        assert_eq!(upstream.requests().iter().filter(|request| request.target() == "/call").count(), 1);
    }
}

/// The worker's own instance ticks and tells it by shared data; instances of requests never see a tick of its.
#[test]
fn ticks_are_the_workers_own_instances() {
    let upstream = upstream(&Gate::new());
    let gateway = gateway(&upstream, "request", COUNTING, ", config: ticks");
    gateway.wait("a tick", |gateway| {
        let answer = ask(gateway, "");
        assert_eq!(count(&answer), (200, Some("101")));
        answer.header("x-ticks").is_some()
    });
    assert_eq!(gateway.metric("tidegate_plugin_starts_total", "guest"), 1.0, "the worker's own");
}

#[test]
fn instances_are_limited() {
    for (policy, status) in [("closed", 503), ("open", 200)] {
        let gate = Gate::new();
        let upstream = upstream(&gate);
        let more = format!(", onFailure: {policy}, limits: {{ instances: 2 }}");
        let gateway = gateway(&upstream, "request", COUNTING, &more);
        let mut first = [held(&gateway, &upstream), held(&gateway, &upstream)];
        assert_eq!(gateway.metric("tidegate_plugin_isolated_instances", "guest"), 2.0);
        assert_eq!(count(&ask(&gateway, "")), (status, None), "{policy}");
        gate.open();
        for client in &mut first {
            assert_eq!(count(&answer(client)), (200, Some("101")));
        }
        gateway.wait("instances to end", |gateway| {
            gateway.metric("tidegate_plugin_isolated_instances", "guest") == 0.0
        });
        assert_eq!(count(&ask(&gateway, "")), (200, Some("101")));
        let refused = gateway.metric("tidegate_request_failures_total", "plugin_busy");
        assert_eq!(refused, f64::from(u8::from(policy == "closed")), "{policy}");
    }
}

#[test]
fn modules_without_an_image_are_isolated_as_well() {
    let hiding =
        COUNTING.replace("(memory ", "(data $waits \"x\") (func $never (data.drop $waits)) (memory ");
    for (guest, image) in [(COUNTING, 1.0), (hiding.as_str(), 0.0)] {
        let upstream = upstream(&Gate::new());
        let gateway = gateway(&upstream, "request", guest, "");
        for _ in 0..20 {
            assert_eq!(count(&ask(&gateway, "")), (200, Some("101")));
        }
        assert_eq!(ask(&gateway, "t").status, 503);
        assert_eq!(count(&ask(&gateway, "")), (200, Some("101")));
        assert_eq!(gateway.metric("tidegate_plugin_image", "guest"), image);
        let started = gateway.metric("tidegate_plugin_isolated_start_seconds_count", "guest");
        let reused = gateway.metric("tidegate_plugin_isolated_reused_total", "guest");
        assert_eq!(started + reused, 22.0);
        assert!(image > 0.0 || reused == 0.0, "without an image nothing is known of the start");
        assert!(gateway.metric("tidegate_plugin_isolated_start_seconds_sum", "guest") > 0.0);
    }
}

/// Whether the kernel tells which pages were written: Linux 6.7.
fn kernel_knows_written_pages() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(6), Some(7))
}

#[test]
fn an_instance_is_used_again_and_remembers_nothing() {
    let upstream = upstream(&Gate::new());
    let gateway = gateway(&upstream, "request", COUNTING, "");
    let idle = |gateway: &TestGateway| gateway.metric("tidegate_plugin_isolated_instances", "guest") == 0.0;
    for _ in 0..40 {
        assert_eq!(count(&ask(&gateway, "")), (200, Some("101")));
        gateway.wait("the instance to be free", idle);
    }
    assert_eq!(ask(&gateway, "t").status, 503);
    gateway.wait("the instance that broke off to be gone", idle);
    let reused = |gateway: &TestGateway| gateway.metric("tidegate_plugin_isolated_reused_total", "guest");
    let (started, before) =
        (gateway.metric("tidegate_plugin_isolated_start_seconds_count", "guest"), reused(&gateway));
    assert_eq!(started + before, 41.0);
    // Each worker starts its own, and one more for each that broke off.
    assert_eq!(before >= 30.0, kernel_knows_written_pages(), "{started} started, {before} used again");
    for _ in 0..10 {
        assert_eq!(count(&ask(&gateway, "")), (200, Some("101")), "what broke off does not come back");
    }
}

/// A connection's instance is of the configuration that its requests see.
#[test]
fn a_reload_gives_connections_new_instances() {
    let upstream = upstream(&Gate::new());
    let gateway = gateway(&upstream, "connection", COUNTING, "");
    let mut client = RawClient::connect(gateway.address("web"));
    let mut next = |expected| {
        send(&mut client, "/", "");
        assert_eq!(count(&answer(&mut client)), (200, Some(expected)));
    };
    next("101");
    next("102");
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { guest: { module: guest.wat, isolation: connection, environment: { A: b } } }
routes: [{ name: r, rules: [{ filters: [{ plugin: guest }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[("up", &upstream.address())],
    );
    gateway.reload(&yaml);
    next("101");
    next("102");
    gateway.wait("the old configuration to go", |gateway| gateway.generations().len() == 1);
    assert_eq!(gateway.metric("tidegate_plugin_isolated_instances", "guest"), 1.0);
}
