//! What a client and an upstream may rely on through the gateway: bodies, trailers, interim answers, tunnels, aborts.

use std::time::{Duration, Instant};

use tidegate_testkit::{Answer, End, Gate, RawClient, ReadError, State, Step};
use tidegate_wire::Lab;

const GET: &str = "GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n";

/// An upstream that gives this answer to `/case` and an ordinary one to everything else.
fn answering(answer: impl Fn() -> Answer + Send + Sync + 'static) -> Lab {
    Lab::scripted(move |call| match call.head.target.as_str() {
        target if target.starts_with("/case") => answer(),
        target => {
            Answer::reply(format!("HTTP/1.1 200 OK\r\nx-target: {target}\r\ncontent-length: 2\r\n\r\nok"))
        }
    })
}

#[test]
fn bodies_stream_in_both_directions() {
    let gate = Gate::new();
    let held = gate.clone();
    let lab = answering(move || {
        Answer::steps([
            Step::send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n"),
            Step::Wait(held.clone()),
            Step::ReadBody,
            Step::send("6\r\nsecond\r\n0\r\n\r\n"),
        ])
    });
    let mut client = lab.client();
    client.send("POST /case HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains("first") {
        got.extend(client.wire().some().expect("the first part comes before the request is complete"));
    }
    gate.open();
    client.send("3\r\ndef\r\n0\r\n\r\n");
    while !String::from_utf8_lossy(&got).contains("second") {
        got.extend(client.wire().some().expect("the rest comes"));
    }
    assert_eq!(lab.collect()[0].body, b"abcdef");
}

#[test]
fn a_client_that_does_not_read_stops_the_upstream() {
    let total = 64 << 20;
    let lab = answering(move || {
        Answer::steps([
            Step::ReadBody,
            Step::send(format!("HTTP/1.1 200 OK\r\ncontent-length: {total}\r\n\r\n")),
            Step::Fill(total),
        ])
    });
    let mut client = lab.client();
    client.send(GET);
    lab.upstream.wait("the upstream to stall", |c| c.iter().any(|c| c.stalled_at.is_some()));
    let stalled = lab.upstream.connections().iter().find_map(|c| c.stalled_at).unwrap_or(total);
    assert!(stalled < 24 << 20, "{stalled} bytes were taken before the client read one");
    assert_eq!(client.response("GET").expect("well formed").body.len() as u64, total);
}

#[test]
fn an_upstream_that_does_not_read_stops_the_client() {
    let gate = Gate::new();
    let held = gate.clone();
    let lab = answering(move || {
        Answer::steps([
            Step::Wait(held.clone()),
            Step::ReadBody,
            Step::send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        ])
    });
    let total = 64 << 20;
    let mut client = lab.client();
    client.send(format!("POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: {total}\r\n\r\n"));
    let quiet = Duration::from_millis(300);
    let written = client.wire().fill(total, quiet, |_| false).expect("the connection stays");
    assert!(written < 24 << 20, "{written} bytes were taken before the upstream read one");
    gate.open();
    client.wire().fill(total - written, quiet, |_| true).expect("the connection stays");
    assert_eq!(client.response("POST").expect("well formed").status, 200);
    assert_eq!(lab.collect()[0].body.len() as u64, total);
}

#[test]
fn trailers_pass_in_both_directions() {
    let lab = answering(|| {
        Answer::reply(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
        )
    });
    let answer = lab.exchange(
        "POST /case HTTP/1.1\r\nhost: a.test\r\nte: trailers\r\ntrailer: x-in\r\ntransfer-encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nx-in: 1\r\n\r\n",
    );
    assert_eq!((answer.text().as_str(), answer.trailers.get("x-sum")), ("ok", Some("7")));
    assert_eq!(lab.collect()[0].trailers.get("x-in"), Some("1"));
}

#[test]
fn a_body_waits_for_100_continue() {
    let lab = answering(|| {
        Answer::steps([
            Step::send("HTTP/1.1 100 Continue\r\n\r\n"),
            Step::ReadBody,
            Step::send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        ])
    });
    let mut client = lab.client();
    client.send("POST /case HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
    let interim = client.wire().some().expect("an interim answer");
    assert!(interim.starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&interim));
    client.send("abc");
    assert_eq!(client.response("POST").expect("well formed").status, 200);
    assert_eq!(lab.collect()[0].body, b"abc");
}

#[test]
fn an_expectation_that_is_refused_gets_no_body() {
    let lab = answering(|| Answer::early("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n"));
    let mut client = lab.client();
    client.send("POST /case HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
    assert_eq!(client.response("POST").expect("well formed").status, 417);
}

#[test]
fn interim_answers_do_not_end_the_request() {
    let lab = answering(|| {
        Answer::reply(
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        )
    });
    let answer = lab.exchange(GET);
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
}

#[test]
fn answers_without_a_body() {
    for (name, method, head, status, length) in [
        ("HEAD with a length", "HEAD", "200 OK\r\ncontent-length: 7", 200, Some("7")),
        ("HEAD without", "HEAD", "200 OK", 200, None),
        ("HEAD in chunks", "HEAD", "200 OK\r\ntransfer-encoding: chunked", 200, None),
        ("204", "GET", "204 No Content", 204, None),
        ("304", "GET", "304 Not Modified\r\netag: \"a\"", 304, None),
        ("200, empty", "GET", "200 OK\r\ncontent-length: 0", 200, Some("0")),
    ] {
        let lab = answering(move || Answer::reply(format!("HTTP/1.1 {head}\r\n\r\n")));
        let mut client = lab.client();
        for _ in 0..2 {
            let answer = client.exchange(format!("{method} /case HTTP/1.1\r\nhost: a.test\r\n\r\n"));
            assert_eq!((answer.status, answer.body.len()), (status, 0), "{name}");
            if length.is_some() || method != "HEAD" {
                assert_eq!(answer.header("content-length"), length, "{name}");
            }
        }
        assert_eq!(lab.collect().len(), 2, "{name}");
    }
}

#[test]
fn a_body_to_the_end_of_the_connection_passes() {
    let lab = answering(|| Answer::reply("HTTP/1.1 200 OK\r\n\r\nto the end").then(Step::Close));
    assert_eq!(lab.exchange(GET).text(), "to the end");
    let lab = answering(|| Answer::reply("HTTP/1.0 200 OK\r\n\r\nto the end").then(Step::Close));
    assert_eq!(lab.exchange(GET).text(), "to the end");
}

#[test]
fn a_body_to_the_end_that_is_reset_is_no_success() {
    let gate = Gate::new();
    let held = gate.clone();
    let lab = answering(move || {
        Answer::reply("HTTP/1.1 200 OK\r\n\r\nto the").then(Step::Wait(held.clone())).then(Step::Reset)
    });
    let mut client = lab.client();
    client.send(GET);
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains("to the") {
        got.extend(client.wire().some().expect("the beginning comes"));
    }
    gate.open();
    let (rest, end) = client.rest();
    got.extend(rest);
    let text = String::from_utf8_lossy(&got).into_owned();
    let chunked = text.contains("transfer-encoding: chunked");
    assert!(end == End::Broken || (chunked && !text.ends_with("0\r\n\r\n")), "{end:?} {text}");
}

fn websocket(lab: &Lab) -> RawClient {
    let mut client = lab.client();
    let answer = client.exchange(
        "GET /case HTTP/1.1\r\nhost: a.test\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert!(answer.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("upgrade")), "{answer:?}");
    assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client
}

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let lab = answering(|| Answer::steps([Step::send(SWITCH), Step::Echo]));
    let mut client = websocket(&lab);
    for size in [1, 100_000] {
        let bytes: Vec<u8> = (0..size).map(|i: u32| u8::try_from(i % 251).expect("less than 251")).collect();
        assert!(client.send(&bytes));
        assert_eq!(client.wire().exactly(bytes.len()).expect("echoed"), bytes);
    }
    client.half_close();
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
    lab.upstream.wait("the tunnel to end", |c| {
        c.iter().all(|c| c.finished || c.requests.iter().all(|r| r.target() != "/case"))
    });
    let request = &lab.upstream.requests()[0];
    assert_eq!(request.header("upgrade"), Some("websocket"));
    assert!(request.header("connection").is_some_and(|c| c.eq_ignore_ascii_case("upgrade")), "{request:?}");
}

#[test]
fn bytes_right_behind_the_101_are_part_of_the_tunnel() {
    let lab = answering(|| Answer::steps([Step::send(format!("{SWITCH}hello")), Step::Echo]));
    let mut client = websocket(&lab);
    assert_eq!(client.wire().exactly(5).expect("sent by the upstream"), b"hello");
}

#[test]
fn the_end_of_a_tunnel_passes_in_both_directions() {
    let lab = answering(|| Answer::steps([Step::send(SWITCH), Step::send("bye"), Step::Close]));
    let mut client = websocket(&lab);
    assert_eq!(client.rest().0, b"bye");

    let lab = answering(|| Answer::steps([Step::send(SWITCH), Step::UntilClosed]));
    websocket(&lab).reset();
    lab.upstream.wait("the tunnel to end", |c| c.iter().any(|c| c.finished));
}

#[test]
fn an_answer_of_101_that_nobody_asked_for_is_an_error() {
    let lab = answering(|| Answer::reply(SWITCH).then(Step::UntilClosed));
    assert_eq!(lab.exchange(GET).status, 502);
}

#[test]
fn an_upstream_may_answer_early() {
    let lab = answering(|| {
        Answer::early("HTTP/1.1 413 Content Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nbig")
            .then(Step::ReadBody)
            .then(Step::Close)
    });
    let mut client = lab.client();
    client.send("POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 100000\r\n\r\nabc");
    let answer = client.response("POST").expect("well formed");
    assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
    drop(client);
    assert!(lab.collect().iter().all(|r| r.state == State::CutOff));
}

#[test]
fn a_client_that_leaves_ends_the_request_upstream() {
    for (name, request, answer) in [
        ("before the answer", GET, Answer::steps([Step::UntilClosed])),
        (
            "inside the answer",
            GET,
            Answer::steps([
                Step::send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"),
                Step::UntilClosed,
            ]),
        ),
        (
            "inside the request",
            "POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\nabc",
            Answer::steps([Step::ReadBody, Step::UntilClosed]),
        ),
    ] {
        let lab = answering(move || answer.clone());
        for reset in [false, true] {
            let mut client = lab.client();
            client.send(request);
            lab.upstream.wait(name, |c| c.iter().any(|c| !c.finished && !c.requests.is_empty()));
            let left = Instant::now();
            if reset {
                client.reset();
            } else {
                drop(client);
            }
            lab.upstream.wait(name, |c| c.iter().all(|c| c.finished));
            assert!(left.elapsed() < Duration::from_secs(3), "{name}, reset: {reset}: {:?}", left.elapsed());
        }
    }
}

#[test]
fn an_answer_that_breaks_off_is_no_success() {
    for (name, answer) in [
        (
            "length, closed",
            Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").then(Step::Close),
        ),
        (
            "length, reset",
            Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").then(Step::Reset),
        ),
        (
            "chunks, closed",
            Answer::reply("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
                .then(Step::Close),
        ),
        (
            "chunks, reset",
            Answer::reply("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
                .then(Step::Reset),
        ),
        (
            "inside a chunk",
            Answer::reply("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nabc").then(Step::Close),
        ),
        (
            "inside the trailers",
            Answer::reply("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n")
                .then(Step::Close),
        ),
        (
            "bad chunk",
            Answer::reply("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzzz\r\n\r\n"),
        ),
    ] {
        let lab = answering(move || answer.clone());
        let mut client = lab.client();
        client.send(GET);
        match client.response("GET") {
            Ok(response) => assert!(response.status >= 500, "{name}: {response:?}"),
            Err(ReadError::CutOff(_) | ReadError::Broken(_) | ReadError::Closed) => {}
            Err(error) => panic!("{name}: {error}"),
        }
        lab.collect();
    }
}

#[test]
fn connections_stay_open_or_close_as_asked() {
    for (name, request, kept) in [
        ("1.1", "GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n", true),
        ("1.1 close", "GET /case HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n", false),
        (
            "1.1 Close in a list",
            "GET /case HTTP/1.1\r\nhost: a.test\r\nconnection: x-a, Close\r\n\r\n",
            false,
        ),
        ("1.0", "GET /case HTTP/1.0\r\nhost: a.test\r\n\r\n", false),
        ("1.0 keep-alive", "GET /case HTTP/1.0\r\nhost: a.test\r\nconnection: keep-alive\r\n\r\n", true),
    ] {
        let lab = answering(|| {
            Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
                .then(Step::Close)
        });
        let mut client = lab.client();
        for _ in 0..2 {
            let answer = client.exchange(request);
            assert_eq!(answer.text(), "ok", "{name}");
            let connection = answer.header("connection").unwrap_or_default().to_ascii_lowercase();
            assert_eq!(
                connection.contains("close") || (answer.minor == 0 && !connection.contains("keep-alive")),
                !kept,
                "{name}: {answer:?}"
            );
            if !kept {
                assert_eq!(client.rest(), (Vec::new(), End::Closed), "{name}");
                break;
            }
        }
    }
}

/// A 1.0 client knows no chunks.
#[test]
fn chunks_are_not_sent_to_a_1_0_client() {
    let lab = answering(|| {
        Answer::reply("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    });
    let answer = lab.exchange("GET /case HTTP/1.0\r\nhost: a.test\r\n\r\n");
    assert_eq!(answer.text(), "ok");
    assert!(!answer.headers.has("transfer-encoding"));
}

#[test]
fn hop_by_hop_fields_end_at_the_gateway() {
    let lab = answering(|| {
        Answer::reply(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x-up\r\nx-up: 1\r\nkeep-alive: timeout=5\r\n\
             proxy-authenticate: Basic\r\nx-stays: 1\r\n\r\nok",
        )
    });
    let answer = lab.exchange(
        "GET /case HTTP/1.1\r\nhost: a.test\r\nconnection: x-down, X-Other, keep-alive\r\nx-down: 1\r\nx-other: 2\r\n\
         keep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nproxy-authorization: Basic eA==\r\nte: gzip\r\n\
         upgrade: websocket\r\nx-stays: 1\r\n\r\n",
    );
    for name in ["x-up", "keep-alive"] {
        assert!(!answer.headers.has(name), "{name}: {answer:?}");
    }
    assert_eq!(answer.header("x-stays"), Some("1"));
    let request = &lab.collect()[0];
    let headers = request.headers();
    for name in ["x-down", "x-other", "keep-alive", "proxy-connection", "te", "upgrade"] {
        assert!(!headers.has(name), "{name}: {headers:?}");
    }
    assert_eq!(request.header("x-stays"), Some("1"));
}

/// Fields that rules and upstreams rely on cannot be taken away by naming them in `connection`.
#[test]
fn connection_cannot_name_fields_that_matter() {
    let lab = Lab::new();
    let seen = lab.observe(
        &["POST /case HTTP/1.1\r\nhost: a.test\r\nauthorization: x\r\ncookie: c\r\nx-forwarded-for: 192.0.2.1\r\n\
           connection: host, authorization, cookie, content-length, x-forwarded-for, x-forwarded-proto, x-request-id\r\n\
           content-length: 3\r\n\r\nabc"],
        "POST",
        1,
    );
    for request in &seen.requests {
        for name in ["host", "authorization", "x-forwarded-for", "x-forwarded-proto", "x-request-id"] {
            assert!(request.headers().has(name), "{name}: {request:?}");
        }
        assert_eq!(request.body, b"abc");
    }
}

#[test]
fn the_gateway_says_who_asked() {
    let lab = Lab::new();
    lab.exchange("GET /case HTTP/1.1\r\nhost: a.test:81\r\n\r\n");
    let request = &lab.collect()[0];
    assert_eq!(request.header("host"), Some("a.test:81"));
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.header("x-forwarded-proto"), Some("http"));
    assert_eq!(request.header("x-forwarded-host"), Some("a.test:81"));
    let id = request.header("x-request-id").expect("made by the gateway").to_owned();
    assert!(id.len() >= 16, "{id}");
    assert!(!request.headers().has("via"));
    lab.exchange("GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert_ne!(lab.collect()[0].header("x-request-id"), Some(id.as_str()));
}

/// At the edge nobody is trusted to say who the client was.
#[test]
fn what_a_client_says_about_itself_is_replaced() {
    let lab = Lab::new();
    lab.exchange(
        "GET /case HTTP/1.1\r\nhost: a.test\r\nx-forwarded-for: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n\
         x-forwarded-proto: https\r\nx-forwarded-host: evil.test\r\n\r\n",
    );
    let request = &lab.collect()[0];
    let chain = request.header("x-forwarded-for").expect("set by the gateway");
    assert!(chain.ends_with("127.0.0.1"), "{chain}");
    assert_eq!(request.header("x-forwarded-proto"), Some("http"));
    assert_eq!(request.header("x-forwarded-host"), Some("a.test"));
}

#[test]
fn a_pooled_connection_is_used_again() {
    let lab = Lab::new();
    for _ in 0..20 {
        assert_eq!(lab.exchange(GET).status, 200);
    }
    assert!(lab.upstream.connections().len() <= 2, "{} connections", lab.upstream.connections().len());
}

#[test]
fn a_connection_that_asks_to_close_is_not_used_again() {
    let lab =
        answering(|| Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"));
    for _ in 0..3 {
        assert_eq!(lab.exchange(GET).status, 200);
    }
    assert_eq!(lab.upstream.connections().len(), 3);
}

/// Bytes that nobody asked for are not the answer to the next request.
#[test]
fn a_connection_with_unasked_bytes_is_not_used_again() {
    let lab = answering(|| {
        Answer::reply(
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nx-target: stray\r\ncontent-length: 5\r\n\r\nstray",
        )
    });
    for _ in 0..3 {
        assert_eq!(lab.exchange(GET).text(), "ok");
        lab.collect();
    }
}
