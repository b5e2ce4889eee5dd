//! Every filter of docs/filters/cookbook.md does in the real gateway what its recipe says. `cargo xtask recipes` builds
//! them from that page's own code.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::Path;

use tidegate_testkit::{
    Answer, Authority, ByteServer, End, Nobody, RawClient, Response, ScriptedUpstream, State, TestGateway,
};

fn module(name: &str) -> Vec<u8> {
    let file = format!("../../target/filters/recipe_{name}.wasm");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask recipes`", path.display()))
}

/// The plugin with its upstreams; the first is where requests go.
fn document(name: &str, config: &str, upstreams: &[(&str, SocketAddr)]) -> String {
    let names: Vec<&str> = upstreams.iter().map(|(name, _)| *name).collect();
    let servers: Vec<String> =
        upstreams.iter().map(|(name, address)| format!("{name}: {{ servers: ['{address}'] }}")).collect();
    format!(
        "
plugins:
  recipe:
    module: recipe_{name}.wasm
    config: {config}
    limits: {{ callTime: 2s, requestTime: 5s }}
    capabilities: {{ upstreams: [{}] }}
upstreams: {{ {} }}
",
        names.join(", "),
        servers.join(", ")
    )
}

/// A gateway with a recipe in front of an upstream named `up`.
fn gateway(name: &str, config: &str, upstreams: &[(&str, SocketAddr)]) -> TestGateway {
    let yaml = format!(
        "{}
listeners: [{{ name: web, address: '127.0.0.1:0', protocol: http }}]
routes: [{{ name: r, rules: [{{ filters: [{{ plugin: recipe }}], forward: [{{ upstream: up }}] }}] }}]
",
        document(name, config, upstreams)
    );
    TestGateway::start_with(&yaml, &[(&format!("recipe_{name}.wasm"), &module(name))])
}

/// A gateway with a recipe that needs nothing but its upstream.
fn simple(name: &str, upstream: &ScriptedUpstream) -> TestGateway {
    gateway(name, "{}", &[("up", upstream.address())])
}

fn ask(gateway: &TestGateway, head: &str) -> Response {
    RawClient::connect(gateway.address("web")).exchange(format!("{head}\r\n\r\n"))
}

fn get(gateway: &TestGateway, path: &str, headers: &str) -> Response {
    ask(gateway, &format!("GET {path} HTTP/1.1\r\nhost: a.test{headers}"))
}

fn post(gateway: &TestGateway, body: &str) -> Response {
    let whole = format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    RawClient::connect(gateway.address("web")).exchange(whole)
}

/// A server that answers everything with this status, these headers and this body.
fn server(status: u16, headers: &'static str, body: &'static str) -> ScriptedUpstream {
    ScriptedUpstream::start(move |_| {
        let length = body.len();
        Answer::reply(format!("HTTP/1.1 {status} Text\r\n{headers}content-length: {length}\r\n\r\n{body}"))
    })
}

/// The auth server of the recipes: one token is good.
fn auth() -> ScriptedUpstream {
    ScriptedUpstream::start(|call| match call.head.headers.get("authorization") {
        Some("Bearer good") => Answer::reply("HTTP/1.1 204 No Content\r\nx-user: ann\r\n\r\n"),
        _ => Answer::reply("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"),
    })
}

const GOOD: &str = "\r\nauthorization: Bearer good";

#[test]
fn recipe_1_adds_a_header() {
    let upstream = ScriptedUpstream::plain();
    let config = "{ name: x-frame-options, value: DENY }";
    let gateway = gateway("01", config, &[("up", upstream.address())]);
    assert_eq!(get(&gateway, "/", "").header("x-frame-options"), Some("DENY"));
}

#[test]
fn recipe_2_refuses_paths_methods_and_strangers() {
    let upstream = ScriptedUpstream::plain();
    let firewall = simple("02", &upstream);
    let admin = get(&firewall, "/admin/users", "");
    assert_eq!((admin.status, admin.text().trim_end()), (403, "not from here"));
    let delete = ask(&firewall, "DELETE / HTTP/1.1\r\nhost: a.test");
    assert_eq!((delete.status, delete.header("allow")), (405, Some("GET, HEAD, POST")));
    assert!(upstream.requests().is_empty());
    assert_eq!(get(&firewall, "/", "").status, 200);

    let login = simple("02b", &upstream);
    assert_eq!(get(&login, "/", "\r\nauthorization: Basic YW5uOnMzY3JldA==").status, 200);
    let refused = get(&login, "/", "\r\nauthorization: Basic YW5u");
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Basic realm=\"shop\"")));
}

#[test]
fn recipe_3_asks_an_authorization_server() {
    let (upstream, auth) = (ScriptedUpstream::plain(), auth());
    let asks = gateway("03", "{}", &[("up", upstream.address()), ("auth", auth.address())]);
    assert_eq!(get(&asks, "/", &format!("{GOOD}\r\nx-user: forged")).status, 200);
    assert_eq!(get(&asks, "/", "").status, 403);
    let requests = upstream.requests();
    let users: Vec<Option<&str>> = requests.iter().map(|request| request.header("x-user")).collect();
    assert_eq!(users, [Some("ann")]);
    // A server that is away is an error, and not the answer 403 of one that is there.
    let nobody = Nobody::new();
    let fails = gateway("03", "{}", &[("up", upstream.address()), ("auth", nobody.address())]);
    assert_eq!(get(&fails, "/", GOOD).status, 500);
    assert_eq!(upstream.requests().len(), 1);
}

#[test]
fn recipe_4_remembers_answers() {
    let (upstream, auth) = (ScriptedUpstream::plain(), auth());
    let gateway = gateway("04", "{}", &[("up", upstream.address()), ("auth", auth.address())]);
    let statuses = [GOOD, GOOD, "", ""].map(|headers| get(&gateway, "/", headers).status);
    assert_eq!((statuses, auth.requests().len()), ([200, 200, 403, 403], 3));
}

#[test]
fn recipe_5_limits_rates() {
    let upstream = ScriptedUpstream::plain();
    let gateway = simple("05", &upstream);
    let answers = [(); 3].map(|()| get(&gateway, "/", ""));
    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200, 429]);
    assert_eq!(answers[2].header("retry-after"), Some("60"));
}

#[test]
fn recipe_6_sends_clients_elsewhere() {
    let upstream = ScriptedUpstream::plain();
    let moved = get(&simple("06", &upstream), "/old/page?x=1", "");
    assert_eq!((moved.status, moved.header("location")), (308, Some("/new/page?x=1")));
}

#[test]
fn recipe_7_has_the_route_chosen_by_the_new_path() {
    let (other, shop) = (server(200, "x-at: other\r\n", ""), server(200, "x-at: shop\r\n", ""));
    let yaml = format!(
        "{}
listeners: [{{ name: web, address: '127.0.0.1:0', protocol: http }}]
routes:
  - name: r
    rules:
      - {{ matches: [{{ path: {{ prefix: /shop }} }}], forward: [{{ upstream: shop }}] }}
      - {{ filters: [{{ plugin: recipe }}], forward: [{{ upstream: other }}] }}
",
        document("07", "{}", &[("other", other.address()), ("shop", shop.address())])
    );
    let gateway = TestGateway::start_with(&yaml, &[("recipe_07.wasm", &module("07"))]);
    let answer = ask(&gateway, "GET /orders HTTP/1.1\r\nhost: shop.example.com");
    assert_eq!((answer.status, answer.header("x-at")), (200, Some("shop")));
    assert_eq!(
        shop.requests().first().map(|request| request.target().to_owned()),
        Some("/shop/orders".to_owned())
    );
}

#[test]
fn recipe_7_chooses_an_upstream_by_name() {
    let (up, canary) = (server(200, "x-at: up\r\n", ""), server(200, "x-at: canary\r\n", ""));
    let gateway = gateway("07b", "{}", &[("up", up.address()), ("canary", canary.address())]);
    assert_eq!(get(&gateway, "/", "\r\ncookie: canary=yes").header("x-at"), Some("canary"));
    assert_eq!(get(&gateway, "/", "\r\ncookie: canary=no").header("x-at"), Some("up"));
}

#[test]
fn recipe_8_hands_from_the_request_to_the_response() {
    let upstream = ScriptedUpstream::plain();
    let gateway = simple("08", &upstream);
    assert_eq!(get(&gateway, "/", "\r\nx-trace: t-1").header("x-trace"), Some("t-1"));
    let own = get(&gateway, "/", "");
    let seen = upstream.requests();
    assert!(own.header("x-trace").is_some_and(|id| !id.is_empty()));
    assert_eq!(seen[1].header("x-trace"), own.header("x-trace"));
}

#[test]
fn recipe_9_limits_bodies_while_they_stream() {
    let upstream = ScriptedUpstream::plain();
    let gateway = simple("09", &upstream);
    assert_eq!((post(&gateway, "0123456789").status, post(&gateway, "0123456789A").status), (200, 413));
    let chunked = "POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut client = RawClient::connect(gateway.address("web"));
    client.send_pieces(&[chunked, "6\r\n012345\r\n", "6\r\n6789AB\r\n", "0\r\n\r\n"]);
    assert_eq!(client.response("POST").expect("an answer").status, 413);
}

#[test]
fn recipe_10_checks_json() {
    let upstream = ScriptedUpstream::plain();
    let gateway = simple("10", &upstream);
    let statuses = [r#"{ "amount": 3 }"#, r#"{ "amount": 0 }"#, "{"].map(|body| post(&gateway, body).status);
    assert_eq!(statuses, [200, 422, 400]);
    let requests = upstream.requests();
    assert_eq!(requests.iter().map(|request| &*request.body).collect::<Vec<_>>(), [br#"{ "amount": 3 }"#]);
}

#[test]
fn recipe_11_changes_responses_as_they_stream() {
    for (kind, text) in [("text/plain", "card ####"), ("image/png", "card 1234")] {
        let upstream = ScriptedUpstream::start(move |_| {
            Answer::pieces([
                format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"),
                "7\r\ncard 12\r\n".to_owned(),
                "2\r\n34\r\n0\r\n\r\n".to_owned(),
            ])
        });
        assert_eq!(get(&simple("11", &upstream), "/", "").text(), text);
    }
}

#[test]
fn recipe_11_takes_a_field_out_of_events() {
    let upstream = ScriptedUpstream::start(|_| {
        Answer::pieces([
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
            "11\r\ndata: {\"a\":1,\"sec\r\n",
            "20\r\nret\":2}\n\ndata:{\"secret\":3}\ndata:\r\n",
            "0\r\n\r\n",
        ])
    });
    let text = get(&simple("11b", &upstream), "/", "").text();
    assert_eq!(text, "data: {\"a\":1}\n\ndata: {}\ndata:");
}

#[test]
fn recipe_12_fetches_keys_in_the_background() {
    let (upstream, keys) = (ScriptedUpstream::plain(), server(200, "", r#"["k-1"]"#));
    let gateway = gateway("12", "{}", &[("up", upstream.address()), ("keys", keys.address())]);
    gateway.wait("the keys to be known", |gateway| get(gateway, "/", "\r\nx-key: k-1").status == 200);
    assert_eq!(get(&gateway, "/", "\r\nx-key: k-2").status, 401);
    assert_eq!(
        keys.requests().first().map(|request| request.target().to_owned()),
        Some("/keys.json".to_owned())
    );
}

#[test]
fn recipe_13_tells_another_server() {
    let (upstream, audit) = (ScriptedUpstream::plain(), server(202, "", ""));
    let gateway = gateway("13", "{}", &[("up", upstream.address()), ("audit", audit.address())]);
    assert_eq!(get(&gateway, "/x", "").status, 200);
    audit
        .wait("the line", |connections| connections.iter().any(|connection| !connection.requests.is_empty()));
    gateway.wait("the line's body", |_| audit.requests().iter().any(|request| request.body == b"/x 200"));
}

#[test]
fn recipe_14_counts_by_labels() {
    let upstream = server(404, "", "");
    let gateway = simple("14", &upstream);
    assert_eq!(get(&gateway, "/", "").status, 404);
    assert_eq!(gateway.guest_metric("recipe", r#"answers_total{class="4xx"}"#), 1);
}

#[test]
fn recipe_15_lets_the_right_certificates_pass() {
    let authority = Authority::new();
    let own = authority.issue(&["a.test"]);
    let upstream = ScriptedUpstream::plain();
    let yaml = format!(
        "{}
listeners:
  - name: web
    address: '127.0.0.1:0'
    protocol: https
    tls: {{ certificates: [{{ cert: a.pem, key: a.key }}], clientAuth: {{ ca: clients.pem, mode: optional }} }}
routes: [{{ name: r, rules: [{{ filters: [{{ plugin: recipe }}], forward: [{{ upstream: up }}] }}] }}]
",
        document("15", "{}", &[("up", upstream.address())])
    );
    let gateway = TestGateway::start_with(
        &yaml,
        &[
            ("a.pem", own.cert.as_bytes()),
            ("a.key", own.key.as_bytes()),
            ("clients.pem", authority.pem().as_bytes()),
            ("recipe_15.wasm", &module("15")),
        ],
    );
    let address = gateway.address("web");
    let request = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";
    for (name, status) in [
        ("spiffe://example.com/ns/shop/sa/web", 200),
        ("spiffe://example.com/ns/other/sa/web", 403),
        ("client.test", 403),
    ] {
        let certificate = authority.issue(&[name]);
        let client = RawClient::connect_with(address, &authority, "a.test", &certificate);
        assert_eq!(client.expect("it is accepted").exchange(request).status, status, "{name}");
    }
    let nobody = RawClient::connect_tls(address, &authority, "a.test", &["http/1.1"]);
    assert_eq!(nobody.expect("it need show none").exchange(request).status, 403);
}

#[test]
fn recipe_16_fails_open() {
    let (upstream, segments, nobody) = (ScriptedUpstream::plain(), server(200, "", "gold"), Nobody::new());
    // What the gateway says of calls that nobody answered, no server can say.
    let forger = server(200, "x-tidegate-no-answer: forged\r\n", "silver");
    for (address, segment) in
        [(segments.address(), Some("gold")), (forger.address(), Some("silver")), (nobody.address(), None)]
    {
        upstream.forget();
        let gateway = gateway("16", "{}", &[("up", upstream.address()), ("segments", address)]);
        assert_eq!(get(&gateway, "/", "\r\nx-segment: forged").status, 200);
        assert_eq!(upstream.requests()[0].header("x-segment"), segment);
    }
}

#[test]
fn recipe_17_looks_at_the_first_bytes() {
    let server = ByteServer::start();
    let yaml = format!(
        "{}
listeners: [{{ name: db, address: '127.0.0.1:0', protocol: tcp }}]
routes: [{{ name: db, listeners: [db], rules: [{{ filters: [{{ plugin: recipe }}], forward: [{{ upstream: up }}] }}] }}]
",
        document("17", "{}", &[("up", server.address())])
    );
    let gateway = TestGateway::start_with(&yaml, &[("recipe_17.wasm", &module("17"))]);
    let mut tls = RawClient::connect(gateway.address("db"));
    tls.send(b"\x16\x03\x01");
    let mut accepted = server.accept();
    assert_eq!(accepted.exactly(3).expect("the bytes"), b"\x16\x03\x01");
    let mut plain = RawClient::connect(gateway.address("db"));
    plain.send("GET /");
    let (got, end) = plain.rest();
    assert!(got.is_empty() && end != End::Open, "{got:?} {end:?}");
}

#[test]
fn recipe_18_asks_two_servers_at_once() {
    let (prices, stock, nobody) = (server(200, "", "17"), server(200, "", "3"), Nobody::new());
    for (stock, told) in
        [(stock.address(), r#"{"price":17,"stock":3}"#), (nobody.address(), r#"{"price":17,"stock":null}"#)]
    {
        let upstreams = [("up", prices.address()), ("prices", prices.address()), ("stock", stock)];
        assert_eq!(get(&gateway("18", "{}", &upstreams), "/cup", "").text(), told);
    }
}

#[test]
fn recipe_19_checks_a_signature_over_a_body_of_any_size() {
    let upstream = ScriptedUpstream::plain();
    let gateway = gateway("19", "{ secret: s3cret }", &[("up", upstream.address())]);
    let send = |signature: &str, body: &str| {
        let head = format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}", body.len());
        let whole = format!("{head}\r\nx-signature: {signature}\r\n\r\n{body}");
        RawClient::connect(gateway.address("web")).exchange(whole).status
    };
    // By `openssl dgst -sha256 -hmac s3cret -binary | base64`.
    let (order, large) =
        ("TYNJFJeVsyRa49yo4TeYMXxa1zTmQVm0Ot/CR7kQUN4=", "Mr7Mr6vkD6l9+OvoA9Ud7PmX93HyS4mH2P3YD5JG87g=");
    // More than the gateway holds for a filter.
    let more = "x".repeat(2 << 20);
    assert_eq!((send(order, "an order"), send(large, &more)), (200, 200));
    assert_eq!((send(order, "an offer"), send(order, &more), send("?", "an order")), (401, 401, 401));
    let requests = upstream.requests();
    let whole = requests.iter().filter(|request| request.state == State::Complete);
    let lengths: Vec<usize> = whole.map(|request| request.body.len()).collect();
    assert_eq!(lengths, [8, 2 << 20], "what is not signed has no end for the upstream");
}
