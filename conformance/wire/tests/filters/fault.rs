//! The first-party filter `fault` in the gateway: what clients and upstreams get to see. `cargo xtask filters` builds it.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::{Duration, Instant};

use tidegate_testkit::{
    Answer, Fate, Frame, Frames, Gate, RawClient, Response, ScriptedUpstream, Step, TestGateway, fill, kind,
};

const CONFIG: &str = "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  fault:
    module: fault.wasm
    config: ${config}
routes: [{ name: r, rules: [{ filters: [{ plugin: fault }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
";

fn module() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/filters/fault.wasm");
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask filters`", path.display()))
}

fn gateway(config: &str, upstream: &ScriptedUpstream) -> TestGateway {
    let yaml = fill(CONFIG, &[("config", &config), ("up", &upstream.address())]);
    TestGateway::start_with(&yaml, &[("fault.wasm", &module())])
}

fn get(gateway: &TestGateway, headers: &str) -> Response {
    let request = format!("GET /orders HTTP/1.1\r\nhost: a.test\r\n{headers}\r\n");
    RawClient::connect(gateway.address("web")).exchange(&request)
}

/// A server whose answers have a body of so many bytes, each of which is its place modulo 251.
fn sized(size: usize) -> ScriptedUpstream {
    ScriptedUpstream::start(move |_| {
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n").into_bytes();
        answer.extend(pattern(size));
        Answer::reply(answer)
    })
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8).collect()
}

/// A request of HTTP/2 without a body.
fn get_http2(gateway: &TestGateway, fields: &[(&str, &str)]) -> (Frames, Fate) {
    let mut client = Frames::connect(gateway.address("web"), &[]);
    let mut all =
        vec![(":method", "GET"), (":path", "/orders"), (":scheme", "http"), (":authority", "a.test")];
    all.extend(fields);
    client.send(&Frame::headers(1, &all, true));
    let fate = client.fate(1);
    (client, fate)
}

#[test]
fn aborts_are_answers_of_both_versions() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway("{ faults: [{ abort: { status: 503, message: out } }] }", &upstream);
    let answer = get(&gateway, "");
    assert_eq!((answer.status, answer.text().as_str()), (503, "out\n"));
    assert_eq!(get_http2(&gateway, &[]).1, Fate::Answered(503, b"out\n".to_vec()));
    assert!(upstream.requests().is_empty());
    assert_eq!(gateway.guest_metric("fault", "fault_injected_total{kind=\"abort\"}"), 2);
    assert_eq!(gateway.guest_metric("fault", "fault_active"), 0);
}

#[test]
fn grpc_clients_get_trailers_alone() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway("{ faults: [{ abort: { grpcStatus: 14, message: out } }] }", &upstream);
    let answer = get(&gateway, "content-type: application/grpc\r\n");
    let shown =
        (answer.status, answer.header("grpc-status"), answer.header("grpc-message"), answer.body.len());
    assert_eq!(shown, (200, Some("14"), Some("out"), 0));
    assert_eq!(get(&gateway, "").status, 503);
}

#[test]
fn resets_are_seen_by_clients_of_both_versions() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway("{ faults: [{ abort: { reset: true } }] }", &upstream);
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let (bytes, _) = client.rest();
    assert!(bytes.is_empty(), "{bytes:?}");

    let (mut client, fate) = get_http2(&gateway, &[]);
    assert!(matches!(&fate, Fate::Reset(_, body) if body.is_empty()), "{fate:?}");
    // The connection goes on.
    client.send(&Frame { kind: kind::PING, flags: 0, stream: 0, payload: vec![7; 8] });
    let pong = std::iter::from_fn(|| client.read().ok()).find(|frame| frame.kind == kind::PING);
    assert_eq!(pong.map(|frame| frame.payload), Some(vec![7; 8]));
    assert!(upstream.requests().is_empty());
}

#[test]
fn delays_take_their_time() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway("{ faults: [{ delay: { fixed: 150ms } }] }", &upstream);
    let began = Instant::now();
    assert_eq!(get(&gateway, "").status, 200);
    assert!(began.elapsed() >= Duration::from_millis(149), "{:?}", began.elapsed());
}

#[test]
fn a_slow_body_is_whole_however_large_it_is() {
    const SIZE: usize = 3 << 20;
    let upstream = sized(SIZE);
    let gateway = gateway("{ faults: [{ bandwidth: { up: 12MiB, down: 12MiB } }] }", &upstream);
    let mut request =
        format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {SIZE}\r\n\r\n").into_bytes();
    request.extend(pattern(SIZE));
    let began = Instant::now();
    let answer = RawClient::connect(gateway.address("web")).exchange(&request);
    let took = began.elapsed();
    assert_eq!(answer.status, 200);
    assert!(answer.body == pattern(SIZE), "{} bytes, or other ones", answer.body.len());
    let requests = upstream.requests();
    let [request] = requests.as_slice() else { panic!("{} requests", requests.len()) };
    assert!(request.body == pattern(SIZE), "{} bytes, or other ones", request.body.len());
    // A quarter of a second for each direction, at least.
    assert!(took >= Duration::from_millis(490), "{took:?}");
}

/// Each direction has its own limit: the other one is not slower for it.
#[test]
fn bandwidths_of_both_directions_are_apart() {
    const SIZE: usize = 1 << 20;
    let upstream = sized(SIZE);
    for (limits, (least_up, least_down)) in [("up: 4MiB", (240, 0)), ("down: 4MiB", (0, 240))] {
        let gateway = gateway(&format!("{{ faults: [{{ bandwidth: {{ {limits} }} }}] }}"), &upstream);
        let mut request =
            format!("POST /orders HTTP/1.1\r\nhost: a.test\r\ncontent-length: {SIZE}\r\n\r\n").into_bytes();
        request.extend(pattern(SIZE));
        for (request, least) in
            [(request, least_up), (b"GET / HTTP/1.1\r\nhost: a.test\r\n\r\n".to_vec(), least_down)]
        {
            let began = Instant::now();
            let answer = RawClient::connect(gateway.address("web")).exchange(&request);
            let took = began.elapsed();
            assert!(answer.status == 200 && answer.body == pattern(SIZE), "{limits}: {}", answer.status);
            assert!(took >= Duration::from_millis(least), "{limits}: {took:?}");
        }
    }
    let requests = upstream.requests();
    let whole = requests.iter().filter(|request| request.body == pattern(SIZE)).count();
    assert_eq!((requests.len(), whole), (4, 2));
}

#[test]
fn truncated_bodies_break_off_or_end() {
    let upstream = sized(100);
    let keeping = gateway("{ faults: [{ truncate: { after: 40 } }] }", &upstream);
    let mut client = RawClient::connect(keeping.address("web"));
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let (bytes, _) = client.rest();
    let body = bytes.windows(4).position(|part| part == b"\r\n\r\n").map(|at| bytes[at + 4..].to_vec());
    assert_eq!(body, Some(pattern(40)), "{}", bytes.escape_ascii());
    let (_, fate) = get_http2(&keeping, &[]);
    assert!(!matches!(&fate, Fate::Answered(_, body) if body.len() > 40), "{fate:?}");

    let ending = gateway("{ faults: [{ truncate: { after: 40, keepLength: false } }] }", &upstream);
    assert_eq!(get(&ending, "").body, pattern(40));
    assert_eq!(get_http2(&ending, &[]).1, Fate::Answered(200, pattern(40)));
}

#[test]
fn truncated_bodies_break_off_where_no_length_was_announced() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = ScriptedUpstream::start(move |call| {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n";
        let rest = "6\r\ndefghi\r\n0\r\n\r\n";
        match call.head.target.as_str() {
            "/whole" => Answer::reply(format!("{head}{rest}")),
            _ => {
                Answer::steps([Step::ReadBody, Step::send(head), Step::Wait(held.clone()), Step::send(rest)])
            }
        }
    });
    let gateway = gateway("{ faults: [{ truncate: { after: 5 } }] }", &upstream);
    let ask = |path: &str| {
        let mut client = RawClient::connect(gateway.address("web"));
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
        client
    };
    let ends_early = |client: &mut RawClient| {
        let (bytes, _) = client.rest();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (_, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(body.contains("abc") && body.contains("de") && !body.contains('f'), "{body:?}");
        assert!(!body.ends_with("0\r\n\r\n"), "it does not end as a whole one does: {body:?}");
    };
    ends_early(&mut ask("/whole"));
    let mut parts = ask("/parts");
    gate.open();
    ends_early(&mut parts);
    let (_, fate) = get_http2(&gateway, &[]);
    assert!(!matches!(&fate, Fate::Answered(..)), "the stream is reset: {fate:?}");
}

#[test]
fn truncated_requests_break_off_at_the_upstream() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway("{ faults: [{ truncate: { after: 5, body: request } }] }", &upstream);
    let mut client = RawClient::connect(gateway.address("web"));
    client.send(
        "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n6\r\ndefghi\r\n0\r\n\r\n",
    );
    assert!(!client.response("POST").is_ok_and(|answer| answer.status < 500), "nobody has got it whole");
}

#[test]
fn corrupted_bodies_have_their_length() {
    let upstream = sized(100_000);
    let gateway = gateway("{ seed: 3, faults: [{ corrupt: { every: 100 } }] }", &upstream);
    let body = get(&gateway, "").body;
    let changed = body.iter().zip(pattern(100_000)).filter(|(one, other)| *one != other).count();
    assert_eq!(body.len(), 100_000);
    assert!((800..1200).contains(&changed), "{changed}");
}

#[test]
fn a_share_is_exact_by_its_seed_and_by_a_header() {
    let upstream = ScriptedUpstream::plain();
    let config = "{ seed: 9, decideBy: x-id, faults: [{ abort: { percent: 25, status: 500 } }] }";
    let (one, other) = (gateway(config, &upstream), gateway(config, &upstream));
    let run = |gateway: &TestGateway| {
        let mut client = RawClient::connect(gateway.address("web"));
        let status = |id| client.exchange(format!("GET / HTTP/1.1\r\nhost: a\r\nx-id: {id}\r\n\r\n")).status;
        (0..400).map(status).filter(|status| *status == 500).count()
    };
    let (first, second) = (run(&one), run(&other));
    assert_eq!(first, second);
    // Four standard deviations of a binomial distribution: 35.
    assert!((65..=135).contains(&first), "{first}");
}

#[test]
fn the_example_runs() {
    let upstream = ScriptedUpstream::plain();
    let mut yaml = include_str!("../../../../examples/fault/tidegate.yaml").to_owned();
    for port in ["8080", "9900"] {
        yaml = yaml.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0");
    }
    yaml = yaml.replace("    address: 127.0.0.1:3001", "    address: 127.0.0.1:0");
    yaml = yaml.replace("[127.0.0.1:3001]", &format!("['{}']", upstream.address()));
    yaml = yaml.replace("builtin:fault", "fault.wasm");
    let gateway = TestGateway::start_with(&yaml, &[("fault.wasm", &module())]);
    assert_eq!(get(&gateway, "").status, 200);
    assert_eq!(get(&gateway, "x-tidegate-fault-abort: 418\r\n").status, 200);
    assert_eq!(get(&gateway, "x-tester: 1\r\nx-tidegate-fault-abort: 418\r\n").status, 418);
    let requests = upstream.requests();
    assert!(
        requests.iter().all(|request| request.header("x-tidegate-fault-abort").is_none()),
        "{requests:?}"
    );
}

#[test]
fn requests_that_cannot_meet_a_fault_pass_without_the_filter() {
    let upstream = ScriptedUpstream::plain();
    let config = "{ faults: [{ match: { path: { prefix: /elsewhere } }, abort: { status: 503 } }], byHeader: { abort: true } }";
    let gateway = gateway(config, &upstream);
    assert_eq!(get(&gateway, "").status, 200);
    assert_eq!(gateway.metric("tidegate_plugin_passed_over_total", "fault"), 1.0);
    assert_eq!(get(&gateway, "x-tidegate-fault-abort: 418\r\n").status, 418);
    assert_eq!(gateway.metric("tidegate_plugin_requests_total", "fault"), 1.0);
}
