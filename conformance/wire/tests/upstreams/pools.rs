//! Connections to servers: how many, how old, how often used, and what happens to requests when they end.

use std::net::SocketAddr;
use std::time::Duration;

use tidegate_testkit::{
    Answer, ByteServer, Frame, Http2Options, Http2Upstream, Load, LoadOptions, LogFile, Nobody, RawClient,
    ScriptedUpstream, Server, Step, TestGateway, Wire, fill, flag, kind, literals,
};

const EMPTY: &str = "POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\n\r\n";
const POST: &str = "POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: 3\r\n\r\nabc";
const GET: &str = "GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n";

fn gateway(server: SocketAddr, upstream: &str, more: &str) -> TestGateway {
    TestGateway::start(&fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${server}'], ${upstream} } }
${more}
",
        &[("server", &server), ("upstream", &upstream), ("more", &more)],
    ))
}

fn load(gateway: &TestGateway) -> Load {
    let mut options = LoadOptions::new(gateway.address("web"));
    (options.connections, options.streams) = (2, 20);
    Load::start(&options)
}

#[test]
fn a_server_that_goes_away_again_and_again_costs_no_request() {
    let server = Http2Upstream::start(Http2Options { requests: Some(20), ..Http2Options::default() });
    let gateway = gateway(server.address(), "protocol: http2", "");
    let load = load(&gateway);
    load.wait_for(2000);
    let (answered, failures) = load.finish();
    assert!(failures.is_empty(), "of {answered}: {failures:?}");
    let connections = server.connections().len();
    assert!(connections >= 20, "{connections} connections for {answered} requests");
}

/// The server's side of an HTTP/2 connection, frame by frame.
struct Spoken(Wire);

impl Spoken {
    fn accept(server: &ByteServer) -> Self {
        let mut wire = server.accept();
        assert_eq!(wire.exactly(24).expect("a preface"), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut spoken = Self(wire);
        spoken.send(&Frame::settings(&[]));
        spoken
    }

    fn send(&mut self, frame: &Frame) {
        self.0.send(&frame.bytes()).expect("the gateway reads");
    }

    /// The stream of the next request; settings are acknowledged on the way.
    fn request(&mut self) -> u32 {
        self.next(kind::HEADERS).0
    }

    /// Reads the body of a [`POST`]; nobody else's may be open.
    fn body(&mut self) {
        let mut all = Vec::new();
        while all.len() < 3 {
            all.extend(self.next(kind::DATA).1);
        }
        assert_eq!(all, b"abc");
    }

    /// Stream and payload of the next frame of a kind.
    fn next(&mut self, wanted: u8) -> (u32, Vec<u8>) {
        loop {
            let head = self.0.exactly(9).expect("a frame");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let payload = self.0.exactly(length as usize).expect("its payload");
            if head[3] == kind::SETTINGS && head[4] & flag::ACK == 0 {
                self.send(&Frame { kind: kind::SETTINGS, flags: flag::ACK, stream: 0, payload: Vec::new() });
            }
            if head[3] == wanted {
                return (u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]), payload);
            }
        }
    }

    fn answer(&mut self, stream: u32) {
        let flags = flag::END_HEADERS | flag::END_STREAM;
        let payload = literals(&[(":status", "200"), ("x-by", "me")]);
        self.send(&Frame { kind: kind::HEADERS, flags, stream, payload });
    }
}

/// RFC 9113, 6.8: streams after the last one of GOAWAY were not acted on, so even what is not idempotent is sent again.
#[test]
fn requests_that_a_leaving_server_has_not_seen_are_sent_again() {
    for post in [EMPTY, POST] {
        leaves_others_unseen(post);
    }
}

fn leaves_others_unseen(post: &'static str) {
    let server = ByteServer::start();
    let address = server.address();
    let gateway = gateway(address, "protocol: http2, pool: { streams: 10 }", "");
    let web = gateway.address("web");
    let serving = std::thread::spawn(move || {
        let mut first = Spoken::accept(&server);
        let streams = [first.request(), first.request(), first.request()];
        let away = [streams[0].to_be_bytes(), 0_u32.to_be_bytes()].concat();
        first.send(&Frame { kind: kind::GOAWAY, flags: 0, stream: 0, payload: away });
        let mut second = Spoken::accept(&server);
        for _ in 0..2 {
            let stream = second.request();
            if post == POST {
                second.body();
            }
            second.answer(stream);
        }
        // The one that the server knew is still answered.
        first.answer(streams[0]);
    });
    let mut clients: Vec<RawClient> = (0..3).map(|_| RawClient::connect(web)).collect();
    clients.iter_mut().for_each(|client| assert!(client.send(post)));
    for client in &mut clients {
        assert_eq!(client.response("POST").expect("an answer").status, 200);
    }
    serving.join().expect("the server");
}

/// REFUSED_STREAM says the same of one stream (RFC 9113, 8.7).
#[test]
fn requests_that_a_server_refuses_are_sent_again() {
    for post in [EMPTY, POST] {
        let server = ByteServer::start();
        let gateway = gateway(server.address(), "protocol: http2", "");
        let web = gateway.address("web");
        let serving = std::thread::spawn(move || {
            let mut spoken = Spoken::accept(&server);
            let stream = spoken.request();
            spoken.send(&Frame::reset(stream, 7));
            let stream = spoken.request();
            if post == POST {
                spoken.body();
            }
            spoken.answer(stream);
            spoken
        });
        assert_eq!(RawClient::connect(web).exchange(post).status, 200);
        drop(serving.join().expect("the server"));
    }
}

/// What a server may have acted on is another thing: in a rule without retries its body is not sent twice.
#[test]
fn a_body_that_a_server_has_seen_is_not_sent_again() {
    let server = ByteServer::start();
    let gateway = gateway(server.address(), "protocol: http2", "");
    let web = gateway.address("web");
    let serving = std::thread::spawn(move || {
        let mut spoken = Spoken::accept(&server);
        spoken.request();
        spoken.body();
        drop(spoken);
        server
    });
    // PUT is idempotent.
    assert_eq!(RawClient::connect(web).exchange(POST.replace("POST", "PUT")).status, 502);
    let server = serving.join().expect("the server");
    assert!(server.is_left_alone(Duration::from_millis(50)), "nobody came again");
}

/// Many requests at once need as many connections as the server's and the gateway's own limits make necessary.
#[test]
fn the_streams_of_a_connection_are_limited_by_both_sides() {
    for (theirs, own, most) in [(Some(4), 100, 4), (Some(100), 5, 5), (None, 7, 7)] {
        let server =
            Http2Upstream::start(Http2Options { streams: theirs, held: true, ..Http2Options::default() });
        let gateway = gateway(server.address(), &format!("protocol: http2, pool: {{ streams: {own} }}"), "");
        let mut clients: Vec<RawClient> =
            (0..20).map(|_| RawClient::connect(gateway.address("web"))).collect();
        clients.iter_mut().for_each(|client| assert!(client.send(GET)));
        server.wait("all requests", |c| c.iter().map(|c| c.open).sum::<usize>() == 20);
        let connections = server.connections();
        assert!(connections.iter().all(|c| c.most <= most), "{theirs:?}, {own}: {connections:?}");
        assert_eq!(connections.len(), 20_usize.div_ceil(most), "{theirs:?}, {own}: {connections:?}");
        server.answer();
        for client in &mut clients {
            assert_eq!(client.response("GET").expect("an answer").status, 200);
        }
    }
}

#[test]
fn old_connections_are_replaced_under_load_without_a_failure() {
    let plain = ScriptedUpstream::plain();
    let http2 = Http2Upstream::start(Http2Options::default());
    for (server, protocol) in [(plain.address(), "http1"), (http2.address(), "http2")] {
        let upstream = format!("protocol: {protocol}, pool: {{ maxAge: 100ms, maxRequests: 200 }}");
        let gateway = gateway(server, &upstream, "");
        let load = load(&gateway);
        load.wait_for(3000);
        let (answered, failures) = load.finish();
        assert!(failures.is_empty(), "{protocol}, of {answered}: {failures:?}");
        let opened = gateway.metric("tidegate_upstream_connections_total", "");
        assert!(opened >= answered as f64 / 200.0, "{protocol}: {opened} for {answered}");
    }
    let most = http2.connections().iter().map(|connection| connection.requests).max();
    assert!(most <= Some(200), "{most:?}");
    let most = plain.connections().iter().map(|connection| connection.requests.len()).max();
    assert!(most <= Some(200), "{most:?}");
}

/// Without a request, and only then: nobody asked for connections ahead.
#[test]
fn connections_that_idle_for_too_long_are_closed() {
    let plain = ScriptedUpstream::plain();
    let http2 = Http2Upstream::start(Http2Options::default());
    for (server, protocol) in [(plain.address(), "http1"), (http2.address(), "http2")] {
        for (limit, opened) in [("10ms", 2.0), ("1h", 1.0)] {
            let upstream = format!("protocol: {protocol}, timeouts: {{ idle: {limit} }}");
            let gateway = gateway(server, &upstream, "");
            let mut client = RawClient::connect(gateway.address("web"));
            assert_eq!(client.exchange(GET).status, 200);
            match (limit, protocol) {
                ("10ms", "http1") => plain.wait("its end", |c| c.last().is_some_and(|c| c.finished)),
                ("10ms", _) => http2.wait("its end", |c| c.last().is_some_and(|c| c.ended)),
                // Told when connections were looked after.
                _ => gateway.wait("one that stays", |gateway| {
                    gateway.metric("tidegate_upstream_connections_open", "up") > 0.0
                }),
            }
            assert_eq!(client.exchange(GET).status, 200, "{protocol}, {limit}");
            let metric = gateway.metric("tidegate_upstream_connections_total", "up");
            assert_eq!(metric, opened, "{protocol}, {limit}");
        }
    }
}

/// They are there before the first request, are used by it, and come back when the server closes them.
#[test]
fn connections_are_opened_ahead_of_requests() {
    let server = ScriptedUpstream::plain();
    let gateway = gateway(server.address(), "pool: { warm: 3 }, timeouts: { idle: 10ms }", "");
    server.wait("three connections", |c| c.iter().filter(|c| !c.finished).count() == 3);
    let mut client = RawClient::connect(gateway.address("web"));
    (0..20).for_each(|_| assert_eq!(client.exchange(GET).status, 200));
    assert_eq!(server.connections().len(), 3, "{:?}", server.connections().len());
    server.close_all();
    server.wait("three others", |c| c.len() == 6 && c.iter().filter(|c| !c.finished).count() == 3);
}

/// A server with several addresses: one where nobody listens is passed over at once, without another attempt.
#[test]
fn a_connection_is_opened_to_whichever_address_answers() {
    let server = ScriptedUpstream::plain();
    let away = Nobody::new();
    let nobody = away.address();
    let gateway = gateway(nobody, "pool: { addresses: one }", "");
    let both = Server::together(&[nobody, server.address()]).expect("there are addresses");
    assert_eq!((both.address, both.also.as_slice()), (nobody, [server.address()].as_slice()));
    gateway.put_servers("up", &[both]);
    let mut client = RawClient::connect(gateway.address("web"));
    for _ in 0..5 {
        assert_eq!(client.exchange(GET).status, 200);
    }
    assert_eq!(server.connections().len(), 1);
    assert_eq!(gateway.metric("tidegate_upstream_connect_failures_total", ""), 0.0);
}

/// What is over the limit that follows latency is answered at once, with a reason of its own.
#[test]
fn the_limit_that_follows_latency_answers_at_once() {
    let server = ScriptedUpstream::start(|_| Answer::steps([Step::UntilClosed]));
    let log = LogFile::default();
    let upstream = "limits: { adaptive: { min: 2, start: 2 } }";
    let access_log = format!("accessLog: {{ path: '{}' }}", log.path().display());
    let gateway = gateway(server.address(), upstream, &access_log);
    let mut held: Vec<RawClient> = (0..2).map(|_| RawClient::connect(gateway.address("web"))).collect();
    held.iter_mut().for_each(|client| assert!(client.send(GET)));
    server.wait("two requests", |c| c.iter().filter(|c| !c.requests.is_empty()).count() == 2);
    let answer = RawClient::connect(gateway.address("web")).exchange(GET);
    assert_eq!((answer.status, answer.text().as_str()), (503, "overloaded\n"));
    assert!(log.lines(1)[0].contains(r#""reason":"overflow_adaptive""#));
    assert_eq!(gateway.metric("tidegate_upstream_overflow_total", ""), 1.0);
}
