//! The first-party filter `rate-limit` in the gateway: exact counts over two workers, what clients that leave give back,
//! reloads, and a rate limit service. `cargo xtask filters` builds it.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidegate_testkit::{
    Answer, Gate, GrpcStep, GrpcUpstream, RawClient, Response, ScriptedUpstream, Step, TestGateway, fill,
};

const CONFIG: &str = "
workers: 2
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  limits:
    module: rate_limit.wasm
    capabilities: { upstreams: [service] }
    config: ${config}
routes: [{ name: r, rules: [{ filters: [{ plugin: limits }], forward: [{ upstream: up }] }] }]
upstreams:
  up: { servers: ['${up}'] }
  service: { servers: ['${service}'], protocol: http2 }
";

/// The same without an upstream on the way, so that many requests take little time.
const ANSWERED: &str = "
workers: 2
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  limits:
    module: rate_limit.wasm
    config: ${config}
routes: [{ name: r, rules: [{ filters: [{ plugin: limits }], respond: { status: 200, body: ok } }] }]
";

fn module(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask filters`", path.display()))
}

fn start(yaml: &str) -> TestGateway {
    TestGateway::start_with(yaml, &[("rate_limit.wasm", &module("target/filters/rate_limit.wasm"))])
}

fn config(config: &str, up: SocketAddr, service: SocketAddr) -> String {
    fill(CONFIG, &[("config", &config), ("up", &up), ("service", &service)])
}

fn request(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: a.test\r\n{headers}\r\n")
}

fn get(gateway: &TestGateway, target: &str, headers: &str) -> Response {
    RawClient::connect(gateway.address("web")).exchange(request(target, headers))
}

/// Sends batches on connections of their own until `go_on` says no; how many answers were 200 and how many 429.
fn flood(address: SocketAddr, connections: usize, go_on: impl Fn(usize) -> bool + Sync) -> (usize, usize) {
    const BATCH: usize = 50;
    let batch = request("/", "").repeat(BATCH);
    let client = || {
        let (mut client, mut passed, mut refused) = (RawClient::connect(address), 0, 0);
        while go_on(passed + refused) {
            client.send(&batch);
            for _ in 0..BATCH {
                match client.response("GET").map(|response| response.status) {
                    Ok(200) => passed += 1,
                    Ok(429) => refused += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        (passed, refused)
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..connections).map(|_| scope.spawn(client)).collect();
        let counts = clients.into_iter().map(|client| client.join().unwrap_or_default());
        counts.fold((0, 0), |(passed, refused), one| (passed + one.0, refused + one.1))
    })
}

#[test]
fn two_workers_admit_exactly_the_limit() {
    // Windows of whole days begin at midnight, which no test should meet: these are longer.
    for limit in ["1500/h", "1/h burst 1500", "1500 per 300 days"] {
        let config = format!("{{ limits: [{{ name: all, rate: {limit} }}] }}");
        let gateway = start(&fill(ANSWERED, &[("config", &config)]));
        let (passed, refused) = flood(gateway.address("web"), 8, |sent| sent < 500);
        assert_eq!((passed, refused), (1500, 2500), "{limit}");
        assert_eq!(gateway.guest_metric("limits", "rate_limit_refused_total{limit=\"all\"}"), 2500);
    }
}

/// Quotas begin anew with each day of UTC: what happened while one ended is done again, in a new gateway.
fn within_a_day<T>(act: impl Fn() -> T) -> T {
    let day = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() / DAY);
    loop {
        let (before, outcome) = (day(), act());
        if day() == before {
            return outcome;
        }
    }
}

/// Seconds.
const DAY: u64 = 86_400;

#[test]
fn a_quota_of_a_day_counts_and_says_when_the_next_begins() {
    let config = "{ limits: [{ name: daily, rate: 3 per day, key: 'header:x-tenant' }] }";
    let (answers, other, left) = within_a_day(|| {
        let gateway = start(&fill(ANSWERED, &[("config", &config)]));
        let left = || DAY - SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()) % DAY;
        let ask = |tenant: &str| get(&gateway, "/", &format!("x-tenant: {tenant}\r\n"));
        let before = left();
        let (answers, other) = ([0; 4].map(|_| ask("a")), ask("b"));
        (answers, other, left()..=before)
    });
    assert_eq!(answers.each_ref().map(|answer| answer.status), [200, 200, 200, 429]);
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|error| panic!("{text}: {error}"));
    for (answer, rest) in answers.iter().zip(["2", "1", "0", "0"]) {
        assert_eq!(answer.header("ratelimit-policy"), Some("\"daily\";q=3;w=86400"));
        let text = answer.header("ratelimit").unwrap_or_default();
        let (named, time) = text.split_once(";t=").unwrap_or_default();
        assert_eq!(named, format!("\"daily\";r={rest}"), "{text}");
        assert!(left.contains(&number(time)), "{text}, {left:?} s are left of the day");
    }
    let [.., refused] = &answers;
    let wait = number(refused.header("retry-after").unwrap_or_default());
    assert!(left.contains(&wait), "{wait} of {left:?}");
    assert_eq!((other.status, other.header("retry-after")), (200, None), "each tenant has its own");
}

#[test]
fn an_address_is_the_same_whoever_puts_it_into_the_key() {
    // What a response costs is asked about again, so there the filter puts the address into the key, else the host.
    let yaml = |more: &str| {
        let config =
            format!("{{ headers: none, limits: [{{ name: each, rate: 2/h, key: address }}{more}] }}");
        let trusting = ANSWERED.replace("protocol: http", "protocol: http, trustedProxies: [127.0.0.0/8]");
        fill(&trusting, &[("config", &config)])
    };
    let gateway = start(&yaml(""));
    let ask = |client: &str| get(&gateway, "/", &format!("x-forwarded-for: {client}\r\n")).status;
    for client in ["192.0.2.1", "192.0.2.10", "2001:db8::1"] {
        assert_eq!([ask(client), ask(client), ask(client)], [200, 200, 429], "{client}");
    }
    gateway.reload(&yaml(", { name: work, rate: 100/h, cost: { response: x-cost } }"));
    assert_eq!([ask("192.0.2.1"), ask("2001:db8::1"), ask("192.0.2.2")], [429, 429, 200], "counts stay");
    gateway.reload(&yaml(""));
    assert_eq!([ask("192.0.2.1"), ask("192.0.2.2"), ask("192.0.2.2")], [429, 200, 429], "there and back");
}

#[test]
fn what_an_answer_says_it_cost_is_taken_on_all_workers() {
    let upstream = ScriptedUpstream::start(|call| {
        let cost = call.head.headers.get("x-ask").unwrap_or("none").to_owned();
        Answer::reply(format!("HTTP/1.1 200 OK\r\nx-cost: {cost}\r\ncontent-length: 0\r\n\r\n"))
    });
    let limits = "{ limits: [{ name: work, rate: 100/h, cost: { response: x-cost, default: 5 } }] }";
    let gateway = start(&config(limits, upstream.address(), upstream.address()));
    let ask = |cost: &str| {
        let answer = get(&gateway, "/", &format!("x-ask: {cost}\r\n"));
        let left = answer.header("ratelimit").unwrap_or_default();
        let left = left.split(";t=").next().unwrap_or_default().to_owned();
        (answer.status, left.trim_start_matches("\"work\";r=").to_owned())
    };
    for (cost, status, left) in [
        ("30", 200, "70"),
        ("1", 200, "69"),
        ("0", 200, "69"),
        // No number: what was taken at first stays.
        ("much", 200, "64"),
        // More than there is: overdrawn, and refused until it has recovered.
        ("500", 200, "0"),
        ("1", 429, "0"),
    ] {
        assert_eq!(ask(cost), (status, left.to_owned()), "{cost}");
    }
    assert_eq!(upstream.requests().len(), 5, "what is refused never reaches the upstream");
}

/// An answer, with the times between which it was decided.
struct Timed {
    sent: Instant,
    got: Instant,
    passed: bool,
}

/// Asks one by one on so many connections, for so long.
fn timed(address: SocketAddr, connections: usize, span: Duration) -> Vec<Timed> {
    let begun = Instant::now();
    let client = || {
        let (mut client, mut all) = (RawClient::connect(address), Vec::new());
        while begun.elapsed() < span {
            let sent = Instant::now();
            let passed = match client.exchange(request("/", "")).status {
                200 => true,
                429 => false,
                other => panic!("{other}"),
            };
            all.push(Timed { sent, got: Instant::now(), passed });
        }
        all
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..connections).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().expect("each answer is 200 or 429")).collect()
    })
}

/// However fast or slow the machine is: no window has more than the limit, and nothing is refused unless the second before it
/// had all of the limit.
#[test]
fn every_window_has_exactly_the_limit() {
    const LIMIT: usize = 50;
    const WINDOW: Duration = Duration::from_secs(1);
    let gateway =
        start(&fill(ANSWERED, &[("config", &format!("{{ limits: [{{ name: all, rate: {LIMIT}/s }}] }}"))]));
    let all = timed(gateway.address("web"), 4, Duration::from_millis(2500));
    let (passed, refused): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.passed);
    assert!(passed.len() >= LIMIT.min(all.len()), "{} of {}", passed.len(), all.len());
    // A worker looks at the clock when it wakes, a little before it reads; how much it can have been kept from reading is
    // seen by what it was woken for.
    let slowest = all.iter().map(|one| one.got - one.sent).max().unwrap_or_default();
    let slack = slowest.max(Duration::from_millis(20));
    for refusal in &refused {
        let begin = refusal.sent.checked_sub(WINDOW + slack);
        let before =
            passed.iter().filter(|one| begin.is_none_or(|begin| one.got >= begin) && one.sent <= refusal.got);
        let count = before.count();
        assert!(count >= LIMIT, "refused, though only {count} had passed in the second before it");
    }
    for first in &passed {
        let inside = passed
            .iter()
            .filter(|one| one.sent >= first.got && one.got + slack < first.sent + WINDOW)
            .count();
        assert!(inside < LIMIT, "{inside} behind the first one of a window");
    }
}

#[test]
fn what_a_client_leaves_behind_is_free_again() {
    let gate = Gate::new();
    let held = gate.clone();
    let upstream = ScriptedUpstream::start(move |call| match call.head.target.as_str() {
        "/hold" => Answer::steps([
            Step::send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab"),
            Step::Wait(held.clone()),
        ]),
        _ => Answer::reply("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    });
    let unused = upstream.address();
    let gateway = start(&config("{ limits: [{ name: now, concurrent: 2 }] }", upstream.address(), unused));
    let mut holders: Vec<_> = (0..2).map(|_| RawClient::connect(gateway.address("web"))).collect();
    for holder in &mut holders {
        holder.send(request("/hold", ""));
    }
    upstream.wait("both at the upstream", |connections| {
        connections.iter().map(|connection| connection.requests.len()).sum::<usize>() == 2
    });
    let refused = get(&gateway, "/", "");
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
    assert_eq!(refused.header("ratelimit"), Some("\"now\";r=0"));
    holders.pop().into_iter().for_each(RawClient::reset);
    gateway.wait("the place of the client that left", |gateway| get(gateway, "/", "").status == 200);
    // One is held still, and each answer gives its own place back.
    assert!((0..5).all(|_| get(&gateway, "/", "").status == 200));
    gate.open();
}

#[test]
fn reloads_keep_the_counts_and_nothing_is_decided_wrongly() {
    let yaml = |body: usize| {
        let config = format!(
            "{{ body: refused {body}, limits: [{{ name: few, rate: 3/h, key: 'header:x-few', missing: skip }}, \
             {{ name: many, rate: 100000000/h }}] }}"
        );
        fill(ANSWERED, &[("config", &config)])
    };
    let gateway = start(&yaml(0));
    let address = gateway.address("web");
    let few = |value: &str| {
        RawClient::connect(address).exchange(request("/", &format!("x-few: {value}\r\n"))).status
    };
    assert_eq!([0; 4].map(|_| few("a")), [200, 200, 200, 429]);
    assert_eq!(few("b"), 200);
    let stop = AtomicBool::new(false);
    let (wrong, asked) = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|number| {
                let stop = &stop;
                scope.spawn(move || {
                    let (header, right) = if number % 2 == 0 { ("x-few: a\r\n", 429) } else { ("", 200) };
                    let (mut client, mut wrong, mut asked) = (RawClient::connect(address), 0, 0);
                    while !stop.load(Ordering::Relaxed) {
                        let answer = client.exchange(request("/", header));
                        wrong += usize::from(answer.status != right);
                        asked += 1;
                        if answer.header("connection") == Some("close") {
                            client = RawClient::connect(address);
                        }
                    }
                    (wrong, asked)
                })
            })
            .collect();
        for body in 1..=RELOADS {
            gateway.reload(&yaml(body % 10));
        }
        stop.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .map(|client| client.join().unwrap_or((1, 0)))
            .fold((0, 0usize), |all, one| (all.0 + one.0, all.1 + one.1))
    });
    assert_eq!(wrong, 0, "of {asked}");
    assert_eq!([0; 3].map(|_| few("b")), [200, 200, 429]);
}

const RELOADS: usize = 100;

#[test]
fn a_service_is_asked_by_grpc() {
    let over = Arc::new(AtomicBool::new(false));
    let answer = Arc::clone(&over);
    let service = GrpcUpstream::start(move |_| {
        // overall_code, and for the second a body.
        let message = match answer.load(Ordering::Relaxed) {
            false => vec![0x08, 0x01],
            true => b"\x08\x02\x2a\x05later".to_vec(),
        };
        vec![
            GrpcStep::Receive,
            GrpcStep::Head(vec![]),
            GrpcStep::Message(message),
            GrpcStep::Trailers(vec![("grpc-status", "0")]),
        ]
    });
    let upstream = ScriptedUpstream::plain();
    let terms = "{ service: { upstream: service, domain: shop, timeout: 5s, onError: deny, \
                 descriptors: [[{ key: tenant, value: 'header:x-tenant' }]] } }";
    let gateway = start(&config(terms, upstream.address(), service.address()));
    assert_eq!(get(&gateway, "/", "x-tenant: one\r\n").status, 200);
    over.store(true, Ordering::Relaxed);
    let refused = get(&gateway, "/", "x-tenant: one\r\n");
    assert_eq!((refused.status, refused.text().as_str()), (429, "later"));
    let calls = service.calls();
    assert!(
        calls.iter().all(|call| call.path == "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit")
    );
    assert_eq!(calls[0].messages[0], b"\n\x04shop\x12\x0f\n\x0d\n\x06tenant\x12\x03one");
    drop(service);
    assert_eq!(get(&gateway, "/", "x-tenant: one\r\n").status, 503);
}

#[test]
fn the_example_does_what_it_says() {
    let text = include_str!("../../../../examples/rate-limit/tidegate.yaml");
    let text = text
        .replace("builtin:rate-limit", "rate_limit.wasm")
        .replace("servers: [127.0.0.1:3001]", "servers: ['${up}']")
        .replace("address: 127.0.0.1:8080", "address: '127.0.0.1:0'")
        .replace("address: 127.0.0.1:3001", "address: '127.0.0.1:0'")
        .replace("address: 127.0.0.1:9900", "address: '127.0.0.1:0'");
    let upstream = ScriptedUpstream::start(|_| {
        Answer::reply("HTTP/1.1 200 OK\r\nx-cost: 25\r\ncontent-length: 0\r\n\r\n")
    });
    let gateway = start(&fill(&text, &[("up", &upstream.address())]));
    let statuses: Vec<_> = (0..7).map(|_| get(&gateway, "/", "").status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429]);
    let report = |gateway: &TestGateway| get(gateway, "/reports/1", "");
    let answer = report(&gateway);
    let left = answer.header("ratelimit").unwrap_or_default();
    assert!(left.starts_with("\"reports\";r=75;t="), "{left}");
    assert_eq!([0; 4].map(|_| report(&gateway).status), [200, 200, 200, 429]);
}

/// The second rule allows the filter no call of the host, so that it breaks off in the middle of a question.
const BREAKS: &str = "
workers: 1
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  limits:
    module: rate_limit.wasm
    config: { limits: [{ name: now, concurrent: 2, key: 'header:x-who' }] }
routes:
  - name: r
    rules:
      - matches: [{ path: { prefix: /break } }]
        filters: [{ plugin: limits, limits: { callHostCalls: 1 } }]
        forward: [{ upstream: up }]
      - filters: [{ plugin: limits }]
        forward: [{ upstream: up }]
upstreams: { up: { servers: ['${up}'] } }
";

#[test]
fn places_of_an_instance_that_broke_off_come_back() {
    let gates = [Gate::new(), Gate::new()];
    let [first, second] = gates.clone();
    let upstream = ScriptedUpstream::start(move |call| {
        let gate = if call.head.target == "/first" { &first } else { &second };
        Answer::steps([Step::Wait(gate.clone()), Step::send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")])
    });
    let gateway = start(&fill(BREAKS, &[("up", &upstream.address())]));
    let arrived = |wanted: usize| {
        upstream.wait("requests at the upstream", |connections| {
            connections.iter().map(|connection| connection.requests.len()).sum::<usize>() == wanted
        });
    };
    let open = |target: &str| {
        let mut client = RawClient::connect(gateway.address("web"));
        client.send(request(target, ""));
        client
    };
    let mut held = [open("/first"), open("/first")];
    arrived(2);
    assert_eq!(get(&gateway, "/break", "").status, 503);
    assert!(gateway.metric("tidegate_request_failures_total", "reason=\"plugin_host_calls\"") >= 1.0);
    gates[0].open();
    for client in &mut held {
        assert!(client.response("GET").is_ok(), "the exchanges that it had end");
    }
    let mut again = [open("/second"), open("/second")];
    arrived(4);
    assert_eq!(get(&gateway, "/second", "").status, 429, "two places, not more");
    gates[1].open();
    for client in &mut again {
        assert_eq!(client.response("GET").map(|response| response.status).ok(), Some(200));
    }
}
