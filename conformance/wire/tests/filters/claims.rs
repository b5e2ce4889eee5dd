//! What `auth` knows of a sender, for the filters behind it: keys of limits and values to route by, in the gateway on real
//! sockets. `cargo xtask filters` builds them.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use serde_json::Value;
use tidegate_testkit::{Answer, RawClient, Response, ScriptedUpstream, TestGateway, fill};
use tidegate_wire::shipped_together;

const CONFIG: &str = "
workers: 2
listeners: [{ name: web, address: '127.0.0.1:0', protocol: http }]
plugins:
  auth:
    module: auth.wasm
    config:
      anonymous: true
      ways:
        - jwt: { issuers: [{ issuer: 'https://issuer.example', audiences: [shop], keys: { jwks: ${jwks} } }] }
        - key:
            keys:
              - { key: alpha, consumer: shop, metadata: { org.tenant: other } }
              - { key: beta, consumer: odd, metadata: { org.tenant: \"no\\theader\" } }
      handOn: { subject: bare, claims: [org.tenant, org.level] }
  limits:
    module: rate_limit.wasm
    config: { limits: [{ name: tenant, rate: 3/h, key: 'claim:org.tenant', missing: skip }] }
  routing:
    module: routing.wasm
    config: { rules: [{ name: level, values: { from: { claim: org.level }, arms: { '3': { upstream: two } } } },
                      { name: sender, values: { from: subject, arms: { shop: { upstream: two } } } }] }
routes:
  - name: r
    rules:
      - matches: [{ path: { prefix: /limited } }]
        filters: [{ plugin: auth }, { plugin: limits }]
        forward: [{ upstream: one }]
      - matches: [{ path: { prefix: /again } }]
        filters:
          - plugin: auth
          - { plugin: auth, config: { anonymous: true, ways: [], handOn: { subject: true, claims: [org.tenant] } } }
          - plugin: limits
        forward: [{ upstream: one }]
      - matches: [{ path: { prefix: /routed } }]
        filters: [{ plugin: auth }, { plugin: routing }]
        forward: [{ upstream: one }]
      - filters: [{ plugin: limits }]
        forward: [{ upstream: one }]
upstreams:
  one: { servers: ['${one}'] }
  two: { servers: ['${two}'] }
";

fn file(path: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask filters`", path.display()))
}

fn server(text: &'static str) -> ScriptedUpstream {
    ScriptedUpstream::start(move |_| {
        Answer::reply(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()))
    })
}

fn get(gateway: &TestGateway, path: &str, headers: &str) -> Response {
    let request = format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n{headers}\r\n");
    RawClient::connect(gateway.address("web")).exchange(&request)
}

struct Lab {
    gateway: TestGateway,
    tokens: Value,
    _servers: [ScriptedUpstream; 2],
}

impl Lab {
    fn new() -> Self {
        let tokens: Value = serde_json::from_slice(&file("filters/auth/tests/fixtures/tokens.json"))
            .expect("the fixtures are JSON");
        let (one, two) = (server("one"), server("two"));
        let jwks = serde_json::to_string(&tokens["jwks"].to_string()).expect("it is text");
        let yaml = fill(CONFIG, &[("jwks", &jwks), ("one", &one.address()), ("two", &two.address())]);
        let modules = ["auth.wasm", "rate_limit.wasm", "routing.wasm"];
        let modules = modules.map(|name| (name, file(&format!("target/filters/{name}"))));
        let modules: Vec<(&str, &[u8])> = modules.iter().map(|(name, bytes)| (*name, &**bytes)).collect();
        Lab { gateway: TestGateway::start_with(&yaml, &modules), tokens, _servers: [one, two] }
    }

    fn with_token(&self, path: &str, name: &str) -> Response {
        let token = self.tokens["good"][name].as_str().expect("a token");
        get(&self.gateway, path, &format!("authorization: Bearer {token}\r\n"))
    }
}

#[test]
fn tokens_of_one_tenant_share_a_limit_on_all_workers() {
    let lab = Lab::new();
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        assert_eq!(lab.with_token("/limited", algorithm).status, 200, "{algorithm}");
    }
    let refused = lab.with_token("/limited", "ES384");
    assert_eq!((refused.status, refused.header("ratelimit-policy")), (429, Some("\"tenant\";q=3;w=3600")));
    let left = |answer: &Response| answer.header("ratelimit").unwrap_or_default().to_owned();
    let other = get(&lab.gateway, "/limited", "x-api-key: alpha\r\n");
    assert!(other.status == 200 && left(&other).starts_with("\"tenant\";r=2;"), "{}", left(&other));
    // Without a sender there is no claim, whatever a client writes.
    let stranger = "auth.claim.org.tenant: acme\r\nx-claim: acme\r\n";
    for path in ["/limited", "/elsewhere"] {
        assert_eq!(get(&lab.gateway, path, stranger).status, 200, "{path}");
    }
    assert_eq!(
        lab.with_token("/elsewhere", "ES256").status,
        200,
        "where auth does not stand nobody hands on"
    );
}

/// Whoever may write a claim cannot take the limit off by writing what no header can have.
#[test]
fn claims_that_no_header_can_have_are_counted_too() {
    let lab = Lab::new();
    let statuses = [(); 4].map(|()| get(&lab.gateway, "/limited", "x-api-key: beta\r\n").status);
    assert_eq!(statuses, [200, 200, 200, 429]);
}

#[test]
fn what_another_auth_has_handed_on_is_not_of_the_sender_that_this_one_knows() {
    let lab = Lab::new();
    let statuses = [(); 4].map(|()| lab.with_token("/again", "ES256").status);
    assert_eq!(statuses, [200; 4], "the second one knows nobody");
}

#[test]
fn claims_choose_upstreams() {
    let lab = Lab::new();
    assert_eq!(lab.with_token("/routed", "ES256").text(), "two", "a number among the claims");
    assert_eq!(get(&lab.gateway, "/routed", "x-api-key: alpha\r\n").text(), "two", "the consumer's name");
    assert_eq!(get(&lab.gateway, "/routed", "").text(), "one");
}

#[test]
fn the_example_counts_by_tenant_by_sender_and_by_address() {
    let upstream = ScriptedUpstream::plain();
    let gateway = shipped_together("quota-by-claim", &["auth", "rate-limit"], &upstream, |text| {
        // No day ends within a test.
        text.replace("1000 per day", "1000/h").replace("5/10s", "5/min")
    });
    let ask = |headers: &str| {
        let answer = get(&gateway, "/", headers);
        let left = answer.header("ratelimit").unwrap_or_default();
        // Without the times.
        let left: Vec<&str> = left.split(", ").filter_map(|one| one.split(";t=").next()).collect();
        (answer.status, left.join(" "))
    };
    let left = |text: &str| (200, text.to_owned());
    assert_eq!(ask("x-api-key: alpha\r\n"), left("\"tenant\";r=999 \"sender\";r=4"));
    assert_eq!(ask("x-api-key: alpha\r\n"), left("\"tenant\";r=998 \"sender\";r=3"));
    assert_eq!(ask("x-api-key: beta\r\n"), left("\"tenant\";r=997 \"sender\";r=4"));
    assert_eq!(ask(""), left("\"sender\";r=4"));
    assert_eq!(ask("x-api-key: gamma\r\n").0, 401);
    assert_eq!(ask(""), left("\"sender\";r=3"));
}
