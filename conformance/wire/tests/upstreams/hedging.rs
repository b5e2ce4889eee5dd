//! Attempts beside one that takes long: the first good answer wins, the others are cancelled where they are.

use std::time::{Duration, Instant};

use tidegate_testkit::{
    Answer, Gate, GrpcReason, GrpcStep, GrpcUpstream, LogFile, RawClient, ScriptedUpstream, Step,
    TestGateway, fill,
};

const GET: &str = "GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";

fn gateway(servers: &[String], rule: &str, upstream: &str) -> (TestGateway, LogFile) {
    let (servers, log) = (servers.join("', '"), LogFile::default());
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }], ${rule} }] }]
upstreams: { up: { servers: ['${servers}'], ejection: false, ${upstream} } }
accessLog: { path: '${log}' }
",
        &[("servers", &servers), ("rule", &rule), ("upstream", &upstream), ("log", &log.path().display())],
    );
    (TestGateway::start(&yaml), log)
}

/// Every fifth request hangs until the gateway gives it up.
fn hanging() -> ScriptedUpstream {
    ScriptedUpstream::start(|call| match call.overall % 5 {
        3 => Answer::steps([Step::UntilClosed]),
        _ => Answer::reply(OK),
    })
}

/// The time that 99 of 100 requests stay below.
fn p99(gateway: &TestGateway) -> Duration {
    let mut client = RawClient::connect(gateway.address("web"));
    let mut times: Vec<Duration> = (0..60)
        .map(|_| {
            let started = Instant::now();
            assert_eq!(client.exchange(GET).status, 200);
            started.elapsed()
        })
        .collect();
    times.sort();
    times[59]
}

#[test]
fn the_slowest_requests_become_fast_and_their_first_attempts_are_cancelled() {
    let servers = [hanging(), ScriptedUpstream::plain()];
    let addresses: Vec<String> = servers.iter().map(|server| server.address().to_string()).collect();
    let alone = "timeouts: { attempt: 1s }, retries: { attempts: 4, on: [timeout] }";
    let before = p99(&gateway(&addresses, alone, "balance: roundRobin").0);
    let hedged = "timeouts: { attempt: 1s }, retries: { attempts: 4, on: [timeout], hedge: { after: 20ms } }";
    let (gateway, log) = gateway(&addresses, hedged, "balance: roundRobin");
    let after = p99(&gateway);
    assert!(before >= Duration::from_secs(1) && after < Duration::from_millis(500), "{before:?}, {after:?}");
    // Nobody waits for the answers that nobody needs.
    for server in &servers {
        server.wait("cancelled attempts to end", |c| c.iter().filter(|c| !c.finished).count() <= 1);
    }
    let won = gateway.metric("tidegate_upstream_hedges_won_total", "");
    let begun = gateway.metric("tidegate_upstream_hedges_total", "");
    assert!(won >= 5.0 && begun >= won, "{won} of {begun}");
    let told = log.lines(60).iter().filter(|line| line.contains(r#""hedge_won":"yes""#)).count();
    assert!(told as f64 == won, "{told} of {won}");
}

/// The stream of the attempt that lost is reset with CANCEL, and its connection goes on.
#[test]
fn over_http2_the_stream_is_cancelled() {
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let server =
        GrpcUpstream::start(move |_| match calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => vec![GrpcStep::Wait],
            _ => vec![GrpcStep::Head(vec![]), GrpcStep::Trailers(vec![])],
        });
    let rule = "retries: { hedge: { after: 20ms } }";
    let (gateway, _log) = gateway(&[server.address().to_string()], rule, "protocol: http2");
    assert_eq!(RawClient::connect(gateway.address("web")).exchange(GET).status, 200);
    server.wait("the first stream to be reset", |calls| calls[0].reset == Some(GrpcReason::CANCEL));
}

/// A bad answer that comes first does not win; if there is no better one it is passed on.
#[test]
fn the_first_good_answer_wins() {
    for (second, status) in [(OK, 200), (BUSY, 503)] {
        let gate = Gate::new();
        let slow = gate.clone();
        let upstream = ScriptedUpstream::start(move |call| match call.overall {
            0 => Answer::steps([Step::ReadBody, Step::Wait(slow.clone()), Step::send(BUSY)]),
            _ => {
                gate.open();
                Answer::reply(second)
            }
        });
        let rule =
            "retries: { attempts: 1, on: [503], backoff: { base: 0ms, max: 0ms }, hedge: { after: 20ms } }";
        let (gateway, _log) = gateway(&[upstream.address().to_string()], rule, "");
        assert_eq!(RawClient::connect(gateway.address("web")).exchange(GET).status, status);
    }
}

/// What is not idempotent has one attempt at a time, and so has what the budget does not allow.
#[test]
fn not_every_request_is_hedged() {
    let post = "POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\nabc";
    for (request, upstream) in
        [(post, ""), (GET, "limits: { retries: 0 }"), (GET, "retryBudget: { percent: 0, min: 0 }")]
    {
        let server = ScriptedUpstream::start(|_| Answer::steps([Step::UntilClosed]));
        let rule = "timeouts: { attempt: 200ms }, retries: { hedge: { after: 20ms, attempts: 3 } }";
        let (gateway, _log) = gateway(&[server.address().to_string()], rule, upstream);
        assert_eq!(RawClient::connect(gateway.address("web")).exchange(request).status, 504, "{upstream}");
        assert_eq!(server.requests().len(), 1, "{upstream}");
    }
}

/// A body is with the further attempts once all of it is here.
#[test]
fn bodies_go_with_all_attempts() {
    let upstream = ScriptedUpstream::start(|call| match call.overall {
        0 => Answer::steps([Step::ReadBody, Step::UntilClosed]),
        _ => Answer::reply(OK),
    });
    let (gateway, _log) =
        gateway(&[upstream.address().to_string()], "retries: { hedge: { after: 20ms } }", "");
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("PUT /case HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    client.send("3\r\ndef\r\n0\r\n\r\n");
    assert_eq!(client.response("PUT").expect("an answer").status, 200);
    upstream.wait("the first attempt to be given up", |c| c[0].finished);
    let bodies: Vec<_> = upstream.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [b"abcdef", b"abcdef"]);
}
