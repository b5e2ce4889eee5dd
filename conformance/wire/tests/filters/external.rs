//! External authorization by the filter `auth` in the gateway, with the configuration of `examples/external-auth`, real
//! services by HTTP and gRPC, and services that fail. `cargo xtask filters` builds the filter.

use std::net::SocketAddr;

use tidegate_testkit::grpc_message::field;
use tidegate_testkit::{
    Answer, GrpcStep, GrpcUpstream, Nobody, RawClient, Response, ScriptedUpstream, Step, TestGateway,
};
use tidegate_wire::shipped_example;

struct Lab {
    upstream: ScriptedUpstream,
    gateway: TestGateway,
    /// Where the services are that a test does not have.
    _nowhere: Nobody,
}

impl Lab {
    /// A gateway whose services are at these addresses, or nowhere. Their answers are in time, however slow the machine.
    fn new(http: Option<SocketAddr>, grpc: Option<SocketAddr>) -> Self {
        Self::with(http, grpc, |text| {
            let patient = "bodyLimit: 8KiB\n                    timeout: 20s";
            text.replace("timeout: 500ms", "timeout: 20s").replace("bodyLimit: 8KiB", patient)
        })
    }

    fn with(http: Option<SocketAddr>, grpc: Option<SocketAddr>, change: impl Fn(String) -> String) -> Self {
        let (upstream, nowhere) = (ScriptedUpstream::plain(), Nobody::new());
        let [http, grpc] = [http, grpc].map(|address| address.unwrap_or(nowhere.address()));
        let gateway = shipped_example("external-auth", "auth", &upstream, |text| {
            // The listener that stands for the service keeps its place, the upstream does not.
            let text = text.replace("servers: [127.0.0.1:3002]", &format!("servers: ['{http}']"));
            change(text.replace("127.0.0.1:3003", &format!("'{grpc}'")))
        });
        Lab { upstream, gateway, _nowhere: nowhere }
    }

    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Response {
        let mut client = RawClient::connect(self.gateway.address("web"));
        let length = body.len();
        let length = if length > 0 { format!("content-length: {length}\r\n") } else { String::new() };
        client.send(format!("{method} {path} HTTP/1.1\r\nhost: shop.test\r\n{headers}{length}\r\n{body}"));
        client.response(method).expect("a well-formed answer")
    }
}

fn decisions() -> ScriptedUpstream {
    ScriptedUpstream::start(|call| match call.head.headers.get("cookie") {
        Some("session=good") => Answer::reply("HTTP/1.1 200 OK\r\nx-user: ann\r\ncontent-length: 0\r\n\r\n"),
        Some("session=old") => Answer::reply(
            "HTTP/1.1 302 Found\r\nlocation: https://login.test/\r\nx-hidden: 1\r\ncontent-length: 0\r\n\r\n",
        ),
        Some("session=broken") => Answer::reply("HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n"),
        Some("session=slow") => Answer::steps([Step::ReadBody, Step::UntilClosed]),
        Some("session=gone") => Answer::steps([Step::ReadBody, Step::Close]),
        _ => Answer::reply("HTTP/1.1 401 No\r\nwww-authenticate: Cookie\r\ncontent-length: 4\r\n\r\nwho?"),
    })
}

#[test]
fn a_service_decides_by_http() {
    let service = decisions();
    let lab = Lab::new(Some(service.address()), None);
    let refused = lab.send("GET", "/orders", "x-user: admin\r\n", "");
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Cookie")));
    assert_eq!(refused.text(), "who?");
    let sent_away = lab.send("GET", "/orders", "cookie: session=old\r\n", "");
    assert_eq!((sent_away.status, sent_away.header("location")), (302, Some("https://login.test/")));
    assert_eq!(sent_away.header("x-hidden"), None);
    assert!(lab.upstream.requests().is_empty());

    let headers = "cookie: session=good\r\nx-user: admin\r\nx-private: 1\r\n";
    let passed = lab.send("POST", "/orders?x=1", headers, "hello");
    assert_eq!(passed.status, 200);
    let requests = lab.upstream.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((request.header("x-user"), &*request.body), (Some("ann"), &b"hello"[..]));
    let asked = service.requests();
    let asked = asked.last().expect("it was asked");
    assert_eq!((asked.target(), asked.header("host")), ("/check", Some("shop.test")));
    assert_eq!(
        (asked.header("x-original-uri"), asked.header("x-original-method")),
        (Some("/orders?x=1"), Some("POST"))
    );
    assert_eq!((asked.header("x-forwarded-for"), asked.header("x-private")), (Some("127.0.0.1"), None));
    let known = "auth_requests_total{way=\"external\",outcome=\"known\"}";
    assert_eq!(lab.gateway.guest_metric("external-auth", known), 1);
}

#[test]
fn without_a_decision_requests_are_refused_or_pass_as_configured() {
    let service = decisions();
    let fails = ["broken", "slow", "gone"];
    let deny = Lab::with(Some(service.address()), None, |text| text);
    let allow = Lab::with(Some(service.address()), None, |text| {
        text.replace("timeout: 500ms", "timeout: 300ms\n            onFailure: allow")
    });
    for fail in fails {
        let cookie = format!("cookie: session={fail}\r\n");
        assert_eq!(deny.send("GET", "/", &cookie, "").status, 503, "{fail}");
        assert_eq!(allow.send("GET", "/", &cookie, "").status, 200, "{fail}");
    }
    assert!(deny.upstream.requests().is_empty());
    let away = Lab::with(None, None, |text| {
        text.replace("timeout: 500ms", "timeout: 500ms\n            statusOnFailure: 403")
    });
    assert_eq!(away.send("GET", "/", "", "").status, 403);
}

fn option(name: &str, value: &str) -> Vec<u8> {
    field(1, &[field(1, name.as_bytes()), field(2, value.as_bytes())].concat())
}

/// Lets pass what has the word in its body; the rule's extension must be there.
fn decide(request: &[u8]) -> Vec<u8> {
    let has = |word: &str| request.windows(word.len()).any(|part| part == word.as_bytes());
    if has("please") && has("by-grpc") && has("shop.test") {
        let ok =
            [field(2, &option("x-user", "ann")), field(5, b"x-private"), field(6, &option("x-decided", "1"))];
        return field(3, &ok.concat());
    }
    // 418, and a text.
    let status = field(1, &[8, 0xa2, 3]);
    [
        field(1, &[8, 7]),
        field(2, &[status, field(2, &option("x-why", "rude")), field(3, b"say please")].concat()),
    ]
    .concat()
}

fn grpc() -> GrpcUpstream {
    GrpcUpstream::start(|path| match path {
        "/envoy.service.auth.v3.Authorization/Check" => vec![
            GrpcStep::Head(vec![]),
            GrpcStep::Reply(decide),
            GrpcStep::Trailers(vec![("grpc-status", "0")]),
        ],
        _ => vec![GrpcStep::Only(200, vec![("grpc-status", "12")])],
    })
}

#[test]
fn a_service_decides_by_grpc() {
    let service = grpc();
    let lab = Lab::new(None, Some(service.address()));
    let refused = lab.send("POST", "/grpc/a", "", "now!");
    assert_eq!((refused.status, refused.header("x-why")), (418, Some("rude")));
    assert_eq!(refused.text(), "say please");
    let long = lab.send("POST", "/grpc/a", "", &"x".repeat(8193));
    assert_eq!(long.status, 413);
    assert!(lab.upstream.requests().is_empty());

    let passed = lab.send("POST", "/grpc/a", "x-private: 1\r\n", "please");
    assert_eq!((passed.status, passed.header("x-decided")), (200, Some("1")));
    let requests = lab.upstream.requests();
    let [request] = requests.as_slice() else { panic!("{requests:?}") };
    assert_eq!((request.header("x-user"), request.header("x-private")), (Some("ann"), None));
    assert_eq!(request.body, b"please");
    // The service sees gRPC's own framing and one message a call.
    assert!(service.calls().iter().all(|call| call.messages.len() == 1));
}

#[test]
fn a_grpc_service_that_fails_has_not_decided() {
    let failing = GrpcUpstream::start(|_| vec![GrpcStep::Only(200, vec![("grpc-status", "13")])]);
    let silent = GrpcUpstream::start(|_| vec![GrpcStep::Wait]);
    let odd = GrpcUpstream::start(|_| {
        vec![
            GrpcStep::Head(vec![]),
            GrpcStep::Message(b"\x12\x7fx".to_vec()),
            GrpcStep::Trailers(vec![("grpc-status", "0")]),
        ]
    });
    let at = |service: &GrpcUpstream| Some(service.address());
    for address in [at(&failing), at(&silent), at(&odd), None] {
        let lab = Lab::with(None, address, |text| text);
        assert_eq!(lab.send("GET", "/grpc", "", "").status, 503);
        assert!(lab.upstream.requests().is_empty());
    }
}
