//! gRPC calls and streams of plugins over real HTTP/2.

use tidegate_testkit::{
    GrpcReason as Reason, GrpcStep, GrpcUpstream, Nobody, RawClient, ScriptedUpstream, TestGateway, fill,
};

const GUEST: &[u8] = include_bytes!("../guests/grpc.wat");

const CONFIG: &str = "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  guest: { module: guest.wasm, capabilities: { upstreams: [grpc] }, limits: { callTime: 500ms, requestTime: 2s } }
routes:
  - name: r
    rules:
      - matches: [{ path: { prefix: /filtered } }]
        filters: [{ plugin: guest }]
        forward: [{ upstream: up }]
      - matches: [{ path: { prefix: /test.Echo } }]
        forward: [{ upstream: grpc }]
      - forward: [{ upstream: up }]
upstreams:
  up: { servers: ['${up}'] }
  grpc: { servers: ['${grpc}'], protocol: ${protocol} }
";

fn config(up: &ScriptedUpstream, grpc: std::net::SocketAddr, protocol: &str) -> String {
    fill(CONFIG, &[("up", &up.address()), ("grpc", &grpc), ("protocol", &protocol)])
}

/// What the server does, by method.
fn script(path: &str) -> Vec<GrpcStep> {
    use GrpcStep::{Echo, Head, Message, Only, Raw, Receive, Reset, Trailers, Wait};
    let head = || Head(vec![("x-initial", "hello")]);
    let good = || Trailers(vec![("grpc-status", "0"), ("x-trailing", "bye")]);
    match path {
        "/test.Echo/Echo" => vec![head(), Echo, good()],
        "/test.Echo/Refuse" => {
            vec![Only(200, vec![("grpc-status", "7"), ("grpc-message", "not you"), ("x-trailing", "only")])]
        }
        "/test.Echo/Nothing" => vec![head(), good()],
        "/test.Echo/Hang" => vec![Wait],
        "/test.Echo/First" => vec![head(), Receive, Message(b"first".to_vec()), Wait],
        "/test.Echo/Large" => vec![head(), Raw(vec![0, 0, 0x50, 0, 0]), Wait],
        "/test.Echo/Packed" => vec![head(), Raw(vec![1, 0, 0, 0, 0]), Wait],
        "/test.Echo/Reset" => vec![head(), Receive, Reset(Reason::INTERNAL_ERROR)],
        "/test.Echo/Mute" => vec![head(), Trailers(vec![])],
        _ => vec![Only(503, vec![])],
    }
}

fn ask(gateway: &TestGateway, kind: &str, method: &str) -> (u16, String) {
    let mut client = RawClient::connect(gateway.address("web"));
    client.send(format!("GET /filtered HTTP/1.1\r\nhost: a\r\nx-kind: {kind}\r\nx-method: {method}\r\n\r\n"));
    let answer = client.response("GET").expect("well formed");
    (answer.status, String::from_utf8(answer.body).expect("is text"))
}

fn set_up() -> (ScriptedUpstream, GrpcUpstream, TestGateway) {
    let (up, grpc) = (ScriptedUpstream::plain(), GrpcUpstream::start(script));
    let gateway = TestGateway::start_with(&config(&up, grpc.address(), "http2"), &[("guest.wasm", GUEST)]);
    (up, grpc, gateway)
}

#[test]
fn calls_and_streams_end_as_the_server_says() {
    let (_up, grpc, gateway) = set_up();
    let rows = [
        ("c", "Echo", "message=question;"),
        ("c", "Refuse", "close=07:not you"),
        ("c", "Nothing", "close=13:"),
        ("c", "Hang", "close=04:upstream request timeout"),
        ("c", "Unknown", "close=14:the server's answer is not gRPC"),
        ("s", "Echo", "head=hello;message=one;message=two;trail=bye;close=00:"),
        ("s", "Refuse", "head=;trail=only;close=07:not you"),
        ("s", "Nothing", "head=hello;trail=bye;close=00:"),
        ("s", "Large", "head=hello;trail=;close=08:a message of 5242880 bytes came, 4194304 are allowed"),
        ("s", "Packed", "head=hello;trail=;close=13:the server compressed a message without being asked"),
        ("s", "Mute", "head=hello;trail=;close=02:"),
        ("s", "Unknown", "head=;trail=;close=14:the server's answer is not gRPC"),
        ("u", "Echo", "sent=04"),
    ];
    for (kind, method, want) in rows {
        assert_eq!(ask(&gateway, kind, method), (200, want.to_owned()), "{kind} {method}");
    }
    // A reset may overtake the head that was sent before it.
    let (status, told) = ask(&gateway, "s", "Reset");
    let told = told.strip_prefix("head=hello;").unwrap_or(&told);
    assert_eq!((status, told), (200, "close=13:upstream broke the call off"));
    let calls = grpc.calls();
    let first = &calls[0];
    let header = |name: &str| first.headers.get(name).map(|value| value.to_str().expect("is text"));
    assert_eq!((first.path.as_str(), &first.messages[..]), ("/test.Echo/Echo", &[b"question".to_vec()][..]));
    assert_eq!((header("te"), header("content-type")), (Some("trailers"), Some("application/grpc")));
    assert_eq!((header("x-meta"), header("grpc-timeout")), (Some("me"), Some("900m")));
}

#[test]
fn a_clients_call_reaches_the_server_with_its_wish_for_trailers() {
    let (_up, grpc, gateway) = set_up();
    // Servers refuse calls without `te: trailers`. From HTTP/1.1 it comes with `connection: te`, which ends here.
    let message = b"\0\0\0\0\x05hello";
    let mut client = RawClient::connect(gateway.address("web"));
    for te in ["te: trailers\r\nconnection: te\r\n", "te: gzip, trailers\r\n", "te: gzip\r\n"] {
        let mut request = format!(
            "POST /test.Echo/Echo HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\n{te}content-length: {}\r\n\r\n",
            message.len()
        )
        .into_bytes();
        request.extend_from_slice(message);
        client.send(request);
        assert_eq!(client.response("POST").expect("well formed").status, 200);
    }
    let calls = grpc.calls();
    let seen: Vec<_> = calls.iter().map(|call| call.headers.get("te").map(|te| te.as_bytes())).collect();
    assert_eq!(seen, [Some(&b"trailers"[..]), Some(b"trailers"), None]);
    assert!(calls.iter().all(|call| !call.headers.contains_key("connection")), "it is not for HTTP/2");
}

#[test]
fn the_server_learns_that_a_call_is_over() {
    let (up, grpc, gateway) = set_up();
    let reset = |nth: usize, what: &str| {
        grpc.wait(what, |calls| calls.get(nth).is_some_and(|call| call.reset == Some(Reason::CANCEL)));
    };
    assert_eq!(ask(&gateway, "c", "Hang"), (200, "close=04:upstream request timeout".to_owned()));
    reset(0, "the end of the time");
    assert_eq!(ask(&gateway, "k", "First"), (200, "head=hello;message=first;sent=00".to_owned()));
    reset(1, "the guest's cancel");
    assert_eq!(
        ask(&gateway, "t", "First").0,
        503,
        "a trap in a call's answer ends the request that waits for it"
    );
    reset(2, "the end of the instance");
    gateway.wait("a new instance", |gateway| ask(gateway, "c", "Echo").0 == 200);
    let before = grpc.calls().len();
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("GET /filtered HTTP/1.1\r\nhost: a\r\nx-kind: s\r\nx-method: Hang\r\n\r\n");
    grpc.wait("the stream's messages", |calls| {
        calls.get(before).is_some_and(|call| call.messages.len() == 2)
    });
    drop(client);
    let rest = format!(
        "
listeners: [{{ name: web, address: '127.0.0.1:0', protocol: http }}]
routes: [{{ name: r, rules: [{{ forward: [{{ upstream: up }}] }}] }}]
upstreams: {{ up: {{ servers: ['{}'] }} }}
",
        up.address()
    );
    gateway.reload(&rest);
    grpc.wait("the end of the plugin", |calls| calls[before].reset.is_some());
}

#[test]
fn a_guest_cannot_queue_without_end() {
    let (_up, grpc, gateway) = set_up();
    assert_eq!(ask(&gateway, "f", "Hang"), (200, "sent=02".to_owned()));
    // What was queued before the limit still goes, and once it has gone there is room again.
    grpc.wait("what was queued", |calls| {
        calls.first().is_some_and(|call| call.messages.last().is_some_and(|last| last == b"two"))
    });
}

#[test]
fn servers_that_cannot_be_called_are_told_by_status() {
    let up = ScriptedUpstream::plain();
    let closed = Nobody::new();
    for (address, protocol, want) in [
        (closed.address(), "http2", "close=14:upstream connection failed"),
        (up.address(), "http1", "close=14:the upstream does not speak HTTP/2: set its protocol to http2"),
    ] {
        let gateway = TestGateway::start_with(&config(&up, address, protocol), &[("guest.wasm", GUEST)]);
        for kind in ["c", "s"] {
            assert_eq!(ask(&gateway, kind, "Echo"), (200, want.to_owned()), "{kind} {protocol}");
        }
    }
}
