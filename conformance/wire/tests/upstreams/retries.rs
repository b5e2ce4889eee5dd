//! Further attempts on real sockets: after which outcomes, how many, with which body, and what stops them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tidegate_testkit::{
    Answer, GrpcStep, GrpcUpstream, LogFile, Nobody, RawClient, ScriptedUpstream, State, Step, TestGateway,
    fill,
};

const GET: &str = "GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n";
const POST: &str = "POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\nabc";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";

/// One rule that forwards to these servers, with more keys of the rule and of the upstream.
fn gateway(servers: &[String], rule: &str, upstream: &str, more: &str) -> TestGateway {
    let servers: Vec<String> = servers.iter().map(|server| format!("'{server}'")).collect();
    TestGateway::start(&fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }], ${rule} }] }]
upstreams: { up: { servers: [${servers}], ejection: false, ${upstream} } }
${more}
",
        &[("servers", &servers.join(", ")), ("rule", &rule), ("upstream", &upstream), ("more", &more)],
    ))
}

fn one(upstream: &ScriptedUpstream, rule: &str) -> TestGateway {
    gateway(&[upstream.address().to_string()], rule, "", "")
}

/// Busy so many times, then well.
fn busy(times: usize) -> ScriptedUpstream {
    ScriptedUpstream::start(move |call| Answer::reply(if call.overall < times { BUSY } else { OK }))
}

fn value(line: &str, key: &str) -> serde_json::Value {
    let line: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
    line[key].clone()
}

/// Everything fails and every request wants five more attempts: the servers see a fifth more than without.
#[test]
fn a_storm_of_retries_stays_within_the_budget() {
    let upstream = ScriptedUpstream::start(|_| Answer::reply(BUSY));
    let gateway = gateway(
        &[upstream.address().to_string()],
        "retries: { attempts: 5, on: [5xx], backoff: { base: 0ms, max: 0ms } }",
        "retryBudget: { percent: 20, min: 0 }",
        "workers: 2",
    );
    let address = gateway.address("web");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = RawClient::connect(address);
                (0..500).for_each(|_| assert_eq!(client.exchange(GET).status, 503));
            });
        }
    });
    let seen = upstream.requests().len();
    assert!(seen <= 2400, "2000 requests became {seen}");
    assert!(seen >= 2300, "the budget is there to be used: {seen}");
    let stopped = gateway.metric("tidegate_upstream_retries_stopped_total", "by=\"budget\"");
    assert!(stopped > 1000.0, "{stopped}");
}

#[test]
fn a_server_that_asks_for_time_gets_it_or_the_client_its_answer() {
    for (asked, waited, status, seen) in [("1", 1000, 200, 2), ("60", 0, 503, 1), ("0", 0, 200, 2)] {
        let upstream = ScriptedUpstream::start(move |call| match call.overall {
            0 => Answer::reply(format!(
                "HTTP/1.1 503 Service Unavailable\r\nretry-after: {asked}\r\ncontent-length: 0\r\n\r\n"
            )),
            _ => Answer::reply(OK),
        });
        let gateway = one(&upstream, "retries: { on: [503], retryAfter: 5s }");
        let started = Instant::now();
        let answer = RawClient::connect(gateway.address("web")).exchange(GET);
        assert_eq!((answer.status, upstream.requests().len()), (status, seen), "{asked}");
        assert!(started.elapsed() >= Duration::from_millis(waited), "{asked}");
    }
}

/// The calls are POST requests with a body, and their status is in a head without messages.
#[test]
fn calls_of_grpc_are_repeated_after_these_statuses() {
    for (word, status) in [
        ("cancelled", "1"),
        ("deadlineExceeded", "4"),
        ("resourceExhausted", "8"),
        ("internal", "13"),
        ("unavailable", "14"),
    ] {
        let calls = AtomicUsize::new(0);
        let server = GrpcUpstream::start(move |_| match calls.fetch_add(1, Ordering::Relaxed) {
            0 => vec![
                GrpcStep::Receive,
                GrpcStep::Only(200, vec![("content-type", "application/grpc"), ("grpc-status", status)]),
            ],
            _ => vec![GrpcStep::Head(vec![]), GrpcStep::Echo, GrpcStep::Trailers(vec![("grpc-status", "0")])],
        });
        let rule = format!("retries: {{ on: [{word}] }}");
        let gateway = gateway(&[server.address().to_string()], &rule, "protocol: http2", "");
        let mut client = RawClient::connect(gateway.address("web"));
        let answer = client.exchange(
            "POST /test.Echo/Echo HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/grpc\r\nte: trailers\r\n\
             content-length: 8\r\n\r\n\0\0\0\0\x03abc",
        );
        assert_eq!(answer.body, b"\0\0\0\0\x03abc", "{word}: {answer:?}");
        let calls = server.calls();
        assert_eq!(calls.len(), 2, "{word}");
        assert!(calls.iter().all(|call| call.messages == [b"abc".to_vec()]), "{word}: {calls:?}");
    }
}

/// A body that comes in pieces is sent again, up to the limit, and the log tells when it was too long for that.
#[test]
fn bodies_are_sent_again_up_to_their_limit() {
    let long = "x".repeat(5000);
    for (limit, status, seen, stopped) in
        [("8KiB", 200, 2, None), ("4KiB", 502, 1, Some("body")), ("0", 502, 1, None)]
    {
        let upstream = ScriptedUpstream::start(|call| match call.overall {
            0 => Answer::steps([Step::ReadBody, Step::Reset]),
            _ => Answer::reply(OK),
        });
        let log = LogFile::default();
        let rule = format!("retries: {{ on: [reset], bodyLimit: {limit} }}");
        let access_log = format!("accessLog: {{ path: '{}' }}", log.path().display());
        let gateway = gateway(&[upstream.address().to_string()], &rule, "", &access_log);
        let mut client = RawClient::connect(gateway.address("web"));
        client.send("PUT /case HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n");
        client.send(format!("1388\r\n{long}\r\n"));
        client.send("3\r\nend\r\n0\r\n\r\n");
        let answer = client.response("PUT").expect("an answer");
        let requests: Vec<_> =
            upstream.requests().into_iter().filter(|request| request.state == State::Complete).collect();
        assert_eq!((answer.status, requests.len()), (status, seen), "{limit}");
        assert!(requests.iter().all(|request| request.body == format!("{long}end").as_bytes()), "{limit}");
        let line = &log.lines(1)[0];
        assert_eq!(value(line, "retry_stopped_by").as_str(), stopped, "{line}");
    }
}

/// What follows a body is part of it.
#[test]
fn trailers_are_sent_again_too() {
    let upstream = busy(1);
    let gateway = one(&upstream, "retries: { on: [503] }");
    let answer = RawClient::connect(gateway.address("web")).exchange(
        "PUT /case HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n",
    );
    assert_eq!(answer.text(), "ok");
    let requests = upstream.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!((request.body.as_slice(), request.trailers.get("x-sum")), (&b"abc"[..], Some("7")));
    }
}

#[test]
fn an_attempt_that_takes_too_long_is_repeated() {
    let upstream = ScriptedUpstream::start(|call| match call.overall {
        0 => Answer::steps([Step::UntilClosed]),
        _ => Answer::reply(OK),
    });
    let gateway = one(&upstream, "timeouts: { attempt: 1s }, retries: { on: [timeout] }");
    assert_eq!(RawClient::connect(gateway.address("web")).exchange(GET).text(), "ok");
    // The server sees that nobody waits for its answer any more.
    upstream.wait("the first attempt to be given up", |c| c[0].finished);
}

/// The request's own limit is over when it is over.
#[test]
fn a_request_that_takes_too_long_is_not_repeated() {
    let upstream = ScriptedUpstream::start(|_| Answer::steps([Step::UntilClosed]));
    let gateway = one(&upstream, "timeouts: { request: 100ms }, retries: { on: [timeout], attempts: 5 }");
    assert_eq!(RawClient::connect(gateway.address("web")).exchange(GET).status, 504);
    upstream.wait("the attempt", |all| all.iter().any(|connection| !connection.requests.is_empty()));
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn requests_say_when_they_are_repeated_where_they_may() {
    for (by_header, named, seen) in [
        (true, "503", 2),
        (true, "5xx, unheard-of", 2),
        (true, "connect, reset", 1),
        (true, "", 1),
        (false, "503", 1),
    ] {
        let upstream = busy(1);
        let gateway = one(&upstream, &format!("retries: {{ on: [502], byHeader: {by_header} }}"));
        let mut client = RawClient::connect(gateway.address("web"));
        let request = format!("GET / HTTP/1.1\r\nhost: a.test\r\nx-tidegate-retry-on: {named}\r\n\r\n");
        assert_eq!(client.exchange(request).status, if seen == 2 { 200 } else { 503 }, "{named}");
        let requests = upstream.requests();
        assert_eq!(requests.len(), seen, "{named}");
        let told = requests.iter().filter(|request| request.headers().has("x-tidegate-retry-on")).count();
        assert_eq!(told, usize::from(!by_header), "{named}");
    }
}

#[test]
fn other_methods_are_repeated_only_where_the_rule_says_so() {
    for (any, status) in [(false, 503), (true, 200)] {
        let upstream = busy(1);
        let gateway = one(&upstream, &format!("retries: {{ on: [503], nonIdempotent: {any} }}"));
        assert_eq!(RawClient::connect(gateway.address("web")).exchange(POST).status, status);
    }
}

/// Which attempt it was, where the others were, why they failed, and what stopped another one.
#[test]
fn the_access_log_tells_of_attempts() {
    let upstream = busy(2);
    let (log, address) = (LogFile::default(), upstream.address());
    let gateway = gateway(
        &[address.to_string()],
        "retries: { attempts: 2, on: [503], backoff: { base: 1ms, max: 1ms } }",
        "limits: { retries: 0 }",
        &format!("accessLog: {{ path: '{}' }}", log.path().display()),
    );
    let mut client = RawClient::connect(gateway.address("web"));
    assert_eq!(client.exchange(GET).status, 503);
    let line = log.lines(1).remove(0);
    assert_eq!((value(&line, "attempts"), value(&line, "retry_stopped_by")), (1.into(), "limit".into()));
    assert_eq!(gateway.metric("tidegate_upstream_retries_stopped_total", "by=\"limit\""), 1.0);
    upstream.forget();

    let without = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }], retries: { attempts: 2, on: [503] } }] }]
upstreams: { up: { servers: ['${address}'] } }
accessLog: { path: '${log}' }
",
        &[("address", &address), ("log", &log.path().display())],
    );
    gateway.reload(&without);
    assert_eq!(client.exchange(GET).status, 200);
    let line = log.lines(2).remove(1);
    assert_eq!(value(&line, "attempts"), 2);
    assert_eq!(value(&line, "earlier_attempts"), format!("{address} 503"));
    assert!(value(&line, "retry_stopped_by").is_null(), "{line}");
}

/// One server after the other goes away with whatever it was doing, and comes back.
#[test]
fn a_rolling_restart_costs_no_request() {
    // Their ports stay theirs while they are gone.
    let places: Vec<Nobody> = (0..3).map(|_| Nobody::new()).collect();
    let mut servers: Vec<_> =
        places.iter().map(|place| ScriptedUpstream::plain_at(place.address())).collect();
    let addresses: Vec<String> = servers.iter().map(|server| server.address().to_string()).collect();
    let gateway = gateway(&addresses, "retries: { attempts: 2 }", "", "workers: 2");
    let mut options = tidegate_testkit::LoadOptions::new(gateway.address("web"));
    options.connections = 4;
    let load = tidegate_testkit::Load::start(&options);
    for _ in 0..2 {
        for number in 0..servers.len() {
            load.wait_for(200);
            let server = servers.remove(number);
            let address = server.address();
            drop(server);
            load.wait_for(200);
            servers.insert(number, ScriptedUpstream::plain_at(address));
        }
    }
    load.wait_for(200);
    let (answered, failures) = load.finish();
    assert!(failures.is_empty(), "of {answered}: {failures:?}");
}

/// One of two servers goes away while requests go on.
#[test]
fn the_example_runs() {
    let (one, two) = (ScriptedUpstream::plain(), ScriptedUpstream::plain());
    let mut yaml = include_str!("../../../../examples/resilience/tidegate.yaml").to_owned();
    for (port, address) in [("3001", one.address()), ("3002", two.address())] {
        yaml = yaml.replace(&format!("127.0.0.1:{port}"), &format!("'{address}'"));
    }
    for port in ["8080", "9900"] {
        yaml = yaml.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0");
    }
    let gateway = TestGateway::start(&yaml);
    let mut client = RawClient::connect(gateway.address("web"));
    (0..50).for_each(|_| assert_eq!(client.exchange(GET).status, 200));
    drop(one);
    (0..50).for_each(|_| assert_eq!(client.exchange(GET).status, 200));
}
