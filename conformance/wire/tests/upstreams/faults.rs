//! What upstreams can do wrong: the right status, no hang, no second attempt that could act twice, nothing leaked.

use std::time::{Duration, Instant};

use tidegate_testkit::{
    Answer, Nobody, RawClient, ReadError, ScriptedUpstream, State, Step, TestGateway, fill,
};
use tidegate_wire::Lab;

const GET: &str = "GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n";
const POST: &str = "POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\nabc";

/// `/case` gets this answer, everything else an ordinary one.
fn answering(answer: Answer) -> Lab {
    Lab::scripted(move |call| match call.head.target.as_str() {
        "/case" => answer.clone(),
        target => {
            Answer::reply(format!("HTTP/1.1 200 OK\r\nx-target: {target}\r\ncontent-length: 2\r\n\r\nok"))
        }
    })
}

/// One rule that forwards to these servers, with more keys of the rule and of the upstream.
fn gateway(servers: &[String], rule: &str, upstream: &str) -> TestGateway {
    let servers: Vec<String> = servers.iter().map(|s| format!("'{s}'")).collect();
    TestGateway::start(&fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }]${rule} }] }]
upstreams: { up: { servers: [${servers}]${upstream} } }
",
        &[("servers", &servers.join(", ")), ("rule", &rule), ("upstream", &upstream)],
    ))
}

#[test]
fn a_server_that_is_down_is_503() {
    let nobody = Nobody::new();
    let gateway = gateway(&[nobody.address().to_string()], "", "");
    let mut client = RawClient::connect(gateway.address("web"));
    for request in [GET, POST, GET] {
        assert_eq!(client.exchange(request).status, 503);
    }
}

/// Nothing was sent to the server that is down, so any request may go to the other one.
#[test]
fn a_server_that_is_down_is_passed_over() {
    let (nobody, up) = (Nobody::new(), ScriptedUpstream::plain());
    for balance in ["roundRobin", "leastRequest", "random"] {
        let gateway = gateway(
            &[nobody.address().to_string(), up.address().to_string()],
            ", retries: { attempts: 8, on: [connect], backoff: { base: 1ms, max: 2ms } }",
            &format!(", balance: {balance}"),
        );
        let mut client = RawClient::connect(gateway.address("web"));
        for request in [GET, POST, GET, POST, GET, POST] {
            assert_eq!(client.exchange(request).status, 200, "{balance}");
        }
    }
    assert!(up.requests().iter().all(|r| r.state == State::Complete));
}

fn cut_off() -> Vec<(&'static str, Answer)> {
    vec![
        ("nothing", Answer::steps([Step::ReadBody, Step::Close])),
        ("reset", Answer::steps([Step::ReadBody, Step::Reset])),
        ("closed inside the status line", Answer::reply("HTTP/1.1 20").then(Step::Close)),
        ("reset inside the status line", Answer::reply("HTTP/1.1 20").then(Step::Reset)),
        ("closed inside the head", Answer::reply("HTTP/1.1 200 OK\r\ncontent-").then(Step::Close)),
        ("reset inside the head", Answer::reply("HTTP/1.1 200 OK\r\ncontent-").then(Step::Reset)),
        ("closed after an interim answer", Answer::reply("HTTP/1.1 100 Continue\r\n\r\n").then(Step::Close)),
    ]
}

fn garbage() -> Vec<(&'static str, Answer)> {
    let large = format!("HTTP/1.1 200 OK\r\nx-a: {}\r\ncontent-length: 0\r\n\r\n", "b".repeat(1 << 20));
    let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x-a: b\r\n".repeat(5_000));
    vec![
        ("garbage", Answer::reply("garbage\r\n\r\n").then(Step::Close)),
        ("binary", Answer::reply([0x16, 3, 1, 0, 0]).then(Step::Close)),
        ("another version", Answer::reply("HTTP/3.0 200 OK\r\ncontent-length: 0\r\n\r\n").then(Step::Close)),
        (
            "a status of letters",
            Answer::reply("HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n").then(Step::Close),
        ),
        (
            "a status of two digits",
            Answer::reply("HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n").then(Step::Close),
        ),
        (
            "a status of four digits",
            Answer::reply("HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n").then(Step::Close),
        ),
        ("status 0", Answer::reply("HTTP/1.1 000 OK\r\ncontent-length: 0\r\n\r\n").then(Step::Close)),
        ("no colon", Answer::reply("HTTP/1.1 200 OK\r\nabc\r\ncontent-length: 0\r\n\r\n").then(Step::Close)),
        (
            "empty name",
            Answer::reply("HTTP/1.1 200 OK\r\n: abc\r\ncontent-length: 0\r\n\r\n").then(Step::Close),
        ),
        ("NUL", Answer::reply("HTTP/1.1 200 OK\r\nx-a: b\0\r\ncontent-length: 0\r\n\r\n").then(Step::Close)),
        (
            "bare CR",
            Answer::reply("HTTP/1.1 200 OK\r\nx-a: b\rc: d\r\ncontent-length: 0\r\n\r\n").then(Step::Close),
        ),
        (
            "unequal lengths",
            Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab")
                .then(Step::Close),
        ),
        (
            "a length with a sign",
            Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nab").then(Step::Close),
        ),
        ("an empty length", Answer::reply("HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\nab").then(Step::Close)),
        (
            "a length past 2^64",
            Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551618\r\n\r\nab")
                .then(Step::Close),
        ),
        ("a head of 1 MiB", Answer::reply(large).then(Step::Close)),
        ("5,000 fields", Answer::reply(many).then(Step::Close)),
    ]
}

#[test]
fn answers_that_are_no_answers_are_502() {
    for (name, answer) in cut_off().into_iter().chain(garbage()) {
        let lab = answering(answer);
        let mut client = lab.client();
        assert_eq!(client.exchange(POST).status, 502, "{name}");
        // The client's connection lives on, and the upstream's does not.
        assert_eq!(client.exchange("GET /other HTTP/1.1\r\nhost: a.test\r\n\r\n").status, 200, "{name}");
        lab.collect();
    }
}

/// Answers with two readings: refused, or passed on with one.
#[test]
fn ambiguous_answers_have_one_reading_afterwards() {
    for (name, answer) in [
        (
            "length and chunks",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        (
            "chunks and length",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        ("equal lengths", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok"),
        (
            "chunks twice",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        (
            "gzip and chunks",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ),
        ("unknown coding", "HTTP/1.1 200 OK\r\ntransfer-encoding: x\r\n\r\nok"),
        ("bare LF", "HTTP/1.1 200 OK\ncontent-length: 2\n\nok"),
        ("fold", "HTTP/1.1 200 OK\r\nx-a: b\r\n c\r\ncontent-length: 2\r\n\r\nok"),
        ("space before the colon", "HTTP/1.1 200 OK\r\nx-a : b\r\ncontent-length: 2\r\n\r\nok"),
        ("chunks in 1.0", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        ("204 with a length", "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n"),
        ("204 with chunks", "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n"),
        (
            "a second answer behind it",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nx-evil: 1\r\n\r\n",
        ),
        ("no reason", "HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok"),
    ] {
        let lab = answering(Answer::reply(answer).then(Step::Close));
        let mut client = lab.client();
        client.send(GET);
        // The reader of the test takes only what has one reading.
        match client.response("GET") {
            Ok(response) => assert!(!response.headers.has("x-evil"), "{name}: {response:?}"),
            Err(ReadError::CutOff(_) | ReadError::Broken(_) | ReadError::Closed) => {}
            Err(error) => panic!("{name}: {error}"),
        }
        client.half_close();
        let (rest, _) = client.rest();
        assert!(rest.is_empty(), "{name}: {}", String::from_utf8_lossy(&rest));
        lab.collect();
    }
}

#[test]
fn an_upstream_that_stalls_is_504() {
    for (name, steps) in [
        ("before the head", vec![Step::UntilClosed]),
        ("inside the head", vec![Step::send("HTTP/1.1 200 OK\r\ncontent"), Step::UntilClosed]),
        ("after an interim answer", vec![Step::send("HTTP/1.1 100 Continue\r\n\r\n"), Step::UntilClosed]),
    ] {
        let upstream = ScriptedUpstream::start(move |_| Answer::steps(steps.clone()));
        let gateway = gateway(&[upstream.address().to_string()], ", timeouts: { attempt: 200ms }", "");
        let mut client = RawClient::connect(gateway.address("web"));
        let started = Instant::now();
        assert_eq!(client.exchange(GET).status, 504, "{name}");
        assert!(started.elapsed() >= Duration::from_millis(200), "{name}");
        upstream.wait(name, |c| c.iter().all(|c| c.finished));
        assert_eq!(client.exchange(POST).status, 504, "{name}");
    }
}

#[test]
fn a_request_has_a_limit_of_its_own() {
    let upstream = ScriptedUpstream::start(|call| match call.head.target.as_str() {
        "/head" => Answer::steps([Step::UntilClosed]),
        _ => {
            Answer::steps([Step::send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc"), Step::UntilClosed])
        }
    });
    // Long enough for the head of the second answer, which must be there before.
    for timeouts in ["request: 1s", "idle: 1s"] {
        let gateway =
            gateway(&[upstream.address().to_string()], &format!(", timeouts: {{ {timeouts} }}"), "");
        let mut client = RawClient::connect(gateway.address("web"));
        assert_eq!(client.exchange("GET /head HTTP/1.1\r\nhost: a.test\r\n\r\n").status, 504, "{timeouts}");
        client.send("GET /body HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let ended = client.response("GET");
        assert!(matches!(ended, Err(ReadError::CutOff(_) | ReadError::Broken(_))), "{timeouts}: {ended:?}");
        upstream.wait(timeouts, |c| c.iter().all(|c| c.finished));
    }
}

/// The upstream closes right after each answer, so some connections die while they are taken from the pool.
#[test]
fn an_idle_connection_that_closes_costs_no_request() {
    let upstream = ScriptedUpstream::start(|call| {
        let target = &call.head.target;
        let answer =
            Answer::reply(format!("HTTP/1.1 200 OK\r\nx-target: {target}\r\ncontent-length: 2\r\n\r\nok"));
        if call.nth % 3 == 2 { answer.then(Step::Close) } else { answer }
    });
    let gateway = gateway(&[upstream.address().to_string()], "", "");
    let mut client = RawClient::connect(gateway.address("web"));
    for number in 0..300 {
        let answer = client.exchange(format!("GET /{number} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
        assert_eq!(answer.header("x-target"), Some(format!("/{number}").as_str()), "{answer:?}");
    }
}

/// The second request on a connection finds it closed or reset before any byte of an answer.
#[test]
fn a_request_on_a_dying_connection_is_repeated_only_when_that_is_safe() {
    for ending in [Step::Close, Step::Reset] {
        let dying = ending.clone();
        let upstream = ScriptedUpstream::start(move |call| match call.nth {
            0 => Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
            _ => Answer::steps([Step::ReadBody, dying.clone()]),
        });
        let gateway = gateway(&[upstream.address().to_string()], "", "");
        for (name, request, repeated) in [
            ("GET", "GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n", true),
            ("HEAD", "HEAD /case HTTP/1.1\r\nhost: a.test\r\n\r\n", true),
            ("PUT without body", "PUT /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n", true),
            ("POST without body", "POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n", false),
            ("POST", POST, false),
        ] {
            upstream.close_all();
            upstream.wait("an empty pool", |c| c.iter().all(|c| c.finished));
            let mut client = RawClient::connect(gateway.address("web"));
            assert_eq!(client.exchange(GET).status, 200, "{name}");
            upstream.forget();
            let answer = client.exchange(request);
            let seen = upstream.requests().iter().filter(|r| r.state == State::Complete).count();
            let expected = if repeated { (200, 2) } else { (502, 1) };
            assert_eq!((answer.status, seen), expected, "{name}, {ending:?}");
        }
    }
}

/// A connection that never answered anything may be repeated for safe methods, as often as the rule says.
#[test]
fn attempts_are_limited() {
    let upstream = ScriptedUpstream::start(|_| Answer::steps([Step::ReadBody, Step::Reset]));
    for (rule, attempts) in [
        ("", 2),
        (", retries: { attempts: 0 }", 1),
        (", retries: { attempts: 3, on: [reset], backoff: { base: 1ms, max: 2ms } }", 4),
        (", retries: { attempts: 3, on: [connect] }", 1),
    ] {
        let gateway = gateway(&[upstream.address().to_string()], rule, "");
        upstream.forget();
        assert_eq!(RawClient::connect(gateway.address("web")).exchange(GET).status, 502, "{rule}");
        assert_eq!(upstream.requests().len(), attempts, "{rule}");
    }
}

#[test]
fn a_status_may_be_repeated() {
    let upstream = ScriptedUpstream::start(|call| match call.overall % 3 {
        2 => Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        _ => Answer::reply("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"),
    });
    let rule = ", retries: { attempts: 2, on: [503], backoff: { base: 1ms, max: 2ms } }";
    let gateway = gateway(&[upstream.address().to_string()], rule, "");
    let mut client = RawClient::connect(gateway.address("web"));
    assert_eq!(client.exchange(GET).text(), "ok");
    assert_eq!(upstream.requests().len(), 3);
    // Not safe to repeat: the answer passes as it is.
    let answer = client.exchange(POST);
    assert_eq!((answer.status, answer.text().as_str()), (503, "busy"));
    assert_eq!(upstream.requests().len(), 4);
}

#[test]
fn too_many_requests_are_503() {
    let upstream = ScriptedUpstream::start(|_| Answer::steps([Step::UntilClosed]));
    let gateway = gateway(&[upstream.address().to_string()], "", ", limits: { requests: 3, pending: 0 }");
    let mut waiting: Vec<RawClient> = (0..3).map(|_| RawClient::connect(gateway.address("web"))).collect();
    waiting.iter_mut().for_each(|client| assert!(client.send(GET)));
    upstream.wait("three requests", |c| c.iter().filter(|c| !c.requests.is_empty()).count() == 3);
    assert_eq!(RawClient::connect(gateway.address("web")).exchange(GET).status, 503);
    drop(waiting);
    upstream.wait("their end", |c| c.iter().all(|c| c.finished));
    let mut client = RawClient::connect(gateway.address("web"));
    client.send(GET);
    upstream.wait("a fourth", |c| c.len() == 4);
}
