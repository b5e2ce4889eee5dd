//! The filters that come with the gateway, one behind the other, while their configurations change under load: not one
//! request is let through or refused wrongly.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use tidegate_testkit::{RawClient, Response, ScriptedUpstream, TestGateway, fill};

const RELOADS: usize = 100;

/// Each filter's configuration differs from one reload to the next in something that no request meets.
const CONFIG: &str = "
workers: 2
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  cors: { module: cors.wasm, config: { origins: [https://app.test, 'https://app${number}.test'] } }
  auth:
    module: auth.wasm
    config:
      ways: [{ key: { keys: [{ key: right, consumer: ann }, { key: 'key${number}', consumer: bob }] } }]
      headers: { subject: x-subject }
  limit: { module: rate_limit.wasm, config: { limits: [{ name: all, rate: '${rate}/s burst 1000000', key: address }] } }
  fault: { module: fault.wasm, config: { faults: [{ match: { path: { prefix: '/n${number}' } }, abort: { percent: 100, status: 418 } }] } }
  routing:
    module: routing.wasm
    config: { rules: [{ name: version, values: { from: { header: x-version }, arms: { two: { upstream: two }, 'n${number}': { upstream: one } } } }] }
routes:
  - name: main
    rules:
      - filters: [{ plugin: cors }, { plugin: auth }, { plugin: limit }, { plugin: fault }, { plugin: routing }]
        forward: [{ upstream: one }]
upstreams: { one: { servers: ['${one}'] }, two: { servers: ['${two}'] } }
";

const MODULES: [&str; 5] = ["auth.wasm", "cors.wasm", "fault.wasm", "rate_limit.wasm", "routing.wasm"];

/// What a client sends, and what it must see each time.
type Kind = (&'static str, fn(&Response) -> bool);

const KINDS: [Kind; 4] = [
    ("x-api-key: right\r\n", |answer| answer.status == 200 && answer.header("x-server") == Some("one ann")),
    ("x-api-key: right\r\nx-version: two\r\n", |answer| {
        answer.status == 200 && answer.header("x-server") == Some("two ann")
    }),
    ("x-api-key: wrong\r\n", |answer| answer.status == 401),
    ("x-api-key: right\r\norigin: https://app.test\r\n", |answer| {
        answer.status == 200 && answer.header("access-control-allow-origin") == Some("https://app.test")
    }),
];

fn server(name: &'static str) -> ScriptedUpstream {
    ScriptedUpstream::start(move |call| {
        let subject = call.head.headers.get("x-subject").unwrap_or("nobody");
        tidegate_testkit::Answer::reply(format!(
            "HTTP/1.1 200 OK\r\nx-server: {name} {subject}\r\ncontent-length: 2\r\n\r\nok"
        ))
    })
}

fn yaml(one: &ScriptedUpstream, two: &ScriptedUpstream, number: usize) -> String {
    let rate = 1_000_000 + number;
    fill(CONFIG, &[("number", &number), ("rate", &rate), ("one", &one.address()), ("two", &two.address())])
}

struct Client {
    answers: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

/// Asks until it is told to stop; returns what it should not have seen.
fn client(gateway: &TestGateway, (headers, right): Kind, stop: &Arc<AtomicBool>) -> Client {
    let answers = Arc::<AtomicU64>::default();
    let (address, stop, count) = (gateway.address("web"), Arc::clone(stop), Arc::clone(&answers));
    let thread = std::thread::spawn(move || {
        let request = format!("GET /orders HTTP/1.1\r\nhost: a.test\r\n{headers}\r\n");
        let mut wrong = Vec::new();
        let mut client = RawClient::connect(address);
        while !stop.load(Ordering::Relaxed) {
            let answer = client.exchange(&request);
            if !right(&answer) && wrong.len() < 5 {
                wrong.push(format!("{headers:?}: {answer:?}"));
            }
            if answer.header("connection").is_some_and(|value| value.contains("close")) {
                client = RawClient::connect(address);
            }
            count.fetch_add(1, Ordering::Relaxed);
        }
        wrong
    });
    Client { answers, thread }
}

#[test]
fn no_request_is_decided_wrongly_while_configurations_change() {
    let (one, two) = (server("one"), server("two"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/filters");
    let modules = MODULES.map(|name| {
        let module = std::fs::read(folder.join(name));
        (name, module.expect("`cargo xtask filters` has built the modules"))
    });
    let files: Vec<(&str, &[u8])> = modules.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let gateway = TestGateway::start_with(&yaml(&one, &two, 0), &files);
    let stop = Arc::<AtomicBool>::default();
    let clients: Vec<Client> = KINDS.into_iter().map(|kind| client(&gateway, kind, &stop)).collect();
    for number in 1..=RELOADS {
        gateway.reload(&yaml(&one, &two, number));
        let before: Vec<u64> = clients.iter().map(|client| client.answers.load(Ordering::Relaxed)).collect();
        gateway.wait("answers of the new configuration", |_| {
            clients.iter().zip(&before).all(|(client, before)| {
                client.thread.is_finished() || client.answers.load(Ordering::Relaxed) > before + 1
            })
        });
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let wrong = client.thread.join().expect("the client was answered each time");
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(client.answers.load(Ordering::Relaxed) > 2 * RELOADS as u64);
    }
}
