//! The kit against itself: what the strict reader takes, and that upstreams follow their scripts.

use tidegate_testkit::{Answer, Authority, End, Gate, RawClient, ReadError, ScriptedUpstream, State, Step};

/// Sends the bytes to a scripted upstream and closes; what it made of them.
fn taken_as(bytes: &[u8]) -> Vec<(String, State)> {
    let upstream = ScriptedUpstream::plain();
    let mut client = RawClient::connect(upstream.address());
    client.send(bytes);
    client.half_close();
    client.rest();
    upstream.wait("the connection to end", |connections| connections.iter().all(|c| c.finished));
    upstream.requests().into_iter().map(|r| (r.target().to_owned(), r.state)).collect()
}

#[test]
fn the_reader_takes_well_formed_requests() {
    let cases: &[(&str, &str, &[&str])] = &[
        ("get", "GET /a HTTP/1.1\r\nhost: x\r\n\r\n", &["/a"]),
        ("length", "POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc", &["/a"]),
        (
            "chunks",
            "POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            &["/a"],
        ),
        (
            "trailers",
            "POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-sum: 1\r\n\r\n",
            &["/a"],
        ),
        ("two", "GET /a HTTP/1.1\r\nhost: x\r\n\r\nGET /b HTTP/1.1\r\nhost: x\r\n\r\n", &["/a", "/b"]),
        ("smuggled", "POST /a HTTP/1.1\r\nhost: x\r\n\r\nGET /b HTTP/1.1\r\nhost: x\r\n\r\n", &["/a", "/b"]),
    ];
    for (name, bytes, targets) in cases {
        let expected: Vec<_> = targets.iter().map(|t| ((*t).to_owned(), State::Complete)).collect();
        assert_eq!(taken_as(bytes.as_bytes()), expected, "{name}");
    }
}

#[test]
fn the_reader_refuses_what_has_two_readings() {
    let cases: &[(&str, &str)] = &[
        ("bare LF", "GET / HTTP/1.1\nhost: x\n\n"),
        ("bare CR", "GET / HTTP/1.1\r\nhost: x\r\na: b\rc: d\r\n\r\n"),
        ("fold", "GET / HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n"),
        ("space before colon", "GET / HTTP/1.1\r\nhost: x\r\na : b\r\n\r\n"),
        ("no colon", "GET / HTTP/1.1\r\nhost: x\r\na\r\n\r\n"),
        ("empty name", "GET / HTTP/1.1\r\nhost: x\r\n: b\r\n\r\n"),
        ("two hosts", "GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n"),
        ("no host", "GET / HTTP/1.1\r\n\r\n"),
        ("fragment", "GET /#a HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("absolute form", "GET http://x/ HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("version", "GET / HTTP/1.2\r\nhost: x\r\n\r\n"),
        (
            "length and coding",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        ("two lengths", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc"),
        ("signed length", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: +3\r\n\r\nabc"),
        ("coding", "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n"),
        ("coding in 1.0", "POST / HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        (
            "long chunk",
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        ),
        (
            "extension",
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;a\r\nb\r\n0\r\n\r\n",
        ),
        (
            "framing trailer",
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\ncontent-length: 1\r\n\r\n",
        ),
    ];
    for (name, bytes) in cases {
        let taken = taken_as(bytes.as_bytes());
        assert!(matches!(taken.as_slice(), [(_, State::Malformed(_))]), "{name}: {taken:?}");
    }
}

#[test]
fn a_request_that_ends_early_is_cut_off() {
    for bytes in [
        "GET / HT",
        "GET / HTTP/1.1\r\nhost: x\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let taken = taken_as(bytes.as_bytes());
        assert!(matches!(taken.as_slice(), [(_, State::CutOff)]), "{bytes:?}: {taken:?}");
    }
}

#[test]
fn a_script_is_followed() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = ScriptedUpstream::start(move |call| match call.head.target.as_str() {
        "/pieces" => Answer::pieces(["HTTP/1.1 200 OK\r\ncontent-le", "ngth: 2\r\n\r\n", "ok"]),
        "/interim" => Answer::steps([
            Step::send("HTTP/1.1 100 Continue\r\n\r\n"),
            Step::ReadBody,
            Step::send("HTTP/1.1 204 No Content\r\n\r\n"),
        ]),
        "/gate" => Answer::steps([
            Step::Wait(held.clone()),
            Step::send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-t: 1\r\n\r\n"),
        ]),
        "/echo" => Answer::steps([
            Step::send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
            Step::Echo,
        ]),
        "/cut" => Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc").then(Step::Close),
        _ => Answer::steps([Step::Reset]),
    });
    let mut client = RawClient::connect(upstream.address());
    assert_eq!(client.exchange("GET /pieces HTTP/1.1\r\nhost: x\r\n\r\n").body, b"ok");
    let answer = client.exchange("POST /interim HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\na");
    assert_eq!((answer.interim.as_slice(), answer.status), ([100].as_slice(), 204));
    client.send("GET /gate HTTP/1.1\r\nhost: x\r\n\r\n");
    gate.open();
    assert_eq!(client.response("GET").expect("well formed").trailers.get("x-t"), Some("1"));
    assert_eq!(client.exchange("GET /echo HTTP/1.1\r\nhost: x\r\n\r\n").status, 101);
    client.send("hello");
    assert_eq!(client.wire().exactly(5).expect("echoed"), b"hello");

    let mut client = RawClient::connect(upstream.address());
    client.send("GET /cut HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(matches!(client.response("GET"), Err(ReadError::CutOff(_))));
    let mut client = RawClient::connect(upstream.address());
    client.send("GET /reset HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(client.rest().1, End::Broken);
    assert_eq!(upstream.connections().len(), 3);
}

#[test]
fn a_stalled_reader_is_noticed() {
    let upstream = ScriptedUpstream::start(|_| {
        Answer::steps([
            Step::send("HTTP/1.1 200 OK\r\ncontent-length: 67108864\r\n\r\n"),
            Step::Fill(64 << 20),
        ])
    });
    let mut client = RawClient::connect(upstream.address());
    client.send("GET / HTTP/1.1\r\nhost: x\r\n\r\n");
    upstream.wait("the stall", |connections| connections.iter().any(|c| c.stalled_at.is_some()));
    assert_eq!(client.response("GET").expect("well formed").body.len(), 64 << 20);
}

#[test]
fn tls_with_a_test_authority() {
    let authority = Authority::new();
    let certificate = authority.issue(&["a.test"]);
    let upstream = ScriptedUpstream::start_tls(certificate.server_config(&["http/1.1"]), |_| {
        Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    });
    let connect = |name| RawClient::connect_tls(upstream.address(), &authority, name, &["h2", "http/1.1"]);
    let mut client = connect("a.test").expect("trusted");
    assert_eq!(client.alpn().as_deref(), Some("http/1.1"));
    assert_eq!(client.certificates(), vec![certificate.leaf()]);
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").body, b"ok");
    assert!(connect("b.test").is_err());
}
