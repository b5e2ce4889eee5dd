//! Interim answers of servers (1xx, RFC 9110, 15.2) on their way to clients, over both versions of HTTP on both sides.

use tidegate_testkit::message::read_response_head;
use tidegate_testkit::{
    Answer, ByteServer, Fate, Fields, Frame, Frames, Gate, Http2Client, Http2Options, Http2Upstream, LogFile,
    RawClient, ScriptedUpstream, Step, TestGateway, Wire, fill, flag, kind,
};
use tidegate_wire::Lab;

const GET: &str = "GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";

/// A gateway in front of these servers, and its log.
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

/// Heads up to the final one: status and fields.
fn heads(client: &mut RawClient) -> Vec<(u16, Fields)> {
    let mut heads = Vec::new();
    loop {
        let (status, _, fields) = read_response_head(client.wire()).expect("a head");
        heads.push((status, fields));
        if status >= 200 {
            return heads;
        }
    }
}

fn statuses(heads: &[(u16, Fields)]) -> Vec<u16> {
    heads.iter().map(|(status, _)| *status).collect()
}

/// A server of HTTP/1 that goes on when the gate opens.
fn hinting() -> (ScriptedUpstream, Gate) {
    let gate = Gate::new();
    let held = gate.clone();
    let server = ScriptedUpstream::start(move |_| {
        Answer::steps([Step::send(HINTS), Step::Wait(held.clone()), Step::ReadBody, Step::send(OK)])
    });
    (server, gate)
}

const HINT: &[(u16, &[(&str, &str)])] = &[(103, &[("link", "</a.css>; rel=preload")])];

fn hinting_http2() -> Http2Upstream {
    Http2Upstream::start(Http2Options { held: true, interim: HINT, ..Http2Options::default() })
}

/// The client has them before there is an answer: over HTTP/1 and over HTTP/2, from servers of either.
#[test]
fn they_are_passed_on_at_once() {
    let (server, gate) = hinting();
    let (gateway, log) = gateway(&[server.address().to_string()], "", "");
    let mut client = RawClient::connect(gateway.address("web"));
    client.send(GET);
    let (status, _, fields) = read_response_head(client.wire()).expect("hints");
    assert_eq!((status, fields.get("link")), (103, Some("</a.css>; rel=preload")));
    assert_eq!((fields.get("date"), fields.get("content-length")), (None, None));
    gate.open();
    assert_eq!(client.response("GET").expect("an answer").text(), "ok");
    assert!(log.lines(1)[0].contains(r#""interim":1"#), "{:?}", log.lines(1));

    let (server, gate) = hinting();
    let (gateway, log) = self::gateway(&[server.address().to_string()], "", "");
    let mut client = Http2Client::connect(gateway.address("web"));
    let answer = client.get_hearing("a.test", "/case", &[], |_| gate.open());
    assert_eq!((answer.status, answer.text().as_str(), answer.interim.len()), (200, "ok", 1));
    assert_eq!(answer.interim[0].1["link"], "</a.css>; rel=preload");
    assert!(log.lines(1)[0].contains(r#""interim":1"#), "{:?}", log.lines(1));

    let server = hinting_http2();
    let (gateway, _log) = self::gateway(&[server.address().to_string()], "", "protocol: http2");
    let mut client = RawClient::connect(gateway.address("web"));
    client.send(GET);
    let (status, _, fields) = read_response_head(client.wire()).expect("hints");
    assert_eq!((status, fields.get("link")), (103, Some("</a.css>; rel=preload")));
    server.answer();
    assert_eq!(client.response("GET").expect("an answer").text(), "ok");

    let server = hinting_http2();
    let (gateway, _log) = self::gateway(&[server.address().to_string()], "", "protocol: http2");
    let mut client = Http2Client::connect(gateway.address("web"));
    let answer = client.get_hearing("a.test", "/case", &[], |_| server.answer());
    assert_eq!((answer.status, answer.text().as_str(), answer.interim.len()), (200, "ok", 1));
    assert_eq!(answer.interim[0].1["link"], "</a.css>; rel=preload");
}

/// In their order, without what is for one connection only; what they say of a body frames nothing.
#[test]
fn several_come_in_order_and_clean() {
    let script = |_: &tidegate_testkit::Call<'_>| {
        Answer::reply(
            "HTTP/1.1 102 Processing\r\nconnection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: 5\r\nx-end: 1\r\n\r\n\
             HTTP/1.1 103 Early Hints\r\ncontent-length: 7\r\nlink: </a>\r\nlink: </b>\r\n\r\n\
             HTTP/1.1 103 Hints\r\ntransfer-encoding: chunked\r\nupgrade: x\r\nserver: s\r\n\r\n\
             HTTP/1.1 199 Mine\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        )
    };
    let lab = Lab::scripted(script);
    let mut client = lab.client();
    // The server's connection and the client's are used again.
    for _ in 0..2 {
        client.send(GET);
        let heads = heads(&mut client);
        assert_eq!(statuses(&heads), [102, 103, 103, 199, 200]);
        for (status, fields) in &heads[..4] {
            for name in
                ["connection", "x-hop", "keep-alive", "content-length", "transfer-encoding", "upgrade"]
            {
                assert_eq!(fields.get(name), None, "{status}: {name}");
            }
        }
        assert_eq!((heads[0].1.get("x-end"), heads[1].1.all("link").len()), (Some("1"), 2));
        assert_eq!(client.wire().exactly(2).expect("the body"), b"ok");
    }
    assert_eq!(lab.upstream.connections().len(), 1);

    let mut client = Http2Client::connect(lab.gateway.address("web"));
    let answer = client.get("a.test", "/case", &[]);
    let interim: Vec<u16> = answer.interim.iter().map(|(status, _)| *status).collect();
    assert_eq!((interim, answer.text().as_str()), (vec![102, 103, 103, 199], "ok"));
    assert!(answer.interim.iter().all(|(_, fields)| !fields.contains_key("content-length")));
}

/// Clients of HTTP/1.0 know none.
#[test]
fn http10_gets_the_answer_only() {
    let lab = Lab::scripted(|_| Answer::reply(format!("{HINTS}{OK}")));
    let mut client = lab.client();
    client.send("GET /case HTTP/1.0\r\nhost: a.test\r\n\r\n");
    assert_eq!(statuses(&heads(&mut client)), [200]);
}

/// The gateway answers an expectation itself, once; what a server says of bodies it says to the gateway.
#[test]
fn a_100_is_the_gateways_own() {
    let hundred = "HTTP/1.1 100 Continue\r\n\r\n";
    let lab = Lab::scripted(move |_| {
        Answer::steps([
            Step::send(format!("{hundred}{HINTS}{hundred}")),
            Step::ReadBody,
            Step::send(format!("{hundred}{OK}")),
        ])
    });
    let mut client = lab.client();
    client.send("POST /case HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
    let mut seen = Vec::new();
    while !seen.contains(&100) {
        seen.push(read_response_head(client.wire()).expect("an interim answer").0);
    }
    client.send("abc");
    seen.extend(statuses(&heads(&mut client)));
    seen.sort_unstable();
    assert_eq!(seen, [100, 103, 200]);

    let mut client = lab.client();
    client.send("POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\nabc");
    assert_eq!(statuses(&heads(&mut client)), [103, 200], "it has not asked for one");
}

/// Over HTTP/2 too, whichever task reads the body.
#[test]
fn an_expectation_is_met_over_http2() {
    let (first, second) = (ScriptedUpstream::plain(), Http2Upstream::start(Http2Options::default()));
    for (server, upstream) in [(first.address(), ""), (second.address(), "protocol: http2")] {
        let (gateway, _log) = gateway(&[server.to_string()], "", upstream);
        let mut client = Frames::connect(gateway.address("web"), &[]);
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/case"),
            (":authority", "a.test"),
            ("expect", "100-continue"),
        ];
        client.send(&Frame::headers(1, &fields, false));
        let told = next_head(&mut client);
        assert_eq!((told.stream, told.flags), (1, flag::END_HEADERS), "{upstream}");
        client.send(&Frame::data(1, b"abc", true));
        assert_eq!(client.fate(1), Fate::Answered(200, b"ok".to_vec()), "{upstream}");
    }
}

fn next_head(client: &mut Frames) -> Frame {
    loop {
        let frame = client.read().expect("a head");
        if frame.kind == kind::HEADERS {
            return frame;
        }
    }
}

/// They do not wait for the rest of the request, nor for a filter that holds it.
#[test]
fn they_come_while_the_request_is_on_its_way() {
    const HOLDS: &str = r#"(module (memory (export "memory") 1)
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "malloc") (param i32) (result i32) (i32.const 30000))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (i32.const 0))
        (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) (i32.eqz (local.get 2))))"#;
    for filters in ["", "filters: [{ plugin: guest }],"] {
        let server = ScriptedUpstream::start(|_| {
            Answer::steps([Step::send(HINTS), Step::ReadBody, Step::send(format!("{HINTS}{OK}"))])
        });
        let yaml = fill(
            "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins: { guest: { module: guest.wat } }
routes: [{ name: r, rules: [{ ${filters} forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${server}'] } }
",
            &[("server", &server.address()), ("filters", &filters)],
        );
        let gateway = TestGateway::start_with(&yaml, &[("guest.wat", HOLDS.as_bytes())]);
        let mut client = RawClient::connect(gateway.address("web"));
        client.send("POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 6\r\n\r\nabc");
        assert_eq!(read_response_head(client.wire()).expect("hints").0, 103, "{filters}");
        client.send("def");
        assert_eq!(statuses(&heads(&mut client)), [103, 200], "{filters}");
        assert_eq!(server.requests()[0].body, b"abcdef");

        let mut client = Frames::connect(gateway.address("web"), &[]);
        let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/case"), (":authority", "a.test")];
        client.send_all(&[Frame::headers(1, &fields, false), Frame::data(1, b"abc", false)]);
        assert_eq!(next_head(&mut client).flags, flag::END_HEADERS, "the stream does not end with it");
        client.send(&Frame::data(1, b"def", true));
        assert_eq!(client.fate(1), Fate::Answered(200, b"ok".to_vec()));
    }
}

/// A server that has something else in mind: 502, and its connection is not used again.
#[test]
fn what_is_no_interim_answer_is_refused() {
    let many = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(200);
    let large = format!("HTTP/1.1 103 Early Hints\r\nx: {}\r\n\r\n", "a".repeat(60_000)).repeat(3);
    let rows: [(&str, String); 9] = [
        ("no colon", "HTTP/1.1 103 Early Hints\r\nlink\r\n\r\n".into()),
        ("another version", "HTTP/2.0 103 Early Hints\r\n\r\n".into()),
        ("a bare line feed", "HTTP/1.1 103 Early Hints\nlink: a\r\n\r\n".into()),
        ("a length that is none", "HTTP/1.1 103 Early Hints\r\ncontent-length: -1\r\n\r\n".into()),
        ("two framings", "HTTP/1.1 103 x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n".into()),
        ("a body", "HTTP/1.1 103 Early Hints\r\ncontent-length: 3\r\n\r\nabc".into()),
        ("a protocol that nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n".into()),
        ("too many", many),
        ("too large", large),
    ];
    for (name, bytes) in rows {
        let lab = Lab::scripted(move |_| Answer::reply(format!("{bytes}{OK}")));
        let mut client = lab.client();
        let answer = client.exchange(GET);
        assert_eq!(answer.status, 502, "{name}");
        assert!(answer.interim.len() <= 100, "{name}: {}", answer.interim.len());
        client.exchange(GET);
        assert_eq!(lab.upstream.connections().len(), 2, "{name}");
    }
}

/// A server that sends them without an end, as long as the gateway takes them: it is left at once.
#[test]
fn a_server_without_an_end_is_left() {
    const ENDLESS: &[(u16, &[(&str, &str)])] = &[(103, &[("link", "</a.css>")] as &[_]); 1000];
    let server = Http2Upstream::start(Http2Options { interim: ENDLESS, ..Http2Options::default() });
    let (gateway, log) = gateway(&[server.address().to_string()], "", "protocol: http2");
    let mut client = RawClient::connect(gateway.address("web"));
    client.send(GET);
    let heads = heads(&mut client);
    assert_eq!((heads.len(), heads.last().map(|(status, _)| *status)), (101, Some(502)));
    let line = &log.lines(1)[0];
    assert!(line.contains(r#""interim":100"#) && line.contains(r#""reason":"upstream_garbage""#), "{line}");
}

/// After them there may be nothing more.
#[test]
fn an_end_after_them_is_no_answer() {
    let lab = Lab::scripted(|_| Answer::reply(HINTS).then(Step::Close));
    let mut client = lab.client();
    let answer = client.exchange("POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n");
    assert_eq!((answer.interim, answer.status), (vec![103], 502));
    let answer = client.exchange(GET);
    assert_eq!((answer.interim, answer.status), (vec![103, 103], 502), "an attempt more, and its hints");
}

/// Hints of an attempt that fails are with the client already; the next attempt may bring others.
#[test]
fn attempts_that_are_repeated_have_their_own() {
    let server = ScriptedUpstream::start(|call| match call.overall {
        0 => Answer::reply(format!("{HINTS}HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")),
        _ => Answer::reply(format!("{HINTS}{OK}")),
    });
    let rule = "retries: { attempts: 1, on: [503], backoff: { base: 0ms, max: 0ms } }";
    let (gateway, log) = gateway(&[server.address().to_string()], rule, "");
    let mut client = RawClient::connect(gateway.address("web"));
    client.send(GET);
    assert_eq!(statuses(&heads(&mut client)), [103, 103, 200]);
    assert!(log.lines(1)[0].contains(r#""interim":2"#), "{:?}", log.lines(1));

    let gate = Gate::new();
    let slow = gate.clone();
    let server = ScriptedUpstream::start(move |call| match call.overall {
        0 => Answer::steps([Step::ReadBody, Step::send(HINTS), Step::Wait(slow.clone())]),
        _ => Answer::reply(format!("{HINTS}{OK}")),
    });
    let (gateway, log) =
        self::gateway(&[server.address().to_string()], "retries: { hedge: { after: 20ms } }", "");
    let mut client = RawClient::connect(gateway.address("web"));
    client.send(GET);
    assert_eq!(statuses(&heads(&mut client)), [103, 103, 200], "of both attempts");
    assert!(log.lines(1)[0].contains(r#""interim":2"#), "{:?}", log.lines(1));
    gate.open();
}

/// Before the other protocol there may be hints too.
#[test]
fn an_upgrade_may_have_them() {
    let lab = Lab::scripted(|_| {
        Answer::steps([
            Step::send(HINTS),
            Step::send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
            Step::Echo,
        ])
    });
    let mut client = lab.client();
    client.send("GET /case HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    for expected in [103, 101] {
        assert_eq!(read_response_head(client.wire()).expect("a head").0, expected);
    }
    client.send("ping");
    assert_eq!(client.wire().exactly(4).expect("an echo"), b"ping");
}

/// Reads frames up to the next request and tells its stream.
fn request(wire: &mut Wire) -> u32 {
    loop {
        let head = wire.exactly(9).expect("a frame");
        wire.exactly(u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize).expect("its payload");
        if head[3] == kind::HEADERS {
            return u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        }
    }
}

/// A server of HTTP/2 that answers the only request with these frames, and then closes or waits.
fn framed(frames: fn(u32) -> Vec<Frame>, closes: bool) -> Vec<u16> {
    let server = ByteServer::start();
    let (gateway, _log) =
        gateway(&[server.address().to_string()], "retries: { attempts: 0 }", "protocol: http2");
    let mut client = RawClient::connect(gateway.address("web"));
    client.send(GET);
    let mut wire = server.accept();
    wire.exactly(24).expect("a preface");
    wire.send(&Frame::settings(&[]).bytes()).expect("the gateway reads");
    let stream = request(&mut wire);
    wire.send(&frames(stream).iter().flat_map(Frame::bytes).collect::<Vec<_>>()).expect("the gateway reads");
    let wire = (!closes).then_some(wire);
    let seen = statuses(&heads(&mut client));
    drop(wire);
    seen
}

#[test]
fn over_http2_what_is_no_interim_answer_is_refused() {
    type Row = (&'static str, fn(u32) -> Vec<Frame>, bool, &'static [u16]);
    let rows: [Row; 7] = [
        ("in order", |s| vec![head(s, "103", false), head(s, "200", true)], false, &[103, 200]),
        ("the end of the stream", |s| vec![head(s, "103", true)], false, &[103, 502]),
        ("the end of the connection", |s| vec![head(s, "103", false)], true, &[103, 502]),
        ("a reset", |s| vec![head(s, "103", false), Frame::reset(s, 2)], false, &[103, 502]),
        ("data", |s| vec![head(s, "103", false), Frame::data(s, b"a", false)], false, &[103, 502]),
        ("101, which HTTP/2 has not", |s| vec![head(s, "101", false)], false, &[502]),
        (
            "a field that HTTP/2 has not",
            |s| vec![Frame::headers(s, &[(":status", "103"), ("connection", "close")], false)],
            false,
            &[502],
        ),
    ];
    for (name, frames, closes, expected) in rows {
        let seen = framed(frames, closes);
        // What comes with its end may not be seen any more.
        let fits = seen == expected || (expected.len() == 2 && expected[1] == 502 && seen == [502]);
        assert!(fits, "{name}: {seen:?}");
    }
}

fn head(stream: u32, status: &str, end: bool) -> Frame {
    Frame::headers(stream, &[(":status", status)], end)
}

/// A client that takes nothing stops nobody, and what waits for it is bounded.
#[test]
fn a_client_that_reads_nothing_gets_them_with_the_answer() {
    let hints = format!("HTTP/1.1 103 Early Hints\r\nx: {}\r\n\r\n", "a".repeat(1000)).repeat(99);
    let lab = Lab::scripted(move |_| Answer::reply(format!("{hints}{OK}")));
    let mut client = RawClient::connect_narrow(lab.gateway.address("web"));
    client.send(GET);
    lab.upstream.wait("the answer to be sent", |c| c.iter().any(|c| !c.requests.is_empty()));
    let heads = heads(&mut client);
    assert_eq!((heads.len(), heads[99].0), (100, 200));
    assert_eq!(client.wire().exactly(2).expect("the body"), b"ok");
}

/// What a server says before it is asked is not for whoever asks next.
#[test]
fn one_that_nobody_asked_for_reaches_nobody() {
    let lab = Lab::scripted(|call| match call.head.target.as_str() {
        "/case" => Answer::reply(format!("{OK}{HINTS}")),
        _ => Answer::reply(OK),
    });
    for _ in 0..3 {
        assert!(lab.exchange(GET).interim.is_empty());
        let answer = lab.exchange("GET /other HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert_eq!((answer.interim.len(), answer.text().as_str()), (0, "ok"));
    }
}

/// Of a hundred `100` none is passed on, and they are as bounded as all others.
#[test]
fn endless_100s_are_refused() {
    let hundreds = "HTTP/1.1 100 Continue\r\n\r\n".repeat(101);
    let lab = Lab::scripted(move |_| Answer::reply(format!("{hundreds}{OK}")));
    let answer = lab.exchange(GET);
    assert_eq!((answer.interim, answer.status), (vec![], 502));
}

/// Behind an expectation there may be its body and the next request at once.
#[test]
fn a_client_that_does_not_wait_is_told_nothing() {
    let lab = Lab::scripted(|_| Answer::reply(OK));
    let head = "POST /case HTTP/1.1\r\nhost: a.test\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
    let mut client = lab.client();
    client.send(format!("{head}abc{GET}{head}"));
    for _ in 0..2 {
        let answer = client.response("POST").expect("an answer");
        assert_eq!((answer.interim, answer.status), (vec![], 200));
    }
    assert_eq!(read_response_head(client.wire()).expect("it waits now").0, 100);
    client.send("abc");
    assert_eq!(client.response("POST").expect("an answer").status, 200);
    let bodies: Vec<_> = lab.upstream.requests().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies, [&b"abc"[..], b"", b"abc"]);
}

/// A stream that expects and is over, or is answered without its body, is told nothing; another expectation is refused.
#[test]
fn expectations_over_http2_that_are_not_met() {
    let yaml = "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ respond: { status: 204 } }] }]
";
    let gateway = TestGateway::start(yaml);
    let fields = |expect: &'static str| {
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/case"),
            (":authority", "a.test"),
            ("expect", expect),
        ]
    };
    for (expect, over) in [("100-continue", true), ("100-continue", false), ("200-ok", false)] {
        let mut client = Frames::connect(gateway.address("web"), &[]);
        client.send(&Frame::headers(1, &fields(expect), over));
        let head = next_head(&mut client);
        // The only head, and the end of the stream, or a body of the gateway's own words behind it.
        let only = head.flags & flag::END_STREAM != 0;
        assert_eq!(only, expect == "100-continue", "{expect}: {head:?}");
        if !only {
            assert!(head.payload.first().is_some_and(|first| *first == 0x8c), "400: {head:?}");
        }
    }
}

/// A client that takes its request back after the hints, or has no window: neither stops others.
#[test]
fn streams_that_end_after_them() {
    let server = hinting_http2();
    let (gateway, _log) = gateway(&[server.address().to_string()], "", "protocol: http2");
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/case"), (":authority", "a.test")];
    // SETTINGS_INITIAL_WINDOW_SIZE of 0: heads need no window.
    let mut client = Frames::connect(gateway.address("web"), &[(4, 0)]);
    client.send(&Frame::headers(1, &fields, true));
    assert_eq!(next_head(&mut client).stream, 1);
    client.send(&Frame::reset(1, 8));
    server.wait("the first request to end", |connections| connections[0].requests == 1);
    client.send(&Frame::headers(3, &fields, true));
    assert_eq!(next_head(&mut client).stream, 3);
    server.answer();
    assert_eq!(next_head(&mut client).stream, 3, "the answer");
    client.send(&Frame::window(3, 100));
    assert_eq!(client.fate(3), Fate::Answered(0, b"ok".to_vec()));
}

/// A server that gives up while the request is still coming: an answer, and no request that hangs.
#[test]
fn a_server_that_leaves_a_half_sent_request() {
    let lab = Lab::scripted(|_| Answer::early(HINTS).then(Step::Close));
    let mut client = lab.client();
    client.send("POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 6\r\n\r\nabc");
    let answer = client.response("POST").expect("an answer");
    assert_eq!((answer.interim, answer.status), (vec![103], 502));
}
