//! HTTP/2 and TLS towards upstreams: two gateways in a row, the first of which speaks to the second as to an upstream.

use tidegate_testkit::{
    Answer, Authority, RawClient, ReadError, ScriptedUpstream, State, Step, TestGateway, fill,
};

const GET: &str = "GET /case HTTP/1.1\r\nhost: a.test\r\n\r\n";

struct Chain {
    upstream: ScriptedUpstream,
    front: TestGateway,
    _back: TestGateway,
}

/// `wire` is the first gateway's protocol towards the second.
fn chain(upstream: ScriptedUpstream, wire: &str, tls: bool) -> Chain {
    let authority = Authority::new();
    let certificate = authority.issue(&["back.test"]);
    let pem = authority.pem();
    let back = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: ${protocol} }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
",
        &[
            ("up", &upstream.address()),
            (
                "protocol",
                &if tls { "https, tls: { certificates: [{ cert: b.pem, key: b.key }] }" } else { "http" },
            ),
        ],
    );
    let files: [(&str, &[u8]); 2] =
        [("b.pem", certificate.cert.as_bytes()), ("b.key", certificate.key.as_bytes())];
    let back = TestGateway::start_with(&back, &files);
    let front = fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ filters: [{ rewrite: { hostname: back.test } }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'], protocol: ${wire}${tls} } }
",
        &[
            ("up", &back.address("web")),
            ("wire", &wire),
            ("tls", &if tls { ", tls: { serverName: back.test, ca: ca.pem }" } else { "" }),
        ],
    );
    let front = TestGateway::start_with(&front, &[("ca.pem", pem.as_bytes())]);
    Chain { upstream, front, _back: back }
}

const WIRES: [(&str, bool); 5] =
    [("http1", false), ("http2", false), ("http1", true), ("http2", true), ("auto", true)];

#[test]
fn requests_pass_in_every_protocol() {
    for (wire, tls) in WIRES {
        let upstream = ScriptedUpstream::start(|call| {
            Answer::reply(format!(
                "HTTP/1.1 200 OK\r\nx-target: {}\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n",
                call.head.target
            ))
        });
        let chain = chain(upstream, wire, tls);
        let mut client = RawClient::connect(chain.front.address("web"));
        let answer = client.exchange(
            "POST /case?x=1 HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\ntrailer: x-in\r\nte: trailers\r\nx-a: b\r\n\r\n3\r\nabc\r\n0\r\nx-in: 1\r\n\r\n",
        );
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"), "{wire}, {tls}");
        assert_eq!(answer.trailers.get("x-sum"), Some("7"), "{wire}, {tls}");
        let request = chain.upstream.requests().remove(0);
        assert_eq!(
            (request.target(), request.body.as_slice()),
            ("/case?x=1", b"abc".as_slice()),
            "{wire}, {tls}"
        );
        assert_eq!(
            (request.header("host"), request.header("x-a")),
            (Some("back.test"), Some("b")),
            "{wire}, {tls}"
        );
        assert_eq!(request.trailers.get("x-in"), Some("1"), "{wire}, {tls}");
        for number in 0..20 {
            let target = format!("/{number}");
            let answer = client.exchange(format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
            assert_eq!(answer.header("x-target"), Some(target.as_str()), "{wire}, {tls}");
        }
    }
}

#[test]
fn large_bodies_pass_in_every_protocol() {
    let size = 3 << 20;
    for (wire, tls) in WIRES {
        let upstream = ScriptedUpstream::start(move |_| {
            Answer::steps([
                Step::ReadBody,
                Step::send(format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n")),
                Step::Fill(size),
            ])
        });
        let chain = chain(upstream, wire, tls);
        let mut client = RawClient::connect(chain.front.address("web"));
        client.send(format!("POST /case HTTP/1.1\r\nhost: a.test\r\ncontent-length: {size}\r\n\r\n"));
        client.wire().fill(size, tidegate_testkit::PATIENCE, |_| false).expect("taken");
        let answer = client.response("POST").expect("well formed");
        assert_eq!(answer.body.len() as u64, size, "{wire}, {tls}");
        assert_eq!(chain.upstream.requests()[0].body.len() as u64, size, "{wire}, {tls}");
    }
}

#[test]
fn failures_pass_in_every_protocol() {
    for (wire, tls) in WIRES {
        let upstream = ScriptedUpstream::start(|call| match call.head.target.as_str() {
            "/cut" => Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc").then(Step::Close),
            "/stall" => Answer::steps([Step::UntilClosed]),
            _ => Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
        });
        let chain = chain(upstream, wire, tls);
        let mut client = RawClient::connect(chain.front.address("web"));
        client.send("GET /cut HTTP/1.1\r\nhost: a.test\r\n\r\n");
        match client.response("GET") {
            Ok(answer) => assert!(answer.status >= 500, "{wire}, {tls}: {answer:?}"),
            Err(error) => assert!(
                matches!(error, ReadError::CutOff(_) | ReadError::Broken(_) | ReadError::Closed),
                "{wire}, {tls}: {error}"
            ),
        }
        let mut client = RawClient::connect(chain.front.address("web"));
        client.send("GET /stall HTTP/1.1\r\nhost: a.test\r\n\r\n");
        let stalled = |c: &[tidegate_testkit::Connection]| {
            c.iter().flat_map(|c| &c.requests).any(|r| r.target() == "/stall" && r.state == State::Started)
        };
        chain.upstream.wait("the request", |c| stalled(c));
        drop(client);
        chain.upstream.wait("its end", |c| !stalled(c));
        assert_eq!(
            RawClient::connect(chain.front.address("web")).exchange(GET).text(),
            "ok",
            "{wire}, {tls}"
        );
    }
}

/// A certificate that does not fit is no connection.
#[test]
fn a_server_that_is_not_trusted_gets_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    let certificate = authority.issue(&["back.test"]);
    let upstream = ScriptedUpstream::start_tls(certificate.server_config(&["http/1.1"]), |_| {
        Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    });
    for (name, server_name, ca, status) in [
        ("trusted", "back.test", &authority, 200),
        ("another name", "front.test", &authority, 503),
        ("another authority", "back.test", &other, 503),
    ] {
        let yaml = fill(
            "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'], tls: { serverName: ${name}, ca: ca.pem } } }
",
            &[("up", &upstream.address()), ("name", &server_name)],
        );
        let gateway = TestGateway::start_with(&yaml, &[("ca.pem", ca.pem().as_bytes())]);
        assert_eq!(RawClient::connect(gateway.address("web")).exchange(GET).status, status, "{name}");
    }
    assert_eq!(upstream.requests().len(), 1);
}
