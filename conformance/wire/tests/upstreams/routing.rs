//! Which rule gets a request, and what rules do, seen on the wire.

use tidegate_testkit::{Answer, RawClient, Response, ScriptedUpstream, Step, TestGateway, fill};

fn ask(gateway: &TestGateway, request: &str) -> Response {
    RawClient::connect(gateway.address("web")).exchange(request)
}

/// Gateway API: the most specific host, then the exact path, the longest prefix, the method, the number of headers,
/// the number of query parameters, the order.
const PRECEDENCE: &str = "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes:
  - name: any-host
    rules:
      - { name: any, respond: { body: any } }
  - name: wildcard
    hostnames: ['*.test']
    rules:
      - { name: wildcard, respond: { body: wildcard } }
      - { name: wildcard-path, matches: [{ path: { exact: /long/path } }], respond: { body: wildcard-path } }
  - name: narrow-wildcard
    hostnames: ['*.b.test']
    rules: [{ name: narrow, respond: { body: narrow } }]
  - name: exact-host
    hostnames: [a.test]
    rules:
      - { name: root, matches: [{ path: { prefix: / } }], respond: { body: root } }
      - { name: prefix, matches: [{ path: { prefix: /p } }], respond: { body: prefix } }
      - { name: longer, matches: [{ path: { prefix: /p/q } }], respond: { body: longer } }
      - { name: exact, matches: [{ path: { exact: /p/q } }], respond: { body: exact } }
      - { name: method, matches: [{ path: { prefix: /p }, method: POST }], respond: { body: method } }
      - { name: header, matches: [{ path: { prefix: /p }, headers: { x-a: '1' } }], respond: { body: header } }
      - { name: headers, matches: [{ path: { prefix: /p }, headers: { x-a: '1', x-b: '2' } }], respond: { body: headers } }
      - { name: query, matches: [{ path: { prefix: /p }, query: { v: '1' } }], respond: { body: query } }
      - { name: queries, matches: [{ path: { prefix: /p }, query: { v: '1', w: '2' } }], respond: { body: queries } }
      - { name: first, matches: [{ path: { prefix: /same } }], respond: { body: first } }
      - { name: second, matches: [{ path: { prefix: /same } }], respond: { body: second } }
      - { name: regex, matches: [{ path: { regex: '/r/[0-9]+' } }], respond: { body: regex } }
      - { name: value, matches: [{ path: { prefix: /v }, headers: { x-a: { regex: '[a-c]+' } } }], respond: { body: value } }
      - { name: either, matches: [{ path: { exact: /e1 } }, { path: { exact: /e2 } }], respond: { body: either } }
";

#[test]
fn the_most_specific_rule_wins() {
    let gateway = TestGateway::start(PRECEDENCE);
    let rows = [
        ("GET / HTTP/1.1\r\nhost: a.test", "root"),
        ("GET / HTTP/1.1\r\nhost: A.TEST:8080", "root"),
        ("GET / HTTP/1.1\r\nhost: other.example", "any"),
        ("GET / HTTP/1.1\r\nhost: x.test", "wildcard"),
        ("GET / HTTP/1.1\r\nhost: x.y.test", "wildcard"),
        ("GET / HTTP/1.1\r\nhost: test", "any"),
        ("GET /long/path HTTP/1.1\r\nhost: x.test", "wildcard-path"),
        // A more specific host wins before any path is looked at.
        ("GET /long/path HTTP/1.1\r\nhost: x.b.test", "narrow"),
        ("GET /long/path HTTP/1.1\r\nhost: a.test", "root"),
        ("GET /p HTTP/1.1\r\nhost: a.test", "prefix"),
        ("GET /p/x HTTP/1.1\r\nhost: a.test", "prefix"),
        ("GET /px HTTP/1.1\r\nhost: a.test", "root"),
        ("GET /p/q HTTP/1.1\r\nhost: a.test", "exact"),
        ("GET /p/q/ HTTP/1.1\r\nhost: a.test", "longer"),
        ("GET /p/q/r HTTP/1.1\r\nhost: a.test", "longer"),
        ("POST /p/q HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0", "exact"),
        ("POST /p HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0", "method"),
        ("POST /p HTTP/1.1\r\nhost: a.test\r\ncontent-length: 0\r\nx-a: 1\r\nx-b: 2", "method"),
        ("GET /p HTTP/1.1\r\nhost: a.test\r\nx-a: 1", "header"),
        ("GET /p HTTP/1.1\r\nhost: a.test\r\nx-a: 1\r\nX-B: 2", "headers"),
        ("GET /p HTTP/1.1\r\nhost: a.test\r\nx-a: 2", "prefix"),
        ("GET /p?v=1 HTTP/1.1\r\nhost: a.test", "query"),
        ("GET /p?w=2&v=1 HTTP/1.1\r\nhost: a.test", "queries"),
        ("GET /p?v=1&w=2 HTTP/1.1\r\nhost: a.test\r\nx-a: 1", "header"),
        ("GET /p?v=2 HTTP/1.1\r\nhost: a.test", "prefix"),
        ("GET /same HTTP/1.1\r\nhost: a.test", "first"),
        ("GET /r/17 HTTP/1.1\r\nhost: a.test", "regex"),
        ("GET /r/17x HTTP/1.1\r\nhost: a.test", "root"),
        ("GET /x/r/17 HTTP/1.1\r\nhost: a.test", "root"),
        ("GET /v HTTP/1.1\r\nhost: a.test\r\nx-a: abc", "value"),
        ("GET /v HTTP/1.1\r\nhost: a.test\r\nx-a: abcd", "root"),
        ("GET /e2 HTTP/1.1\r\nhost: a.test", "either"),
        // Matching is on the canonical path.
        ("GET /x/../%70/./q HTTP/1.1\r\nhost: a.test", "exact"),
    ];
    for (request, rule) in rows {
        assert_eq!(ask(&gateway, &format!("{request}\r\n\r\n")).text(), rule, "{request:?}");
    }
}

#[test]
fn no_route_is_404() {
    let gateway = TestGateway::start(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http, hostnames: [a.test, '*.b.test'] }]
routes:
  - { name: r, rules: [{ matches: [{ path: { prefix: /only } }], respond: { body: x } }] }
",
    );
    for (request, status) in [
        ("GET /only HTTP/1.1\r\nhost: a.test\r\n\r\n", 200),
        ("GET /only HTTP/1.1\r\nhost: x.b.test\r\n\r\n", 200),
        ("GET /other HTTP/1.1\r\nhost: a.test\r\n\r\n", 404),
        ("GET /only HTTP/1.1\r\nhost: c.test\r\n\r\n", 404),
    ] {
        assert_eq!(ask(&gateway, request).status, status, "{request:?}");
    }
}

#[test]
fn weights_share_requests() {
    let (a, b) = (ScriptedUpstream::plain(), ScriptedUpstream::plain());
    let gateway = TestGateway::start(&fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes:
  - name: r
    rules:
      - name: split
        matches: [{ path: { prefix: /split } }]
        forward: [{ upstream: a, weight: 90 }, { upstream: b, weight: 10 }]
      - name: off
        matches: [{ path: { prefix: /off } }]
        forward: [{ upstream: a, weight: 0 }, { upstream: b, weight: 1 }]
      - name: none
        matches: [{ path: { prefix: /none } }]
        forward: [{ upstream: a, weight: 0 }]
upstreams: { a: { servers: ['${a}'] }, b: { servers: ['${b}'] } }
",
        &[("a", &a.address()), ("b", &b.address())],
    ));
    let mut client = RawClient::connect(gateway.address("web"));
    for _ in 0..1_000 {
        assert_eq!(client.exchange("GET /split HTTP/1.1\r\nhost: a.test\r\n\r\n").status, 200);
    }
    let (of_a, of_b) = (a.requests().len(), b.requests().len());
    assert_eq!(of_a + of_b, 1_000);
    // A fair coin of 10 % leaves this range once in a million runs.
    assert!((55..=155).contains(&of_b), "{of_b} of 1,000 for a weight of 10 %");
    for _ in 0..50 {
        assert_eq!(client.exchange("GET /off HTTP/1.1\r\nhost: a.test\r\n\r\n").status, 200);
    }
    assert_eq!(b.requests().len(), of_b + 50);
    assert_eq!(client.exchange("GET /none HTTP/1.1\r\nhost: a.test\r\n\r\n").status, 500);
}

#[test]
fn redirects() {
    let gateway = TestGateway::start(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes:
  - name: r
    rules:
      - { matches: [{ path: { prefix: /https } }], redirect: { scheme: https, status: 308 } }
      - { matches: [{ path: { prefix: /host } }], redirect: { hostname: b.test } }
      - { matches: [{ path: { prefix: /port } }], redirect: { port: 8443, status: 301 } }
      - { matches: [{ path: { prefix: /full } }], redirect: { path: { full: /elsewhere } } }
      - { matches: [{ path: { prefix: /old } }], redirect: { path: { prefix: /new } } }
      - { matches: [{ path: { prefix: /cut } }], redirect: { path: { prefix: / } } }
",
    );
    for (target, host, status, location) in [
        ("/https/x?y=1", "a.test", 308, "https://a.test/https/x?y=1"),
        ("/https", "a.test:80", 308, "https://a.test/https"),
        ("/host", "a.test", 302, "http://b.test/host"),
        ("/port", "a.test", 301, "http://a.test:8443/port"),
        ("/full/x?y=1", "a.test", 302, "http://a.test/elsewhere?y=1"),
        ("/old/x", "a.test", 302, "http://a.test/new/x"),
        ("/old", "a.test", 302, "http://a.test/new"),
        ("/cut/x", "a.test", 302, "http://a.test/x"),
        ("/cut", "a.test", 302, "http://a.test/"),
    ] {
        let answer = ask(&gateway, &format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        let got = answer.header("location").unwrap_or_default();
        // The port of the listener may be kept where neither the rule nor the client says another.
        let port = format!(":{}", gateway.address("web").port());
        assert_eq!((answer.status, got.replacen(&port, "", 1).as_str()), (status, location), "{target}");
        assert!(answer.body.len() < 200, "{target}");
    }
}

#[test]
fn fixed_answers() {
    let gateway = TestGateway::start(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes:
  - name: r
    rules:
      - { respond: { status: 418, headers: { x-a: b, content-type: text/html }, body: <p>tea</p> } }
      - { matches: [{ path: { exact: /empty } }], respond: { status: 204 } }
",
    );
    let answer = ask(&gateway, "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (418, "<p>tea</p>"));
    assert_eq!((answer.header("x-a"), answer.header("content-type")), (Some("b"), Some("text/html")));
    let answer = ask(&gateway, "HEAD / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert_eq!((answer.status, answer.body.len()), (418, 0));
    assert_eq!(ask(&gateway, "GET /empty HTTP/1.1\r\nhost: a.test\r\n\r\n").status, 204);
    // A request's body is read or the connection is closed, never taken for a request.
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 45\r\n\r\nGET /empty HTTP/1.1\r\nhost: a.test\r\nx: yyy\r\n\r\n");
    assert_eq!(client.response("POST").expect("well formed").status, 418);
    client.half_close();
    let (rest, _) = client.rest();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

const CHANGES: &str = "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes:
  - name: r
    rules:
      - matches: [{ path: { prefix: /headers } }]
        filters:
          - requestHeaders: { set: { x-set: new }, add: { x-add: more }, remove: [x-remove, cookie] }
          - responseHeaders: { set: { x-set: new }, add: { x-add: more }, remove: [server] }
        forward: [{ upstream: up }]
      - matches: [{ path: { prefix: /old } }]
        filters: [{ rewrite: { hostname: b.test, path: { prefix: /new } } }]
        forward: [{ upstream: up }]
      - matches: [{ path: { prefix: /cut } }]
        filters: [{ rewrite: { path: { prefix: / } } }]
        forward: [{ upstream: up }]
      - matches: [{ path: { prefix: /full } }]
        filters: [{ rewrite: { path: { full: /all } } }]
        forward: [{ upstream: up }]
upstreams: { up: { servers: ['${up}'] } }
";

#[test]
fn header_changes_and_rewrites() {
    let upstream = ScriptedUpstream::start(|_| {
        Answer::steps([
            Step::ReadBody,
            Step::send(
                "HTTP/1.1 200 OK\r\nserver: secret\r\nx-keep: 1\r\nx-set: old\r\nx-set: older\r\ncontent-length: 0\r\n\r\n",
            ),
        ])
    });
    let gateway = TestGateway::start(&fill(CHANGES, &[("up", &upstream.address())]));
    let answer = ask(
        &gateway,
        "GET /headers HTTP/1.1\r\nhost: a.test\r\nx-set: old\r\nX-Set: older\r\nx-add: one\r\nx-remove: 1\r\ncookie: a\r\n\r\n",
    );
    assert_eq!(
        (answer.header("x-set"), answer.header("x-add"), answer.header("x-keep")),
        (Some("new"), Some("more"), Some("1"))
    );
    assert!(!answer.headers.has("server"));
    let request = upstream.requests().remove(0);
    let headers = request.headers();
    assert_eq!((headers.all("x-set"), headers.all("x-add")), (vec!["new"], vec!["one", "more"]));
    assert!(!headers.has("x-remove") && !headers.has("cookie"));
    for (sent, target, host) in [
        ("/old/x?y", "/new/x?y", "b.test"),
        ("/old", "/new", "b.test"),
        ("/cut/x", "/x", "a.test"),
        ("/cut", "/", "a.test"),
        ("/full/x?y", "/all?y", "a.test"),
    ] {
        upstream.forget();
        ask(&gateway, &format!("GET {sent} HTTP/1.1\r\nhost: a.test\r\n\r\n"));
        let request = upstream.requests().remove(0);
        assert_eq!((request.target(), request.header("host")), (target, Some(host)), "{sent}");
    }
}

fn balanced(method: &str, upstreams: &[&ScriptedUpstream]) -> TestGateway {
    let servers: Vec<String> = upstreams.iter().map(|u| format!("'{}'", u.address())).collect();
    TestGateway::start(&fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: r, rules: [{ forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: [${servers}], balance: ${method} } }
",
        &[("servers", &servers.join(", ")), ("method", &method)],
    ))
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n";

#[test]
fn round_robin_goes_around() {
    let upstreams = [ScriptedUpstream::plain(), ScriptedUpstream::plain(), ScriptedUpstream::plain()];
    let gateway = balanced("roundRobin", &upstreams.iter().collect::<Vec<_>>());
    let mut client = RawClient::connect(gateway.address("web"));
    (0..30).for_each(|_| assert_eq!(client.exchange(GET).status, 200));
    assert_eq!(upstreams.map(|u| u.requests().len()), [10, 10, 10]);
}

#[test]
fn random_reaches_all() {
    let upstreams = [ScriptedUpstream::plain(), ScriptedUpstream::plain()];
    let gateway = balanced("random", &upstreams.iter().collect::<Vec<_>>());
    let mut client = RawClient::connect(gateway.address("web"));
    (0..100).for_each(|_| assert_eq!(client.exchange(GET).status, 200));
    let counts = upstreams.map(|u| u.requests().len());
    assert!(counts.iter().all(|c| *c > 20), "{counts:?}");
}

#[test]
fn the_busier_server_is_left_alone() {
    let slow = ScriptedUpstream::start(|_| Answer::steps([Step::UntilClosed]));
    let quick = ScriptedUpstream::plain();
    let gateway = balanced("leastRequest", &[&slow, &quick]);
    // One request after the other until the slow one has one, which it keeps.
    let mut kept = RawClient::connect(gateway.address("web"));
    loop {
        let answered = quick.requests().len();
        kept.send(GET);
        while slow.requests().is_empty() && quick.requests().len() == answered {
            std::thread::yield_now();
        }
        if !slow.requests().is_empty() {
            break;
        }
        assert_eq!(kept.response("GET").expect("well formed").status, 200);
    }
    let mut client = RawClient::connect(gateway.address("web"));
    for _ in 0..20 {
        assert_eq!(client.exchange(GET).status, 200);
    }
    assert_eq!(slow.requests().len(), 1);
}
