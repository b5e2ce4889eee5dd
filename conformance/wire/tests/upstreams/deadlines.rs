//! Time that requests bring along, and the longest that a stream may last.

use std::time::{Duration, Instant};

use tidegate_testkit::{
    Answer, GrpcStep, GrpcUpstream, LogFile, PATIENCE, RawClient, ReadError, ScriptedUpstream, Step,
    TestGateway, fill,
};

fn gateway(server: &str, rule: &str, upstream: &str) -> (TestGateway, LogFile) {
    let log = LogFile::default();
    let yaml = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }], ${rule} }] }]
upstreams: { up: { servers: ['${server}'], ${upstream} } }
accessLog: { path: '${log}' }
",
        &[("server", &server), ("rule", &rule), ("upstream", &upstream), ("log", &log.path().display())],
    );
    (TestGateway::start(&yaml), log)
}

fn call(timeout: &str) -> String {
    format!(
        "POST /test.Echo/Echo HTTP/1.1\r\nhost: a.test\r\ncontent-type: application/grpc\r\nte: trailers\r\n\
         {timeout}content-length: 8\r\n\r\n\0\0\0\0\x03abc"
    )
}

/// Microseconds, of what the gateway writes.
fn micros(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.len() - 1);
    number.parse::<u64>().expect("digits") * if unit == "u" { 1 } else { 1000 }
}

#[test]
fn the_deadline_of_a_call_is_lowered_and_passed_on() {
    let server = GrpcUpstream::start(|_| {
        vec![GrpcStep::Head(vec![]), GrpcStep::Echo, GrpcStep::Trailers(vec![("grpc-status", "0")])]
    });
    // What the client says, what the rule says, the most that the server may be told in milliseconds.
    for (said, rule, most) in [
        ("grpc-timeout: 2S\r\n", "", Some(2000)),
        ("grpc-timeout: 1H\r\n", "request: 3s, ", Some(3000)),
        ("grpc-timeout: 9S\r\n", "request: 8s, attempt: 1s, ", Some(1000)),
        ("", "request: 3s, ", Some(3000)),
        ("", "", None),
    ] {
        let rule = format!("timeouts: {{ {rule}grpcDeadline: true }}");
        let (gateway, _log) = gateway(&server.address().to_string(), &rule, "protocol: http2");
        let started = Instant::now();
        let answer = RawClient::connect(gateway.address("web")).exchange(call(said));
        assert_eq!(answer.status, 200, "{said}");
        let took = started.elapsed().as_micros() as u64;
        let calls = server.calls();
        let told = calls.last().expect("a call").headers.get("grpc-timeout");
        let told = told.map(|told| micros(told.to_str().expect("text")));
        assert_eq!(told.is_some(), most.is_some(), "{said}{rule}");
        assert!(told <= most.map(|most| most * 1000), "{said}{rule}: {told:?}");
        // No more was taken off than what has passed meanwhile, in whole milliseconds.
        let least = |told: u64| told + took + 1000 >= most.unwrap_or(0) * 1000;
        assert!(told.is_none_or(least), "{said}{rule}: {told:?} after {took}");
    }
}

#[test]
fn a_call_whose_time_is_over_is_told_so_in_grpcs_way() {
    let server = GrpcUpstream::start(|_| vec![GrpcStep::Wait]);
    let (gateway, log) =
        gateway(&server.address().to_string(), "timeouts: { grpcDeadline: true }", "protocol: http2");
    let mut client = RawClient::connect(gateway.address("web"));
    // Long enough for the first one to reach the server.
    for (timeout, nth) in [("1S", 1), ("0m", 2)] {
        let answer = client.exchange(call(&format!("grpc-timeout: {timeout}\r\n")));
        assert_eq!((answer.status, answer.header("grpc-status")), (200, Some("4")), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/grpc"));
        assert!(log.lines(nth)[nth - 1].contains(r#""reason":"upstream_timeout""#));
    }
    server.wait("the call to be given up", |calls| calls.len() == 1 && calls[0].reset.is_some());
    // What cannot be read is passed on as it is.
    client.send(call("grpc-timeout: soon\r\n"));
    server.wait("the call", |calls| calls.len() == 2);
    assert_eq!(server.calls()[1].headers["grpc-timeout"], "soon");
}

#[test]
fn without_the_rules_word_deadlines_are_the_servers_business() {
    let server = GrpcUpstream::start(|_| vec![GrpcStep::Only(200, vec![("grpc-status", "0")])]);
    let (gateway, _log) = gateway(&server.address().to_string(), "", "protocol: http2");
    let answer = RawClient::connect(gateway.address("web"))
        .exchange(call("grpc-timeout: 0m\r\nx-request-deadline: 0\r\n"));
    assert_eq!(answer.header("grpc-status"), Some("0"));
    let headers = &server.calls()[0].headers;
    assert_eq!(
        (&headers["grpc-timeout"], &headers["x-request-deadline"]),
        (&"0m".parse().expect("a value"), &"0".parse().expect("a value"))
    );
}

#[test]
fn any_request_may_bring_the_milliseconds_that_are_left() {
    let upstream = ScriptedUpstream::start(|call| match call.head.target.as_str() {
        "/hang" => Answer::steps([Step::UntilClosed]),
        _ => Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    });
    let (gateway, _log) = gateway(&upstream.address().to_string(), "timeouts: { requestDeadline: true }", "");
    let mut client = RawClient::connect(gateway.address("web"));
    let request =
        |path, left| format!("GET {path} HTTP/1.1\r\nhost: a.test\r\nx-request-deadline: {left}\r\n\r\n");
    let started = Instant::now();
    assert_eq!(client.exchange(request("/", "5000")).status, 200);
    let took = started.elapsed().as_millis() as u64;
    let told: u64 =
        upstream.requests()[0].header("x-request-deadline").expect("it is told").parse().expect("a number");
    assert!(told <= 5000 && told + took + 1 >= 5000, "{told} after {took}");
    assert_eq!(client.exchange(request("/hang", "150")).status, 504);
    upstream.forget();
    assert_eq!(client.exchange(request("/", "0")).status, 504);
    assert!(upstream.requests().is_empty(), "there was no time to send it");
    // What cannot be read is no deadline; the rule sets none either.
    assert_eq!(client.exchange(request("/", "soon")).status, 200);
    let requests = upstream.requests();
    assert_eq!(requests[0].header("x-request-deadline"), Some("soon"));
}

#[test]
fn a_stream_lasts_as_long_as_the_rule_says_at_most() {
    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: test\r\n\r\n";
    let upstream = ScriptedUpstream::start(|call| match call.head.target.as_str() {
        "/switch" => Answer::steps([Step::send(SWITCH), Step::Echo]),
        _ => Answer::steps([
            Step::send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n"),
            Step::UntilClosed,
        ]),
    });
    let (gateway, _log) = gateway(&upstream.address().to_string(), "timeouts: { stream: 1s }", "");
    let started = Instant::now();
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    let ended = client.response("GET");
    assert!(matches!(ended, Err(ReadError::CutOff(_) | ReadError::Broken(_))), "{ended:?}");
    assert!(started.elapsed() >= Duration::from_secs(1));

    // An upgraded connection on which there is always something.
    let started = Instant::now();
    let mut client = RawClient::connect(gateway.address("web"));
    let answer = client
        .exchange("GET /switch HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n");
    assert_eq!(answer.status, 101);
    let mut bytes = 0;
    while started.elapsed() < PATIENCE && client.send("x") && client.wire().exactly(1).is_ok() {
        bytes += 1;
    }
    let lasted = started.elapsed();
    assert!(bytes > 0 && (Duration::from_secs(1)..PATIENCE).contains(&lasted), "{bytes} bytes, {lasted:?}");
}
