//! One HTTP/1 connection of a client, from request to request: what follows what, what is read ahead, and how it ends.

use std::time::Duration;

use tidegate_testkit::{
    Answer, End, Gate, LogFile, RawClient, ScriptedUpstream, State, Step, TestGateway, fill,
};
use tidegate_wire::Lab;

const GET: &str = "GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n";
const AFTER: &str = "GET /admin/after HTTP/1.1\r\nhost: a.test\r\n\r\n";

/// `/case` gets this answer, everything else an ordinary one.
fn answering(answer: Answer) -> Lab {
    Lab::scripted(move |call| match call.head.target.as_str() {
        "/case" => answer.clone(),
        target => {
            Answer::reply(format!("HTTP/1.1 200 OK\r\nx-target: {target}\r\ncontent-length: 2\r\n\r\nok"))
        }
    })
}

/// What cannot be read is a request too: it has a status, a reason, a line in the log and a place in the metrics.
#[test]
fn unreadable_requests_are_logged_and_counted() {
    let (upstream, log) = (ScriptedUpstream::plain(), LogFile::default());
    let gateway = TestGateway::start(&fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http, limits: { headerBytes: 4KiB } }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
accessLog: { path: '${log}' }
",
        &[("up", &upstream.address()), ("log", &log.path().display())],
    ));
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(5_000));
    let large = format!("GET /large HTTP/1.1\r\nhost: a.test\r\nx: {}\r\n\r\n", "x".repeat(5_000));
    let rows: [(&str, u16, &str, &str, &str); 7] = [
        ("GET /bad HTTP/1.1\r\nhost: a.test\r\nx : y\r\n\r\n", 400, "malformed", "GET", "/bad"),
        ("nonsense\r\n\r\n", 400, "malformed", "-", "*"),
        ("GET /old HTTP/0.9\r\n\r\n", 400, "malformed", "-", "*"),
        ("GET /a#b HTTP/1.1\r\nhost: a.test\r\n\r\n", 400, "path", "-", "*"),
        (
            "PUT /two HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
            "framing",
            "PUT",
            "/two",
        ),
        (&long, 414, "target_too_long", "GET", "/xxxxxxx"),
        (&large, 431, "head_too_large", "GET", "/large"),
    ];
    for (bytes, status, reason, _, _) in rows {
        let counted =
            |reason: &str| gateway.metric("tidegate_request_failures_total", &format!("reason=\"{reason}\""));
        let before = counted(reason);
        let mut client = RawClient::connect(gateway.address("web"));
        client.send(bytes);
        let answer = client.response("GET").expect("an answer");
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{bytes:.40}");
        assert!(answer.header("date").is_some() && !answer.body.is_empty(), "{answer:?}");
        assert_eq!(client.rest(), (Vec::new(), End::Closed), "{bytes:.40}");
        assert!((counted(reason) - before - 1.0).abs() < 0.1, "{reason}");
    }
    let lines = log.lines(rows.len());
    for ((bytes, status, reason, method, path), line) in rows.iter().zip(&lines) {
        for part in [
            format!("\"method\":\"{method}\""),
            format!("\"path\":\"{path}"),
            format!("\"status\":{status}"),
            format!("\"reason\":\"{reason}\""),
        ] {
            assert!(line.contains(&part), "{bytes:.40}: no {part} in {line}");
        }
    }
    assert!(upstream.requests().is_empty());
}

/// RFC 9110, 6.5: whoever takes chunks takes trailers, announced or not.
#[test]
fn trailers_need_no_announcement() {
    let lab = answering(Answer::reply(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\ncontent-length: 9\r\n\r\n",
    ));
    for te in ["", "te: trailers\r\n"] {
        let answer = lab.exchange(format!(
            "POST /case HTTP/1.1\r\nhost: a.test\r\n{te}transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx-in: 1\r\nhost: b\r\n\r\n"
        ));
        assert_eq!((answer.text().as_str(), answer.trailers.get("x-sum")), ("ok", Some("7")), "{te}");
        assert!(!answer.trailers.has("content-length"), "{te}");
        let request = lab.collect().remove(0);
        assert_eq!(request.trailers.get("x-in"), Some("1"), "{te}");
        assert!(!request.trailers.has("host"), "{te}");
    }
}

/// A client that waits for `100 Continue` and gets an answer instead may send its body or not: nothing can follow.
#[test]
fn an_answer_instead_of_continue_is_the_last_one() {
    let lab = Lab::new();
    let head = "POST /admin/x HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
    let mut client = lab.client();
    client.send(head);
    let answer = client.response("POST").expect("no interim answer");
    assert_eq!((answer.status, answer.header("connection")), (403, Some("close")));
    client.send(AFTER);
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
    // One that has sent its body already does not wait.
    let mut client = lab.client();
    client.send(format!("{head}abc"));
    let answer = client.response("POST").expect("no interim answer");
    assert_eq!((answer.status, answer.header("connection")), (403, None));
    assert_eq!(client.exchange(AFTER).header("x-guard"), Some("after"));
    let mut client = lab.client();
    client.send(format!("{}abc", head.replace("/admin/x", "/case")));
    assert_eq!(client.response("POST").expect("no interim answer").status, 200);
    assert_eq!(lab.collect()[0].body, b"abc");
}

/// A body that nobody wants is passed over while it is short; else the connection ends, and the client can read why.
#[test]
fn a_body_that_nobody_wants_does_not_hide_the_answer() {
    let lab = Lab::new();
    let head =
        |length: usize| format!("POST /admin/x HTTP/1.1\r\nhost: a.test\r\ncontent-length: {length}\r\n\r\n");
    let mut client = lab.client();
    client.send(format!("{}{}", head(1000), "x".repeat(1000)));
    assert_eq!(client.response("POST").expect("well formed").status, 403);
    assert_eq!(client.exchange(AFTER).header("x-guard"), Some("after"));
    for length in [400_000, 1 << 30] {
        let mut client = lab.client();
        client.send(head(length));
        client.send("x".repeat(400_000));
        let answer = client.response("POST").expect("the answer comes through");
        assert_eq!((answer.status, answer.header("x-guard")), (403, Some("admin")), "{length}");
        assert_eq!(client.rest(), (Vec::new(), End::Closed), "{length}");
    }
    assert!(lab.collect().is_empty());
}

/// The beginning of the next request, read while one is served, is not lost and not in a hurry.
#[test]
fn half_a_request_may_come_ahead() {
    let gate = Gate::new();
    let lab = answering(Answer::steps([
        Step::Wait(gate.clone()),
        Step::send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ]));
    let mut client = lab.client();
    client.send(format!("{GET}GET /next HTTP/1.1\r\nho"));
    lab.upstream.wait("the request", |c| c.iter().any(|c| !c.requests.is_empty()));
    gate.open();
    assert_eq!(client.response("GET").expect("well formed").text(), "ok");
    // Longer than an idle connection keeps its buffers.
    std::thread::park_timeout(Duration::from_millis(100));
    client.send("st: a.test\r\n\r\n");
    assert_eq!(client.response("GET").expect("well formed").header("x-target"), Some("/next"));
    std::thread::park_timeout(Duration::from_millis(100));
    assert_eq!(client.exchange(AFTER).status, 403);
}

/// What a client sends ahead is not piled up.
#[test]
fn little_is_read_ahead() {
    let gate = Gate::new();
    let lab = answering(Answer::steps([
        Step::Wait(gate.clone()),
        Step::send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
    ]));
    let mut client = lab.client();
    client.send(GET);
    lab.upstream.wait("the request", |c| c.iter().any(|c| !c.requests.is_empty()));
    let total = 64 << 20;
    let written =
        client.wire().fill(total, Duration::from_millis(300), |_| false).expect("the connection stays");
    assert!(written < 24 << 20, "{written} bytes were taken while a request was served");
    gate.open();
    assert_eq!(client.response("GET").expect("well formed").status, 200);
    // What came behind it is no request line.
    assert_eq!(client.response("GET").expect("well formed").status, 414);
}

/// Bytes behind an upgrade request are the new protocol's, once the server has agreed.
#[test]
fn bytes_ahead_of_a_tunnel_pass() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: x-echo\r\n\r\n";
    let lab = answering(Answer::steps([Step::send(switch), Step::Echo]));
    let mut client = lab.client();
    client.send("GET /case HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: x-echo\r\n\r\nearly");
    assert_eq!(client.response("GET").expect("well formed").status, 101);
    client.send(" and late");
    assert_eq!(client.wire().exactly(14).expect("echoed"), b"early and late");
    client.half_close();
    assert_eq!(client.rest(), (Vec::new(), End::Closed));
}

/// An answer that ends before its request does: what is left of the request is read on while the server takes it.
#[test]
fn an_answer_may_end_before_its_request() {
    let lab = answering(Answer::early("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").then(Step::ReadBody));
    let mut client = lab.client();
    client.send("POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 6\r\n\r\nabc");
    assert_eq!(client.response("POST").expect("well formed").status, 200);
    client.send(format!("def{AFTER}"));
    // Whether the rest came in time decides; it is never taken for a request.
    let (rest, _) = client.rest();
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(rest.is_empty() || rest.contains("x-guard: after"), "{rest}");
    assert!(lab.collect().iter().all(|r| r.target() == "/case" && r.state != State::Started));
}

/// Dates are in the form that RFC 9110 wants, and an upstream's own stays.
#[test]
fn answers_have_a_date() {
    let lab = Lab::new();
    let answer = lab.exchange(GET);
    let date = answer.header("date").expect("a date").to_owned();
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    let own = "Sun, 06 Nov 1994 08:49:37 GMT";
    let lab =
        answering(Answer::reply(format!("HTTP/1.1 200 OK\r\ndate: {own}\r\ncontent-length: 2\r\n\r\nok")));
    assert_eq!(lab.exchange(GET).headers.all("date"), [own]);
}
