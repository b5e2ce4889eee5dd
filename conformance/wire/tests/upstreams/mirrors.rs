//! Copies of requests: who gets them, and that nothing that becomes of one reaches the client.

use std::time::{Duration, Instant};

use tidegate_testkit::{
    Answer, Gate, Load, LoadOptions, Nobody, RawClient, Received, ScriptedUpstream, State, Step, TestGateway,
    fill,
};

const GET: &str = "GET /a?b=c HTTP/1.1\r\nhost: shop.test:81\r\n\r\n";

fn yaml(main: &ScriptedUpstream, shadow: &dyn std::fmt::Display, mirror: &str) -> String {
    fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: shop, rules: [{ name: all, forward: [{ upstream: main }], mirror: ${mirror} }] }]
upstreams:
  main: { servers: ['${main}'] }
  shadow: { servers: ['${shadow}'] }
",
        &[("main", &main.address()), ("shadow", shadow), ("mirror", &mirror)],
    )
}

fn gateway(main: &ScriptedUpstream, shadow: &dyn std::fmt::Display, mirror: &str) -> TestGateway {
    TestGateway::start(&yaml(main, shadow, mirror))
}

/// All requests of a server, complete, once there are so many.
fn received(upstream: &ScriptedUpstream, count: usize) -> Vec<Received> {
    let complete = |request: &&Received| request.state == State::Complete;
    upstream.wait("copies", |all| {
        all.iter().flat_map(|connection| &connection.requests).filter(complete).count() >= count
    });
    upstream.requests()
}

/// Waits for a counter of the mirror.
fn counted(gateway: &TestGateway, what: &str, count: f64) {
    let name = format!("tidegate_mirror_{what}");
    gateway.wait(&name, |gateway| gateway.metric(&name, "") == count);
}

#[test]
fn copies_are_marked_and_their_answers_go_nowhere() {
    let main = ScriptedUpstream::plain();
    let shadow =
        ScriptedUpstream::start(|_| Answer::reply("HTTP/1.1 500 No\r\ncontent-length: 4\r\n\r\noops"));
    let gateway = gateway(&main, &shadow.address(), "{ upstream: shadow, hostSuffix: -shadow }");
    let mut client = RawClient::connect(gateway.address("web"));
    let answer = client.exchange(GET);
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    let copies = received(&shadow, 1);
    assert_eq!(copies[0].target(), "/a?b=c");
    assert_eq!(copies[0].header("x-tidegate-mirror"), Some("shop/all"));
    assert_eq!(copies[0].header("host"), Some("shop.test-shadow:81"));
    let own = main.requests();
    assert_eq!((own[0].header("x-tidegate-mirror"), own[0].header("host")), (None, Some("shop.test:81")));
    for name in ["x-request-id", "x-forwarded-for", "x-forwarded-proto"] {
        assert_eq!(copies[0].header(name), own[0].header(name), "{name}");
        assert!(own[0].header(name).is_some(), "{name}");
    }
    assert_eq!(copies[0].header("x-forwarded-host"), Some("shop.test:81"));
}

#[test]
fn bodies_are_copied_as_they_come() {
    let (main, shadow) = (ScriptedUpstream::plain(), ScriptedUpstream::plain());
    let gateway = gateway(&main, &shadow.address(), "{ upstream: shadow }");
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("POST /length HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\n01234");
    received_head(&shadow);
    client.send("56789");
    assert_eq!(client.response("POST").expect("an answer").status, 200);
    client.send("POST /chunks HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    client.send("4\r\ndefg\r\n0\r\nx-end: yes\r\n\r\n");
    assert_eq!(client.response("POST").expect("an answer").status, 200);
    for requests in [received(&main, 2), received(&shadow, 2)] {
        let bodies: Vec<&[u8]> = requests.iter().map(|request| request.body.as_slice()).collect();
        assert_eq!(bodies, [&b"0123456789"[..], b"abcdefg"]);
        assert_eq!(requests[0].header("content-length"), Some("10"));
        assert_eq!(requests[1].trailers.get("x-end"), Some("yes"));
    }
}

/// The copy does not wait for the end of the body.
fn received_head(upstream: &ScriptedUpstream) {
    upstream.wait("a head", |all| all.iter().any(|connection| !connection.requests.is_empty()));
}

#[test]
fn each_of_several_has_its_share() {
    let (main, one, two) = (ScriptedUpstream::plain(), ScriptedUpstream::plain(), ScriptedUpstream::plain());
    let mirrors = "[{ upstream: shadow, percent: 25 }, { upstream: second, percent: 10 }]";
    let mut text = yaml(&main, &one.address(), mirrors);
    text.push_str(&format!("  second: {{ servers: ['{}'] }}\n", two.address()));
    let gateway = TestGateway::start(&text);
    let mut client = RawClient::connect(gateway.address("web"));
    for _ in 0..400 {
        assert_eq!(client.exchange(GET).status, 200);
    }
    for (upstream, share) in [("shadow", 100.0), ("second", 40.0)] {
        let copies = gateway.metric("tidegate_mirror_requests_total", upstream);
        assert!((copies - share).abs() <= 2.0, "{upstream} got {copies}");
        gateway.wait("the copies' answers", |gateway| {
            gateway.metric("tidegate_mirror_same_total", upstream) == copies
        });
    }
    assert_eq!(main.requests().len(), 400);
}

/// The client's answers stay as they are and as fast, whatever the copies' upstream does.
#[test]
fn a_mirror_that_is_broken_is_not_noticed() {
    let nobody = Nobody::new();
    let resets = ScriptedUpstream::start(|_| Answer::steps([Step::ReadBody, Step::Reset]));
    let garbage = ScriptedUpstream::start(|_| Answer::reply("nonsense\r\n\r\n").then(Step::Close));
    let half = ScriptedUpstream::start(|_| {
        Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").then(Step::Close)
    });
    for shadow in [nobody.address(), resets.address(), garbage.address(), half.address()] {
        let main = ScriptedUpstream::plain();
        let gateway = gateway(&main, &shadow, "{ upstream: shadow }");
        let mut client = RawClient::connect(gateway.address("web"));
        for _ in 0..10 {
            let answer = client.exchange(GET);
            assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
            let request = "POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nabcde";
            assert_eq!(client.exchange(request).status, 200);
        }
        counted(&gateway, "failed_total", 20.0);
        counted(&gateway, "active", 0.0);
        assert_eq!(gateway.metric("tidegate_request_failures_total", ""), 0.0);
    }
}

/// Copies that hang are limited in number and in time.
#[test]
fn a_mirror_that_hangs_holds_nothing_up() {
    let main = ScriptedUpstream::plain();
    let hangs = ScriptedUpstream::start(|_| Answer::steps([Step::UntilClosed]));
    let mirror = "{ upstream: shadow, limit: 4, timeout: 500ms }";
    let gateway = gateway(&main, &hangs.address(), mirror);
    let mut client = RawClient::connect(gateway.address("web"));
    let start = Instant::now();
    for _ in 0..50 {
        assert_eq!(client.exchange(GET).status, 200);
    }
    let took = start.elapsed();
    let copies = gateway.metric("tidegate_mirror_requests_total", "");
    let skipped = gateway.metric("tidegate_mirror_skipped_total", "");
    assert_eq!(copies + skipped, 50.0);
    assert!(gateway.metric("tidegate_mirror_active", "") <= 4.0);
    // As many times four as half seconds have begun.
    assert!(copies <= 4.0 * (1.0 + (took.as_secs_f64() / 0.5).ceil()), "{copies} copies in {took:?}");
    counted(&gateway, "late_total", copies);
    counted(&gateway, "active", 0.0);
    // What hangs does not keep a configuration that is gone.
    client.exchange(GET);
    gateway.reload(&yaml(&main, &hangs.address(), "{ upstream: shadow, percent: 0 }"));
    gateway.wait("the old generation to be gone", |gateway| gateway.generations().len() == 1);
}

#[test]
fn a_copy_that_is_too_slow_for_a_body_is_given_up() {
    let gate = Gate::new();
    let (main, held) = (ScriptedUpstream::plain(), gate.clone());
    let slow = ScriptedUpstream::start(move |_| Answer::steps([Step::Wait(held.clone()), Step::ReadBody]));
    let gateway = gateway(&main, &slow.address(), "{ upstream: shadow, buffer: 64KiB, timeout: 60s }");
    let mut client = RawClient::connect(gateway.address("web"));
    // More than what the sockets between them can hold.
    let piece = vec![b'x'; 1 << 20];
    client.send(format!("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: {}\r\n\r\n", piece.len() * 32));
    for _ in 0..32 {
        assert!(client.send(&piece));
    }
    assert_eq!(client.response("POST").expect("an answer").status, 200);
    assert_eq!(received(&main, 1)[0].body.len(), piece.len() * 32);
    counted(&gateway, "cut_total", 1.0);
    counted(&gateway, "active", 0.0);
    gate.open();
    slow.wait("the end of the copy", |all| all.iter().all(|connection| connection.finished));
    let whole = |request: &Received| request.state == State::Complete;
    assert!(!slow.requests().iter().any(whole), "half a body must not look whole");
}

#[test]
fn a_client_that_goes_away_takes_the_copy_of_its_body_with_it() {
    let (main, shadow) = (ScriptedUpstream::plain(), ScriptedUpstream::plain());
    let gateway = gateway(&main, &shadow.address(), "{ upstream: shadow }");
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 10\r\n\r\n01234");
    received_head(&shadow);
    client.reset();
    counted(&gateway, "failed_total", 1.0);
    shadow.wait("the end of the copy", |all| all.iter().all(|connection| connection.finished));
    assert_ne!(shadow.requests()[0].state, State::Complete);
}

#[test]
fn answers_are_compared() {
    let main = ScriptedUpstream::plain();
    let gate = Gate::new();
    let held = gate.clone();
    let shadow = ScriptedUpstream::start(move |call| match call.head.target.as_str() {
        "/worse" => Answer::reply("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"),
        "/late" => Answer::steps([
            Step::Wait(held.clone()),
            Step::send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        ]),
        _ => Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    });
    let gateway = gateway(&main, &shadow.address(), "{ upstream: shadow }");
    let mut client = RawClient::connect(gateway.address("web"));
    for target in ["/", "/", "/worse", "/late", "/"] {
        assert_eq!(client.exchange(format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n\r\n")).status, 200);
    }
    counted(&gateway, "same_total", 3.0);
    counted(&gateway, "different_total", 1.0);
    gate.open();
    counted(&gateway, "same_total", 4.0);
    for side in ["main", "mirror"] {
        let side = format!("of=\"{side}\"");
        assert_eq!(gateway.metric("tidegate_mirror_head_seconds_count", &side), 5.0);
        assert!(gateway.metric("tidegate_mirror_head_seconds_sum", &side) > 0.0);
    }
}

/// Requests that change their protocol are not copied.
#[test]
fn upgrades_are_not_copied() {
    let main = ScriptedUpstream::start(|_| {
        Answer::early("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
            .then(Step::Echo)
    });
    let shadow = ScriptedUpstream::plain();
    let gateway = gateway(&main, &shadow.address(), "{ upstream: shadow }");
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
    assert_eq!(client.response("GET").expect("an answer").status, 101);
    drop(client);
    gateway.wait("the tunnel's end", |gateway| gateway.metric("tidegate_connections_open", "") == 0.0);
    assert_eq!(gateway.metric("tidegate_mirror_requests_total", ""), 0.0);
    assert!(gateway.drain(Duration::from_secs(10)));
}

/// HTTP/1.1 and HTTP/2, with and without bodies, against a mirror that answers, one that hangs, and one that resets.
#[test]
fn under_load_nothing_fails_whatever_the_mirror_does() {
    let answers = ScriptedUpstream::plain();
    let hangs = ScriptedUpstream::start(|_| Answer::steps([Step::UntilClosed]));
    let resets = ScriptedUpstream::start(|_| Answer::steps([Step::ReadBody, Step::Reset]));
    for shadow in [&answers, &hangs, &resets] {
        let main = ScriptedUpstream::plain();
        let mirror = "{ upstream: shadow, limit: 16, timeout: 200ms }";
        let gateway = gateway(&main, &shadow.address(), mirror);
        let plain = LoadOptions { connections: 1, ..LoadOptions::new(gateway.address("web")) };
        let body = LoadOptions { body: "some bytes", ..plain.clone() };
        let streams = LoadOptions { streams: 4, ..plain.clone() };
        let both = LoadOptions { streams: 4, ..body.clone() };
        let load: Vec<Load> = [plain, body, streams, both].iter().map(Load::start).collect();
        load.iter().for_each(|load| load.wait_for(200));
        for load in load {
            let (answered, failures) = load.finish();
            assert!(answered >= 200 && failures.is_empty(), "{failures:?}");
        }
        assert!(gateway.metric("tidegate_mirror_active", "") <= 16.0);
        counted(&gateway, "active", 0.0);
        let different = gateway.metric("tidegate_mirror_different_total", "");
        assert_eq!(different, 0.0, "who did not answer did not answer differently");
    }
    assert!(answers.requests().iter().all(|request| request.state == State::Complete));
}

/// Servers that speak HTTP/2 get copies as well, with their trailers.
#[test]
fn copies_go_to_servers_of_http2_too() {
    let (main, inner) = (ScriptedUpstream::plain(), ScriptedUpstream::plain());
    // The other gateway speaks HTTP/2 to its clients.
    let behind = TestGateway::start(&fill(
        "
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
routes: [{ name: all, rules: [{ forward: [{ upstream: inner }] }] }]
upstreams: { inner: { servers: ['${inner}'] } }
",
        &[("inner", &inner.address())],
    ));
    let text = yaml(&main, &behind.address("web"), "{ upstream: shadow }");
    let gateway = TestGateway::start(&text.replace("  shadow: { ", "  shadow: { protocol: http2, "));
    let mut client = RawClient::connect(gateway.address("web"));
    client.send("POST /chunks HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    client.send("0\r\nx-end: yes\r\n\r\n");
    assert_eq!(client.response("POST").expect("an answer").status, 200);
    counted(&gateway, "same_total", 1.0);
    let copies = received(&inner, 1);
    assert_eq!((copies[0].body.as_slice(), copies[0].trailers.get("x-end")), (&b"abc"[..], Some("yes")));
    assert_eq!(copies[0].header("x-tidegate-mirror"), Some("shop/all"));
}
