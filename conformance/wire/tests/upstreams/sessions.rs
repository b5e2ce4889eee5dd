//! Sessions: who had a server once stays there, over connections, workers, gateways and reloads, for as long as that server can be
//! used.

use std::time::Duration;

use tidegate_testkit::{
    Answer, Authority, Cause, Fate, Frame, Frames, Http2Answer, Http2Client, LogFile, RawClient, Response,
    ScriptedUpstream, Server, TestGateway, fill,
};

const CONFIG: &str = "
workers: 2
listeners:
  - { name: web, address: '127.0.0.1:0', protocol: http }
${listener}
routes: [{ name: r, rules: [{ forward: [${forward}]${rule} }] }]
upstreams:
${upstreams}
accessLog: { path: ${log} }
";

const KEY: &str = "key: 0123456789abcdef0123456789abcdef";

/// Servers that answer with their numbers, and what gateways before them say.
struct Lab {
    servers: Vec<ScriptedUpstream>,
    log: LogFile,
}

/// What a test says besides.
#[derive(Clone, Copy, Default)]
struct Terms<'a> {
    listener: &'a str,
    rule: &'a str,
    upstream: &'a str,
}

impl Lab {
    fn new(servers: usize) -> Self {
        let servers = (0..servers).map(|n| ScriptedUpstream::start(move |_| number(n))).collect();
        Self { servers, log: LogFile::default() }
    }

    /// A configuration with one upstream.
    fn yaml(&self, terms: Terms<'_>) -> String {
        let servers: Vec<_> = self.servers.iter().map(|own| format!("'{}'", own.address())).collect();
        let upstream = format!("  up: {{ servers: [{}]{} }}", servers.join(", "), terms.upstream);
        self.fill("{ upstream: up }", terms, &upstream)
    }

    /// A configuration with two upstreams, `old` and `new`, that have two servers each.
    fn two(&self, weights: [u32; 2], terms: Terms<'_>) -> String {
        let at = |n: usize| self.servers[n].address();
        let upstream = |name: &str, n: usize| {
            format!("  {name}: {{ servers: ['{}', '{}']{} }}\n", at(n), at(n + 1), terms.upstream)
        };
        let [old, new] = weights;
        let forward = format!("{{ upstream: old, weight: {old} }}, {{ upstream: new, weight: {new} }}");
        self.fill(&forward, terms, &(upstream("old", 0) + &upstream("new", 2)))
    }

    fn fill(&self, forward: &str, terms: Terms<'_>, upstreams: &str) -> String {
        fill(
            CONFIG,
            &[
                ("listener", &terms.listener),
                ("forward", &forward),
                ("rule", &terms.rule),
                ("upstreams", &upstreams),
                ("log", &self.log.path().display()),
            ],
        )
    }

    fn wait_for_line(&self, gateway: &TestGateway, what: &str) {
        let text = || std::fs::read_to_string(self.log.path()).unwrap_or_default();
        gateway.wait(what, |_| text().contains(what));
    }
}

fn number(n: usize) -> Answer {
    Answer::reply(format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{n}"))
}

/// One request on a connection of its own.
fn ask(gateway: &TestGateway, fields: &str) -> Response {
    let mut client = RawClient::connect(gateway.address("web"));
    client.exchange(format!("GET / HTTP/1.1\r\nhost: a.test\r\n{fields}\r\n"))
}

fn with(session: &str) -> String {
    format!("cookie: a=b; s={session}\r\n")
}

/// The value of the session's cookie, if the answer sets it.
fn set(answer: &Response) -> Option<String> {
    let pair = answer.header("set-cookie")?.split("; ").next()?;
    pair.strip_prefix("s=").map(str::to_owned)
}

fn begin(gateway: &TestGateway) -> (String, String) {
    let answer = ask(gateway, "");
    (answer.text(), set(&answer).expect("a session begins"))
}

fn outcome(gateway: &TestGateway, word: &str) -> f64 {
    gateway.metric("tidegate_upstream_sessions_total", &format!("outcome=\"{word}\""))
}

#[test]
fn a_client_stays_over_connections_workers_gateways_and_reloads() {
    let lab = Lab::new(5);
    let upstream = format!(", session: {{ cookie: s, {KEY} }}");
    let yaml = lab.yaml(Terms { upstream: &upstream, ..Terms::default() });
    let gateway = TestGateway::start(&yaml);
    let other = TestGateway::start(&yaml);
    for _ in 0..8 {
        let (server, session) = begin(&gateway);
        for asked in [&gateway, &other, &gateway, &gateway, &other] {
            let answer = ask(asked, &with(&session));
            assert_eq!((answer.text(), set(&answer)), (server.clone(), None));
        }
        // HTTP/2 has the cookie in fields of its own.
        let mut frames = Frames::connect(gateway.address("web"), &[]);
        let session_field = format!("s={session}");
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a.test"),
            ("cookie", "a=b"),
            ("cookie", session_field.as_str()),
        ];
        frames.send(&Frame::headers(1, &fields, true));
        assert_eq!(frames.fate(1), Fate::Answered(200, server.clone().into_bytes()));
        for change in ["", ", slowStart: 1s", ", limits: { requests: 100 }"] {
            let upstream = format!("{upstream}{change}");
            gateway.reload(&lab.yaml(Terms { upstream: &upstream, ..Terms::default() }));
            let answer = ask(&gateway, &with(&session));
            assert_eq!((answer.text(), set(&answer)), (server.clone(), None), "{change}");
        }
    }
    assert_eq!(outcome(&gateway, "began"), 8.0);
    assert_eq!((outcome(&gateway, "moved"), outcome(&gateway, "forged")), (0.0, 0.0));
    lab.wait_for_line(&gateway, r#""picked":"session""#);
}

#[test]
fn a_session_without_a_written_key_survives_reloads() {
    let lab = Lab::new(5);
    let yaml = |change| {
        let upstream = format!(", session: {{ cookie: s }}{change}");
        lab.yaml(Terms { upstream: &upstream, ..Terms::default() })
    };
    let gateway = TestGateway::start(&yaml(""));
    let (server, session) = begin(&gateway);
    gateway.reload(&yaml(", slowStart: 1s"));
    assert_eq!(ask(&gateway, &with(&session)).text(), server);
    let stranger = TestGateway::start(&yaml(""));
    assert!(set(&ask(&stranger, &with(&session))).is_some(), "another gateway's key is another one");
    assert_eq!(outcome(&stranger, "forged"), 1.0);
}

#[test]
fn what_is_broken_or_forged_is_a_new_session() {
    let lab = Lab::new(3);
    let upstream = format!(", session: {{ cookie: s, {KEY} }}");
    let gateway = TestGateway::start(&lab.yaml(Terms { upstream: &upstream, ..Terms::default() }));
    let (_, session) = begin(&gateway);
    let mut flipped = session.clone().into_bytes();
    flipped[30] = if flipped[30] == b'A' { b'B' } else { b'A' };
    let flipped = String::from_utf8(flipped).expect("ASCII");
    let forged = ["x", "", "127.0.0.1:80", &session[1..], &flipped, &format!("{session}{session}")];
    for bad in forged {
        let answer = ask(&gateway, &with(bad));
        assert_eq!(answer.status, 200, "{bad}");
        assert!(set(&answer).is_some(), "{bad}");
    }
    assert_eq!(outcome(&gateway, "forged"), forged.len() as f64);
    // The address of a server cannot be read from it.
    assert!(lab.servers.iter().all(|own| !session.contains(&own.address().port().to_string())));
}

#[test]
fn a_server_that_cannot_be_used_gives_its_sessions_up() {
    let lab = Lab::new(3);
    let upstream = format!(", session: {{ cookie: s, {KEY} }}");
    let gateway = TestGateway::start(&lab.yaml(Terms { upstream: &upstream, ..Terms::default() }));
    let all: Vec<Server> = lab.servers.iter().map(|own| Server::new(own.address())).collect();
    let mark = |server: usize, bad| {
        gateway
            .control()
            .mark_server("up", &all[server], Cause::Source, bad)
            .expect("there is such an upstream");
    };
    let place = |server: &str| server.parse::<usize>().expect("a number");
    let moves = |why: &str, session: &str, from: &str| {
        let answer = ask(&gateway, &with(session));
        assert_ne!(answer.text(), from, "{why}");
        (answer.text(), set(&answer).unwrap_or_else(|| panic!("{why}: it moves")))
    };
    let (server, session) = begin(&gateway);
    mark(place(&server), true);
    let (server, session) = moves("it is unhealthy", &session, &server);
    // What was its server before is well again: it stays where it is now.
    (0..3).for_each(|server| mark(server, false));
    assert_eq!(ask(&gateway, &with(&session)).text(), server);

    let mut fewer = all.clone();
    fewer[place(&server)].weight = 0;
    gateway.put_servers("up", &fewer);
    let (server, session) = moves("it is drained", &session, &server);
    let mut fewer = all.clone();
    fewer.remove(place(&server));
    gateway.put_servers("up", &fewer);
    let (server, session) = moves("it is gone", &session, &server);
    gateway.put_servers("up", &all);
    assert_eq!(outcome(&gateway, "moved"), 3.0);
    lab.wait_for_line(&gateway, r#""picked":"leastRequest, session moved""#);

    // Where none is well, moving helps nobody.
    (0..3).for_each(|server| mark(server, true));
    for _ in 0..5 {
        let answer = ask(&gateway, &with(&session));
        assert_eq!((answer.text(), set(&answer)), (server.clone(), None));
    }
}

#[test]
fn a_retry_leaves_the_server_and_says_so() {
    let lab = Lab::new(1);
    let resets = ScriptedUpstream::start(|call| match call.head.headers.get("x-fail") {
        Some(_) => Answer::reply("HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy"),
        None => Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n9"),
    });
    let upstream = format!(", session: {{ cookie: s, {KEY} }}, ejection: false");
    let rule = ", retries: { attempts: 1, on: [503] }";
    let gateway = TestGateway::start(&lab.yaml(Terms { upstream: &upstream, rule, ..Terms::default() }));
    gateway.put_servers("up", &[lab.servers[0].address(), resets.address()].map(Server::new));
    let session = std::iter::repeat_with(|| begin(&gateway)).take(50).find(|(server, _)| server == "9");
    let (_, session) = session.expect("each has its share");
    let answer = ask(&gateway, &format!("{}x-fail: 1\r\n", with(&session)));
    assert_eq!((answer.status, answer.text().as_str()), (200, "0"));
    let moved = set(&answer).expect("it moves");
    assert_eq!(ask(&gateway, &with(&moved)).text(), "0");
    lab.wait_for_line(&gateway, r#""picked":"leastRequest, session moved""#);
}

#[test]
fn a_session_stays_with_its_upstream_whatever_the_weights() {
    let lab = Lab::new(4);
    let of_rule = format!(", session: {{ cookie: s, {KEY} }}");
    for terms in
        [Terms { rule: &of_rule, ..Terms::default() }, Terms { upstream: &of_rule, ..Terms::default() }]
    {
        let gateway = TestGateway::start(&lab.two([1, 1], terms));
        let sessions: Vec<_> = (0..8).map(|_| begin(&gateway)).collect();
        let on_new = |server: &str| matches!(server, "2" | "3");
        // Half of them, give or take one for each worker.
        let new = sessions.iter().filter(|(server, _)| on_new(server)).count();
        assert!((2..=6).contains(&new), "{sessions:?}");
        let stays = |(server, session): &(String, String)| ask(&gateway, &with(session)).text() == *server;
        gateway.reload(&lab.two([99, 1], terms));
        assert!(sessions.iter().all(stays));
        // Without a weight an upstream has no requests, of sessions neither.
        gateway.reload(&lab.two([1, 0], terms));
        for session in &sessions {
            assert_eq!(stays(session), !on_new(&session.0), "{session:?}");
        }
    }
}

#[test]
fn a_release_takes_over_sessions_when_it_has_all_and_gives_them_back() {
    let lab = Lab::new(4);
    let of_rule = |step: u32| {
        format!(
            ", session: {{ cookie: s, {KEY} }}, release: {{ to: new, steps: [{step}], minRequests: 1, interval: 1h, \
             rollbackOn: {{ errorPercent: 100 }} }}"
        )
    };
    let yaml = |step: u32| {
        let rule = of_rule(step);
        let text = lab.two([1, 1], Terms { rule: &rule, ..Terms::default() });
        text.replace("{ upstream: new, weight: 1 }", "{ upstream: new }")
    };
    let gateway = TestGateway::start(&yaml(50));
    let sessions: Vec<_> = (0..8).map(|_| begin(&gateway)).collect();
    let on_new = |server: &str| matches!(server, "2" | "3");
    // Half of them, give or take one for each worker.
    let new = sessions.iter().filter(|(server, _)| on_new(server)).count();
    assert!((2..=6).contains(&new), "{sessions:?}");
    for (server, session) in &sessions {
        assert_eq!(ask(&gateway, &with(session)).text(), *server);
    }
    let id = "route/r/0";
    for (order, all_new) in
        [(tidegate_testkit::ReleaseOrder::Rollback, false), (tidegate_testkit::ReleaseOrder::Promote, true)]
    {
        gateway.steer_release(id, order, Duration::from_secs(1)).expect("there is one");
        for (_, session) in &sessions {
            assert_eq!(on_new(&ask(&gateway, &with(session)).text()), all_new);
        }
    }
}

#[test]
fn cookies_have_attributes_and_headers_are_for_clients_without_cookies() {
    let lab = Lab::new(3);
    let authority = Authority::new();
    let certificate = authority.issue(&["a.test"]);
    let listener = "  - { name: tls, address: '127.0.0.1:0', protocol: https, tls: { certificates: [{ cert: c.pem, key: k.pem }] } }";
    let files: [(&str, &[u8]); 2] =
        [("c.pem", certificate.cert.as_bytes()), ("k.pem", certificate.key.as_bytes())];
    let upstream =
        ", session: { cookie: s, lifetime: permanent, absoluteTimeout: 8h, path: /, sameSite: strict }";
    let gateway =
        TestGateway::start_with(&lab.yaml(Terms { listener, upstream, ..Terms::default() }), &files);
    let attributes = |answer: &Response| {
        let text = answer.header("set-cookie").expect("a session begins").to_owned();
        text.split_once("; ").expect("attributes").1.to_owned()
    };
    let plain = "Path=/; HttpOnly; SameSite=Strict; Max-Age=28800";
    assert_eq!(attributes(&ask(&gateway, "")), plain);
    let mut client = RawClient::connect_tls(gateway.address("tls"), &authority, "a.test", &["http/1.1"])
        .expect("the handshake succeeds");
    let answer = client.exchange("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n");
    assert_eq!(attributes(&answer), plain.replace("; Max-Age", "; Secure; Max-Age"));

    let upstream = ", session: { header: X-Session }";
    let gateway = TestGateway::start(&lab.yaml(Terms { upstream, ..Terms::default() }));
    let answer = ask(&gateway, "");
    let session = answer.header("x-session").expect("a session begins").to_owned();
    assert_eq!(answer.header("set-cookie"), None);
    for _ in 0..5 {
        let again = ask(&gateway, &format!("x-session: {session}\r\n"));
        assert_eq!((again.text(), again.header("x-session")), (answer.text(), None));
    }
}

#[test]
fn a_session_that_is_not_used_ends() {
    let lab = Lab::new(3);
    let upstream = ", session: { cookie: s, idleTimeout: 3s }";
    let gateway = TestGateway::start(&lab.yaml(Terms { upstream, ..Terms::default() }));
    let (server, session) = begin(&gateway);
    // While it is used the client is told when that was.
    gateway.wait("a session that is told of again", |gateway| {
        let answer = ask(gateway, &with(&session));
        assert_eq!(answer.text(), server);
        set(&answer).is_some_and(|next| next != session)
    });
    assert_eq!((outcome(&gateway, "began"), outcome(&gateway, "ended")), (1.0, 0.0));
    gateway.wait("its end", |gateway| {
        ask(gateway, &with(&session));
        outcome(gateway, "ended") > 0.0
    });
}

/// New sessions go where requests without one go.
#[test]
fn sessions_begin_by_priority_and_move_back_only_when_their_server_goes() {
    let lab = Lab::new(2);
    let upstream = format!(", session: {{ cookie: s, {KEY} }}");
    let gateway = TestGateway::start(&lab.yaml(Terms { upstream: &upstream, ..Terms::default() }));
    let second = Server { priority: 1, ..Server::new(lab.servers[1].address()) };
    let first = Server::new(lab.servers[0].address());
    gateway.put_servers("up", &[first.clone(), second]);
    assert!((0..10).all(|_| begin(&gateway).0 == "0"));
    let mark = |bad| gateway.control().mark_server("up", &first, Cause::Source, bad).expect("known");
    mark(true);
    let (server, session) = begin(&gateway);
    assert_eq!(server, "1");
    mark(false);
    assert_eq!((begin(&gateway).0.as_str(), ask(&gateway, &with(&session)).text().as_str()), ("0", "1"));
}

/// The value of the session's cookie, if the answer sets it.
fn set_by_http2(answer: &Http2Answer) -> Option<String> {
    let pair = answer.header("set-cookie")?.split("; ").next()?;
    pair.strip_prefix("s=").map(str::to_owned)
}

#[test]
fn a_session_that_begins_over_http2_goes_on_over_either() {
    let lab = Lab::new(5);
    for (kind, field) in [("cookie: s", "cookie"), ("header: x-s", "x-s")] {
        let upstream = format!(", session: {{ {kind}, {KEY} }}");
        let gateway = TestGateway::start(&lab.yaml(Terms { upstream: &upstream, ..Terms::default() }));
        for _ in 0..6 {
            let mut client = Http2Client::connect(gateway.address("web"));
            let first = client.get("a.test", "/", &[]);
            assert_eq!(first.status, 200);
            let session = match field {
                "cookie" => set_by_http2(&first),
                _ => first.header("x-s").map(str::to_owned),
            };
            let session = session.expect("a session begins");
            let value = if field == "cookie" { format!("s={session}") } else { session };
            let mut other = Http2Client::connect(gateway.address("web"));
            // Of several fields each is a crumb of the cookie (RFC 9113, 8.2.3).
            for fields in [&[(field, &*value)][..], &[("cookie", "a=b"), (field, &*value)]] {
                for client in [&mut client, &mut other] {
                    let again = client.get("a.test", "/", fields);
                    assert_eq!((again.text(), again.header("set-cookie")), (first.text(), None));
                    assert_eq!(again.header("x-s"), None);
                }
            }
            let over_http1 = ask(&gateway, &format!("{field}: {value}\r\n"));
            assert_eq!((over_http1.text(), set(&over_http1)), (first.text(), None));
        }
        assert_eq!((outcome(&gateway, "began"), outcome(&gateway, "kept")), (6.0, 30.0));
        assert_eq!((outcome(&gateway, "moved"), outcome(&gateway, "forged")), (0.0, 0.0));
    }
}

/// A new key comes first; the old one goes when the sessions that it sealed have been seen, or are given up.
#[test]
fn keys_are_changed_while_sessions_go_on() {
    let lab = Lab::new(5);
    let yaml = |keys: &str| {
        let upstream = format!(", session: {{ cookie: s, {keys} }}");
        lab.yaml(Terms { upstream: &upstream, ..Terms::default() })
    };
    let gateway = TestGateway::start(&yaml("key: the-old-key-of-16-bytes"));
    let (server, old) = begin(&gateway);
    gateway.reload(&yaml("keys: [the-new-key-of-16-bytes, the-old-key-of-16-bytes]"));
    let answer = ask(&gateway, &with(&old));
    let new = set(&answer).expect("it is sealed anew");
    assert_eq!(answer.text(), server);
    let answer = ask(&gateway, &with(&new));
    assert_eq!((answer.text(), set(&answer)), (server.clone(), None));
    gateway.reload(&yaml("key: the-new-key-of-16-bytes"));
    let answer = ask(&gateway, &with(&new));
    assert_eq!((answer.text(), set(&answer)), (server, None));
    assert_eq!(outcome(&gateway, "forged"), 0.0);
    assert!(set(&ask(&gateway, &with(&old))).is_some(), "who was not seen meanwhile begins anew");
    assert_eq!((outcome(&gateway, "forged"), outcome(&gateway, "moved")), (1.0, 0.0));
}
