//! The first-party filter `routing` in the gateway: where requests arrive, by whom clients are told what. `cargo xtask
//! filters` builds it.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use tidegate_testkit::{
    Answer, Fate, Frame, Frames, RawClient, Response, ScriptedUpstream, TestGateway, fill,
};

const CONFIG: &str = "
workers: ${workers}
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  routing:
    module: routing.wasm
    config: ${config}
    capabilities: { upstreams: [tables] }
routes:
  - name: shop
    rules:
      - name: green
        matches: [{ headers: { x-color: green } }]
        filters: [{ plugin: routing }]
        forward: [{ upstream: two }]
      - name: other
        matches: [{ path: { prefix: /only/by/name } }]
        filters: [{ responseHeaders: { set: { x-rule: other } } }]
        forward: [{ upstream: two }]
      - name: all
        filters: [{ plugin: routing }]
        forward: [{ upstream: one }]
upstreams:
  one: { servers: ['${one}'] }
  two: { servers: ['${two}'] }
  tables: { servers: ['${tables}'] }
";

struct Lab {
    gateway: TestGateway,
    two: ScriptedUpstream,
    _one: ScriptedUpstream,
    _tables: ScriptedUpstream,
}

fn module() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/filters/routing.wasm");
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask filters`", path.display()))
}

/// A server that answers with this text.
fn server(text: &'static str) -> ScriptedUpstream {
    ScriptedUpstream::start(move |_| {
        Answer::reply(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()))
    })
}

impl Lab {
    fn new(workers: usize, config: &str) -> Self {
        let (one, two, tables) = (server("one"), server("two"), server(r#"{ "acme": "two" }"#));
        let values: [(&str, &dyn std::fmt::Display); 5] = [
            ("workers", &workers),
            ("config", &config),
            ("one", &one.address()),
            ("two", &two.address()),
            ("tables", &tables.address()),
        ];
        let gateway = TestGateway::start_with(&fill(CONFIG, &values), &[("routing.wasm", &module())]);
        Lab { gateway, two, _one: one, _tables: tables }
    }

    fn send(&self, method: &str, path: &str, headers: &str) -> Response {
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: a.test\r\n{headers}content-length: 0\r\n\r\n");
        RawClient::connect(self.gateway.address("web")).exchange(&request)
    }

    /// Which server has answered.
    fn place(&self, path: &str, headers: &str) -> String {
        let answer = self.send("GET", path, headers);
        assert_eq!(answer.status, 200, "{path} {headers}");
        answer.text()
    }
}

#[test]
fn a_canary_is_kept_by_its_cookie() {
    let lab = Lab::new(
        2,
        "{ tell: { upstream: x-arm, client: x-arm }, rules: [{ name: canary, split: { cookie: { name: v },
           arms: [{ name: old }, { name: new, to: { upstream: two } }] } }] }",
    );
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let first = lab.send("GET", "/", "x-arm: forged\r\n");
        let arm = first.header("x-arm").expect("told").to_owned();
        let cookie =
            first.header("set-cookie").expect("set").split(';').next().unwrap_or_default().to_owned();
        assert_eq!(cookie, format!("v={arm}"));
        assert_eq!(first.text(), if arm == "new" { "two" } else { "one" });
        let again = lab.send("GET", "/", &format!("cookie: {cookie}\r\n"));
        assert_eq!((again.header("x-arm"), again.header("set-cookie")), (Some(arm.as_str()), None));
        seen.insert(arm);
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    let told = lab.two.requests();
    assert!(told.iter().all(|request| request.header("x-arm") == Some("new")), "{told:?}");
    let counted = |arm| {
        lab.gateway
            .guest_metric("routing", &format!("routing_requests_total{{rule=\"canary\",arm=\"{arm}\"}}"))
    };
    assert_eq!(counted("old") + counted("new"), 80);
}

#[test]
fn an_identity_has_the_same_arm_on_all_workers_and_in_both_versions() {
    let lab = Lab::new(
        2,
        "{ rules: [{ name: r, split: { by: { header: x-user }, arms: [{ name: a }, { name: b, to: { upstream: two } }] } }] }",
    );
    for user in 0..20 {
        let first = lab.place("/", &format!("x-user: {user}\r\n"));
        for _ in 0..3 {
            assert_eq!(lab.place("/", &format!("x-user: {user}\r\n")), first);
        }
        let mut client = Frames::connect(lab.gateway.address("web"), &[]);
        let user = user.to_string();
        let fields =
            [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "a"), ("x-user", &user)];
        client.send(&Frame::headers(1, &fields, true));
        assert_eq!(client.fate(1), Fate::Answered(200, first.into_bytes()));
    }
}

#[test]
fn upstreams_rules_and_headers_can_be_chosen() {
    let lab = Lab::new(
        1,
        "{ rules: [{ name: r, values: { from: { query: to }, arms: {
           upstream: { upstream: two }, rule: { route: other }, header: { header: { name: x-color, value: green } },
           nowhere: { upstream: three } } } }] }",
    );
    assert_eq!(lab.place("/", ""), "one");
    assert_eq!(lab.place("/?to=upstream", ""), "two");
    assert_eq!(lab.place("/?to=header", ""), "two");
    let by_rule = lab.send("GET", "/?to=rule", "");
    assert_eq!((by_rule.text().as_str(), by_rule.header("x-rule")), ("two", Some("other")));
    assert_eq!(lab.send("GET", "/?to=nowhere", "").status, 503);
    assert_eq!(lab.gateway.guest_metric("routing", "routing_failed_total"), 1);
}

#[test]
fn a_switch_flips_on_all_workers_at_once() {
    let lab = Lab::new(
        2,
        "{ rules: [{ name: s, switch: { initial: blue, arms: { blue: { upstream: one }, green: { upstream: two } },
           control: { path: /_switch, token: 0123456789abcdef } } }] }",
    );
    let token = "authorization: Bearer 0123456789abcdef\r\n";
    let all = |wanted: &str| (0..30).for_each(|_| assert_eq!(lab.place("/", ""), wanted));
    all("one");
    assert_eq!(lab.send("POST", "/_switch?to=green", "").status, 401);
    all("one");
    for (arm, wanted) in [("green", "two"), ("blue", "one"), ("green", "two")] {
        assert_eq!(lab.send("POST", &format!("/_switch?to={arm}"), token).text(), format!("{arm}\n"));
        all(wanted);
    }
    assert_eq!(lab.send("GET", "/_switch", token).text(), "green\n");
}

#[test]
fn tenants_are_found_in_tables() {
    let lab = Lab::new(1, "{ rules: [{ name: t, table: { from: subdomain, entries: { acme: two } } }] }");
    let request = "GET / HTTP/1.1\r\nhost: Acme.example.com\r\n\r\n";
    assert_eq!(RawClient::connect(lab.gateway.address("web")).exchange(request).text(), "two");
    assert_eq!(lab.place("/", ""), "one");
    let lab = Lab::new(
        1,
        "{ rules: [{ name: t, table: { from: { header: x-tenant }, http: { upstream: tables, path: /t.json } } }] }",
    );
    lab.gateway.wait("the table", |_| lab.send("GET", "/", "").status == 200);
    assert_eq!(lab.place("/", "x-tenant: acme\r\n"), "two");
    assert_eq!(lab.place("/", "x-tenant: other\r\n"), "one");
}

#[test]
fn paths_are_rewritten_and_redirected() {
    let lab = Lab::new(
        1,
        "{ redirects: [{ path: '/old/(.*)', to: '/new/$1' }], rewrites: [{ path: '/v1(/.*)', to: '/v2$1' }],
           rules: [{ name: r, match: { path: '/v2/.*' }, to: { upstream: two } }] }",
    );
    let answer = lab.send("GET", "/old//evil.example/..%3b", "");
    assert_eq!(answer.status, 400, "what has two readings is refused before");
    let answer = lab.send("GET", "/old//a/./b?c=d", "");
    assert_eq!((answer.status, answer.header("location")), (308, Some("/new/a/b?c=d")));
    assert_eq!(lab.place("/v1/orders?x=1", ""), "two");
    let requests = lab.two.requests();
    assert_eq!(
        requests.first().map(|request| request.target().to_owned()).as_deref(),
        Some("/v2/orders?x=1")
    );
}

/// Each one compiles the module again, which a debug build takes its time for.
const RELOADS: usize = 10;

#[test]
fn reloads_send_nobody_astray() {
    let config = |weight: usize| {
        format!(
            "{{ tell: {{ client: x-arm }}, rules: [{{ name: r, split: {{ by: {{ header: x-user }}, arms: [
               {{ name: off, weight: 0, to: {{ upstream: one }} }}, {{ name: on, weight: {weight}, to: {{ upstream: two }} }}] }} }}] }}"
        )
    };
    let lab = Lab::new(2, &config(1));
    let addresses: [(&str, &dyn std::fmt::Display); 3] =
        [("one", &lab._one.address()), ("two", &lab.two.address()), ("tables", &lab._tables.address())];
    let address = lab.gateway.address("web");
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let client = std::thread::spawn(move || {
        let mut count = 0;
        let mut client = RawClient::connect(address);
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            let answer = client.exchange(format!("GET / HTTP/1.1\r\nhost: a\r\nx-user: {count}\r\n\r\n"));
            assert_eq!(
                (answer.status, answer.text().as_str(), answer.header("x-arm")),
                (200, "two", Some("on"))
            );
            count += 1;
        }
        count
    });
    for weight in 2..RELOADS + 2 {
        let mut values = addresses.to_vec();
        let text = config(weight);
        values.extend([("workers", &2 as &dyn std::fmt::Display), ("config", &text)]);
        lab.gateway.reload(&fill(CONFIG, &values));
    }
    drop(stop);
    let count = client.join().unwrap_or_else(|_| panic!("a request went astray"));
    assert!(count > 0);
}

#[test]
fn the_example_runs() {
    let (one, two) = (server("one"), server("two"));
    let mut yaml = include_str!("../../../../examples/canary-filter/tidegate.yaml").to_owned();
    for (server, upstream) in [("3001", &one), ("3002", &two)] {
        yaml = yaml.replace(&format!("[127.0.0.1:{server}]"), &format!("['{}']", upstream.address()));
        yaml = yaml.replace(&format!("address: 127.0.0.1:{server}"), "address: 127.0.0.1:0");
    }
    for port in ["8080", "9900"] {
        yaml = yaml.replace(&format!("127.0.0.1:{port}"), "127.0.0.1:0");
    }
    yaml = yaml.replace("builtin:routing", "routing.wasm");
    let gateway = TestGateway::start_with(&yaml, &[("routing.wasm", &module())]);
    let get = |path: &str, headers: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n{headers}\r\n");
        RawClient::connect(gateway.address("web")).exchange(&request)
    };
    assert_eq!(get("/", "cookie: tester=1\r\n").text(), "two");
    assert_eq!(get("/t/acme/orders", "").text(), "two");
    assert_eq!(get("/t/globex/orders", "").text(), "one");
    assert_eq!(get("/checkout", "").text(), "one");
    assert_eq!(get("/old/x", "").header("location"), Some("/x"));
    let new = (0..100).filter(|user| get("/", &format!("x-user: {user}\r\n")).text() == "two").count();
    assert!((2..=25).contains(&new), "{new}");
}
