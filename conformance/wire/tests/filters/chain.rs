//! Filters that come with the gateway, one behind the other on one rule, by HTTP/1.1 and HTTP/2, while their configurations
//! change: what one of them does must not undo what another one is there for. Nobody gets what was kept for another, no
//! secret comes through, no limit is lifted, and a browser may read exactly what it may.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use tidegate_testkit::{Answer, Http2Client, RawClient, ScriptedUpstream, TestGateway, fill};

const RELOADS: usize = 40;

/// The filters' configurations differ from one reload to the next in something that no request meets.
const CONFIG: &str = "
workers: 2
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  cors: { module: cors.wasm, config: { origins: [https://app.test, https://two.test, 'https://app${number}.test'], credentials: true, exposedHeaders: [ratelimit] } }
  auth:
    module: auth.wasm
    config:
      ways: [{ key: { keys: [{ key: anns, consumer: ann }, { key: bobs, consumer: bob }, { key: eves, consumer: eve }, { key: 'key${number}', consumer: nobody }] } }]
      headers: { subject: x-subject }
      handOn: { subject: true }
      policy: { default: allow, rules: [{ name: admin, action: deny, when: { paths: ['/admin/*'] }, unless: { subjects: [ann] } }] }
  limit:
    module: rate_limit.wasm
    config:
      limits:
        - { name: all, rate: '${rate}/s burst 1000000', key: subject }
        - { name: few, rate: 2/h, key: [subject, 'header:x-few'], missing: skip }
  cache: { module: cache.wasm, config: { name: c, entrySize: '${size}', coalesce: { wait: 10s } } }
  transform:
    module: transform.wasm
    config:
      request:
        - body: { set: { /user/id: '{header.x-subject}' }, remove: [/user/admin, '/n${number}'] }
      response:
        - body: { remove: [/secret], set: { /seen: true } }
        - headers: { set: { x-transformed: '{status}' } }
routes:
  - name: main
    rules:
      - filters: [{ plugin: cors }, { plugin: auth }, { plugin: limit }, { plugin: cache }, { plugin: transform }]
        forward: [{ upstream: up }]
upstreams: { up: { servers: ['${up}'] } }
";

const MODULES: [&str; 5] = ["auth.wasm", "cache.wasm", "cors.wasm", "rate_limit.wasm", "transform.wasm"];

/// What came back, by whichever version.
struct Seen {
    status: u16,
    fields: Vec<(String, String)>,
    body: String,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn is_from_cache(&self) -> bool {
        self.header("cache-status").is_some_and(|status| status.contains("; hit"))
    }
}

/// What a client asks again and again, and what it must see each time.
#[derive(Clone, Copy)]
struct Kind {
    method: &'static str,
    path: &'static str,
    fields: &'static [(&'static str, &'static str)],
    body: &'static str,
    right: fn(&Seen) -> bool,
}

const JSON: (&str, &str) = ("content-type", "application/json");

const KINDS: [Kind; 10] = [
    Kind {
        method: "GET",
        path: "/own",
        fields: &[("x-api-key", "anns"), ("origin", "https://app.test")],
        body: "",
        right: |seen| {
            seen.status == 200
                && seen.body == r#"{"for":"ann","seen":true}"#
                && seen.header("access-control-allow-origin") == Some("https://app.test")
                && seen.header("access-control-allow-credentials") == Some("true")
                && seen.header("vary").is_some_and(|vary| vary.contains("origin"))
                && seen.header("x-transformed") == Some("200")
                && seen.header("ratelimit").is_some()
        },
    },
    Kind {
        method: "GET",
        path: "/own",
        fields: &[("x-api-key", "bobs"), ("origin", "https://two.test")],
        body: "",
        right: |seen| {
            seen.status == 200
                && seen.body == r#"{"for":"bob","seen":true}"#
                && seen.header("access-control-allow-origin") == Some("https://two.test")
        },
    },
    Kind {
        method: "GET",
        path: "/shared",
        fields: &[("x-api-key", "bobs"), ("origin", "https://evil.test")],
        body: "",
        right: |seen| {
            seen.status == 200
                && seen.body == r#"{"for":"all","seen":true}"#
                && seen.header("access-control-allow-origin").is_none()
        },
    },
    Kind {
        method: "GET",
        path: "/shared",
        fields: &[("x-api-key", "wrong"), ("x-subject", "ann"), ("origin", "https://app.test")],
        body: "",
        // The page may read why.
        right: |seen| {
            seen.status == 401
                && !seen.body.contains("for")
                && seen.header("access-control-allow-origin") == Some("https://app.test")
        },
    },
    Kind { method: "GET", path: "/shared", fields: &[], body: "", right: |seen| seen.status == 401 },
    Kind {
        method: "GET",
        path: "/admin/shared",
        fields: &[("x-api-key", "bobs")],
        body: "",
        right: |seen| seen.status == 403 && !seen.body.contains("for"),
    },
    Kind {
        method: "GET",
        path: "/admin/shared",
        fields: &[("x-api-key", "anns")],
        body: "",
        right: |seen| seen.status == 200 && seen.body == r#"{"for":"all","seen":true}"#,
    },
    Kind {
        method: "GET",
        path: "/shared",
        fields: &[("x-api-key", "eves"), ("x-few", "1")],
        body: "",
        // What is kept is no way past the limit.
        right: |seen| seen.status == 429 && seen.header("retry-after").is_some(),
    },
    Kind {
        method: "POST",
        path: "/orders",
        fields: &[("x-api-key", "bobs"), ("x-subject", "ann"), JSON],
        body: r#"{"user":{"admin":true},"user":{"id":"ann"},"secret":"mine"}"#,
        right: |seen| seen.status == 200 && seen.body == r#"{"for":"post","seen":true}"#,
    },
    Kind {
        method: "OPTIONS",
        path: "/own",
        fields: &[("origin", "https://app.test"), ("access-control-request-method", "PUT")],
        body: "",
        right: |seen| {
            seen.status == 204 && seen.header("access-control-allow-origin") == Some("https://app.test")
        },
    },
];

/// `/own` is kept for each sender, other paths for all. Each has a secret.
fn upstream() -> ScriptedUpstream {
    ScriptedUpstream::start(|call| {
        let subject = call.head.headers.get("x-subject").unwrap_or("nobody").to_owned();
        let (control, body) = match call.head.target.as_str() {
            "/own" => ("max-age=60\r\nvary: x-subject", format!(r#"{{"for":"{subject}","secret":"s"}}"#)),
            "/orders" => ("no-store", r#"{"for":"post","secret":"s"}"#.to_owned()),
            _ => ("max-age=60", r#"{"for":"all","secret":"s"}"#.to_owned()),
        };
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: {control}\r\n");
        Answer::reply(format!("{head}content-length: {}\r\n\r\n{body}", body.len()))
    })
}

fn yaml(upstream: &ScriptedUpstream, number: usize) -> String {
    let (rate, size) = (1_000_000 + number, format!("{}KiB", 64 + number));
    fill(CONFIG, &[("number", &number), ("rate", &rate), ("size", &size), ("up", &upstream.address())])
}

/// Asks by HTTP/1.1 or HTTP/2.
enum Asker {
    One(RawClient),
    Two(Box<Http2Client>),
}

impl Asker {
    fn connect(gateway: std::net::SocketAddr, http2: bool) -> Self {
        match http2 {
            true => Asker::Two(Box::new(Http2Client::connect(gateway))),
            false => Asker::One(RawClient::connect(gateway)),
        }
    }

    fn ask(&mut self, kind: &Kind) -> Seen {
        match self {
            Asker::One(client) => {
                let fields: String =
                    kind.fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
                let length = match kind.body {
                    "" => String::new(),
                    body => format!("content-length: {}\r\n", body.len()),
                };
                let head =
                    format!("{} {} HTTP/1.1\r\nhost: a.test\r\n{fields}{length}\r\n", kind.method, kind.path);
                client.send(head + kind.body);
                let answer = client.response(kind.method).expect("a well-formed answer");
                let body = answer.text();
                let fields = answer.headers.0.into_iter();
                Seen { status: answer.status, fields: fields.collect(), body }
            }
            Asker::Two(client) => {
                let answer =
                    client.ask((kind.method, "a.test", kind.path), kind.fields, kind.body.as_bytes());
                let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                let fields =
                    answer.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes())));
                Seen { status: answer.status, fields: fields.collect(), body: answer.text() }
            }
        }
    }
}

struct Client {
    answers: Arc<AtomicU64>,
    thread: JoinHandle<(Vec<String>, u64)>,
}

/// Asks until it is told to stop; what it should not have seen, and how many answers were kept ones.
fn client(gateway: &TestGateway, kind: Kind, http2: bool, stop: &Arc<AtomicBool>) -> Client {
    let answers = Arc::<AtomicU64>::default();
    let (address, stop, count) = (gateway.address("web"), Arc::clone(stop), Arc::clone(&answers));
    let thread = std::thread::spawn(move || {
        let (mut wrong, mut kept) = (Vec::new(), 0);
        let mut asker = Asker::connect(address, http2);
        while !stop.load(Ordering::Relaxed) {
            let seen = asker.ask(&kind);
            kept += u64::from(seen.is_from_cache());
            if !(kind.right)(&seen) && wrong.len() < 3 {
                let Seen { status, fields, body } = &seen;
                wrong.push(format!(
                    "{} {} {:?}: {status} {fields:?} {body}",
                    kind.method, kind.path, kind.fields
                ));
            }
            if seen.header("connection").is_some_and(|value| value.contains("close")) {
                asker = Asker::connect(address, http2);
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
        (wrong, kept)
    });
    Client { answers, thread }
}

fn start(yaml: &str) -> TestGateway {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/filters");
    let modules = MODULES.map(|name| {
        let module = std::fs::read(folder.join(name));
        (name, module.expect("`cargo xtask filters` has built the modules"))
    });
    let files: Vec<(&str, &[u8])> = modules.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    TestGateway::start_with(yaml, &files)
}

#[test]
fn no_filter_undoes_what_another_does_while_configurations_change() {
    let upstream = upstream();
    let gateway = start(&yaml(&upstream, 0));
    // The limit of two is used up before anybody looks.
    let few = KINDS.iter().find(|kind| kind.fields.contains(&("x-few", "1"))).expect("there is one");
    let mut first = Asker::connect(gateway.address("web"), false);
    assert_eq!([0; 2].map(|_| first.ask(few).status), [200; 2]);
    let stop = Arc::<AtomicBool>::default();
    let clients: Vec<Client> = KINDS
        .into_iter()
        .flat_map(|kind| [false, true].map(|http2| client(&gateway, kind, http2, &stop)))
        .collect();
    for number in 1..=RELOADS {
        gateway.reload(&yaml(&upstream, number));
        let before: Vec<u64> = clients.iter().map(|client| client.answers.load(Ordering::Relaxed)).collect();
        gateway.wait("answers of the new configuration", |_| {
            clients.iter().zip(&before).all(|(client, before)| {
                client.thread.is_finished() || client.answers.load(Ordering::Relaxed) > before + 1
            })
        });
    }
    stop.store(true, Ordering::Relaxed);
    let mut all_kept = 0;
    for client in clients {
        let (wrong, kept) = client.thread.join().expect("the client was answered each time");
        assert!(wrong.is_empty(), "{wrong:#?}");
        all_kept += kept;
    }
    let orders: Vec<_> = upstream.requests().into_iter().filter(|seen| seen.target() == "/orders").collect();
    let wrong = orders.iter().find(|seen| {
        seen.body != br#"{"user":{"id":"bob"},"secret":"mine"}"# || seen.header("x-subject") != Some("bob")
    });
    assert!(wrong.is_none() && !orders.is_empty(), "{wrong:?} among {}", orders.len());
    assert!(all_kept > 2 * RELOADS as u64, "{all_kept} answers came from the cache");
}

/// Credentials that auth takes out were there: an answer to one sender is for the next one only where it says so.
#[test]
fn what_was_answered_to_one_sender_is_not_kept_for_another() {
    let upstream = ScriptedUpstream::start(|call| {
        let subject = call.head.headers.get("x-subject").unwrap_or("nobody").to_owned();
        let control = match call.head.target.as_str() {
            "/shared" => "public, max-age=60",
            "/by-cookie" => "max-age=60\r\nvary: cookie",
            _ => "max-age=60",
        };
        let length = subject.len();
        Answer::reply(format!(
            "HTTP/1.1 200 OK\r\ncache-control: {control}\r\ncontent-length: {length}\r\n\r\n{subject}"
        ))
    });
    let gateway = start(&fill(SENDERS, &[("up", &upstream.address())]));
    let ask = |path: &str, field: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n{field}\r\n\r\n");
        RawClient::connect(gateway.address("web")).exchange(&request).text()
    };
    for (path, before) in [("/own", "authorization: Bearer "), ("/by-cookie", "cookie: k=")] {
        for sender in ["ann", "bob", "ann"] {
            assert_eq!(ask(path, &format!("{before}{sender}s")), sender, "{path}");
        }
    }
    for sender in ["ann", "bob"] {
        assert_eq!(ask(&format!("/own?key={sender}s"), "accept: */*"), sender);
    }
    assert_eq!(
        ["anns", "bobs"].map(|key| ask("/shared", &format!("authorization: Bearer {key}"))),
        ["ann"; 2]
    );
}

const SENDERS: &str = "
workers: 1
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  auth:
    module: auth.wasm
    config:
      ways:
        - key:
            in: [{ header: authorization }, { query: key }, { cookie: k }]
            keys: [{ key: anns, consumer: ann }, { key: bobs, consumer: bob }]
      headers: { subject: x-subject }
      policy: { default: allow }
  cache: { module: cache.wasm }
routes: [{ name: main, rules: [{ filters: [{ plugin: auth }, { plugin: cache }], forward: [{ upstream: up }] }] }]
upstreams: { up: { servers: ['${up}'] } }
";
