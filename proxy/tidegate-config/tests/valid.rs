//! Documents that are right, and what becomes of them.

#![allow(clippy::panic, reason = "a test fails by a panic")]

use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidegate_config::plan::{
    Action, Balance, Failure, Filter, HostPattern, LogTarget, ModuleSource, PathPattern, PathRewrite,
    Protocol, Pull, RetryOn, Sticky, UpstreamProtocol, ValuePattern,
};
use tidegate_config::{Loaded, Memory, Secrets, SourceText, load};

/// Values that tests refer to.
struct Known;

impl Secrets for Known {
    fn env(&self, name: &str) -> Result<String, String> {
        match name {
            "PASSWORD" => Ok("hunter22\n".to_owned()),
            _ => Err("it is not set".to_owned()),
        }
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        if path == Path::new("/etc/tidegate/keys.txt") {
            return Ok("k-123\r\n".to_owned());
        }
        Err(format!("{} is not there", path.display()))
    }
}

fn try_load(texts: &[&str]) -> Result<Loaded, tidegate_config::Problems> {
    let sources: Vec<SourceText> = texts
        .iter()
        .enumerate()
        .map(|(index, text)| SourceText { name: format!("{index}.yaml"), text: (*text).to_owned() })
        .collect();
    load(&sources, Path::new("/etc/tidegate"), &Known)
}

fn loaded(text: &str) -> Loaded {
    try_load(&[text]).unwrap_or_else(|problems| panic!("{problems}"))
}

const WHOLE: &str = include_str!("whole.yaml");

#[test]
fn the_whole_example_loads() {
    let Loaded { plan, warnings, redacted, files, .. } = loaded(WHOLE);
    assert_eq!(warnings, []);
    assert_eq!(files, [PathBuf::from("/etc/tidegate/keys.txt")]);
    let admin = plan.admin.expect("there is one");
    assert_eq!(admin.address, Some("127.0.0.1:9900".parse().expect("an address")));
    assert_eq!(plan.workers.map(usize::from), Some(2));
    assert_eq!(plan.memory, Memory::Share(90));

    let web = &plan.listeners[0];
    assert_eq!((web.name.as_str(), web.protocol), ("web", Protocol::Https));
    let addresses: Vec<SocketAddr> =
        vec!["0.0.0.0:8443".parse().expect("v4"), "[::]:8443".parse().expect("v6")];
    assert_eq!(web.addresses, addresses);
    assert_eq!(web.hostnames, [HostPattern::Wildcard(".example.com".to_owned())]);
    let tls = web.tls.as_ref().expect("https has certificates");
    assert_eq!(tls.certificates[0].cert, PathBuf::from("/etc/tidegate/tls/site.pem"));
    assert!(tls.client_auth.as_ref().is_some_and(|auth| !auth.required));
    assert_eq!(web.filters, [Filter::Plugin(1)]);
    assert_eq!(web.timeouts.body, Duration::from_secs(20));
    assert_eq!(web.limits.header_bytes, 32 << 10);

    let key = &plan.plugins[0];
    assert_eq!((key.name.as_str(), key.key.as_str()), ("api-key", "api-key"));
    assert_eq!(key.config, br#"{"header":"x-api-key","keys":["k-123"]}"#);
    assert_eq!(key.module, ModuleSource::File("/etc/tidegate/filters/api_key.wasm".into()));
    assert_eq!(key.on_failure.trap, Failure::Open);
    assert_eq!(key.on_failure.load, Failure::Closed);
    assert_eq!(key.callable, [0]);
    assert_eq!(key.limits.memory, 16 << 20);
    assert_eq!((key.limits.call_host_calls, key.limits.copied_bytes), (1000, 10 << 20));
    assert_eq!(key.on_failure.memory, Failure::Open);
    assert_eq!(plan.plugins[1].module, ModuleSource::Builtin("request-id".to_owned()));
    let signed = &plan.plugins[2];
    let ModuleSource::Oci(reference) = &signed.module else { panic!("{:?}", signed.module) };
    assert_eq!(reference.to_string(), "oci://registry.example.com:5000/filters/auth:v1");
    assert_eq!(signed.loading.fetch.pull, Pull::Always);
    assert_eq!(signed.loading.fetch.pull_secret, Some("/etc/tidegate/docker.json".into()));
    assert_eq!(signed.loading.signature, Some("/etc/tidegate/filters.pub".into()));
    assert_eq!(signed.loading.tests[0].expect.headers, [("x-user".to_owned(), "ann".to_owned())]);
    assert_eq!(signed.loading.tests[1].expect.status, Some(401));
    let weather = &plan.plugins[3];
    assert_eq!(weather.module, ModuleSource::Https("https://filters.example.com/weather.wasm".to_owned()));
    assert_eq!(weather.loading.fetch.timeout, Duration::from_secs(30));
    let canary = plan.plugins[1].canary.as_deref().expect("it has one");
    assert_eq!((canary.plugin, canary.sticky.clone()), (4, Some(Sticky::Cookie("session".to_owned()))));
    assert_eq!(plan.plugins[4].key, "request-id@canary");
    assert_eq!(plan.plugins[4].config, br#"{"length":20}"#);
    let course = &canary.course;
    assert_eq!((course.steps.as_slice(), course.min_requests), (&[50_000][..], 100));
    assert_eq!((course.bounds.errors_over_old, course.bounds.p99_over_old), (5_000, Some(150)));
    let own = &plan.plugins[5];
    assert_eq!((own.name.as_str(), own.key.as_str()), ("api-key", "api-key@shop/orders"));
    assert_eq!(own.config, br#"{"header":"authorization"}"#);
    assert_eq!((own.limits.call_time, own.limits.memory), (Duration::from_millis(5), 4 << 20));
    assert_eq!((own.limits.rebuild_above, own.limits.open_calls), (3 << 20, 16), "as the rest follows");
    let differing = ["callTime 5ms", "memory 4194304", "rebuildAbove 3145728"];
    assert_eq!(own.limits.differing(&key.limits), differing, "as `explain` shows it");

    let targets: Vec<_> = plan.access_logs.iter().map(|log| &log.target).collect();
    assert_eq!(targets, [&LogTarget::File(PathBuf::from("/dev/stdout"))]);
    assert_eq!(
        redacted["plugins"]["api-key"]["config"],
        json!({ "header": "x-api-key", "keys": ["${file:keys.txt}"] })
    );
}

#[test]
fn the_whole_example_routes() {
    let plan = loaded(WHOLE).plan;
    let shop = &plan.routes[0];
    assert_eq!(shop.listeners, [0]);
    let orders = &shop.rules[0];
    assert_eq!(orders.name, "orders");
    let one = &orders.matches[0];
    assert_eq!(one.path, PathPattern::Prefix("/orders".to_owned()));
    assert_eq!(one.method.as_deref(), Some("POST"));
    assert_eq!(one.headers, [("x-env".to_owned(), ValuePattern::Regex("stag.*".to_owned()))]);
    assert_eq!(one.query, [("version".to_owned(), ValuePattern::Exact("2".to_owned()))]);
    assert_eq!(orders.filters[0], Filter::Plugin(5));
    let Filter::RequestHeaders(changes) = &orders.filters[1] else { panic!("{:?}", orders.filters[1]) };
    assert_eq!(changes.set, [("x-a".to_owned(), "b".to_owned())]);
    assert_eq!(changes.remove, ["x-debug"]);
    let Filter::Rewrite(rewrite) = &orders.filters[3] else { panic!("{:?}", orders.filters[3]) };
    assert_eq!(rewrite.path, Some(PathRewrite::Prefix("/".to_owned())));
    let Action::Forward(shares) = &orders.action else { panic!("{:?}", orders.action) };
    assert_eq!(
        shares.iter().map(|share| (share.upstream, share.weight)).collect::<Vec<_>>(),
        [(1, 90), (2, 1)]
    );
    assert_eq!(orders.timeouts.attempt, Some(Duration::from_secs(2)));
    let grpc = [1, 4, 8, 13, 14].map(RetryOn::Grpc);
    let on = [RetryOn::Connect, RetryOn::Reset, RetryOn::Timeout, RetryOn::ServerErrors];
    let statuses = [409, 502, 503].map(RetryOn::Status);
    assert_eq!(orders.retries.on, [&on[..], &statuses, &grpc].concat());
    assert_eq!(orders.retries.body_limit, Some(64 << 10));
    let Action::Redirect(redirect) = &shop.rules[1].action else { panic!("{:?}", shop.rules[1].action) };
    assert_eq!((redirect.scheme.as_deref(), redirect.status), (Some("https"), 301));
    assert_eq!(shop.rules[2].name, "2");
    let Action::Respond(respond) = &shop.rules[2].action else { panic!("{:?}", shop.rules[2].action) };
    assert_eq!((respond.status, respond.body.as_str()), (404, "nothing here\n"));

    let orders = &plan.upstreams[1];
    assert_eq!(orders.servers.iter().map(|server| server.weight).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((orders.protocol, orders.balance), (UpstreamProtocol::Http1, Balance::RoundRobin));
    assert_eq!(orders.tls.as_ref().and_then(|tls| tls.server_name.as_deref()), Some("orders.internal"));
    assert_eq!(orders.connect_timeout, Duration::from_secs(1));
    assert_eq!(plan.upstreams[2].limits.requests, 4096);
}

#[test]
fn defaults_are_filled_in() {
    let plan = loaded(
        "listeners: [{ name: a, address: 127.0.0.1:0 }, { name: b, address: 127.0.0.1:0 }]
routes: [{ name: all, rules: [{ forward: [{ upstream: u }] }] }]
upstreams: { u: { servers: [localhost:80] } }",
    )
    .plan;
    assert_eq!(plan.routes[0].listeners, [0, 1]);
    let rule = &plan.routes[0].rules[0];
    assert_eq!(rule.matches[0].path, PathPattern::Prefix("/".to_owned()));
    assert_eq!((rule.timeouts.request, rule.timeouts.idle), (None, Duration::from_secs(60)));
    assert_eq!((rule.retries.attempts, rule.retries.backoff_max), (1, Duration::from_millis(250)));
    assert_eq!(
        (plan.upstreams[0].protocol, plan.upstreams[0].balance),
        (UpstreamProtocol::Auto, Balance::LeastRequest)
    );
    assert_eq!((plan.admin, plan.workers, plan.access_logs), (None, None, Vec::new()));
}

#[test]
fn sources_are_put_together() {
    let plan = try_load(&[
        "listeners: [{ name: a, address: 127.0.0.1:0 }]\nupstreams: { u: { servers: [a:1] } }",
        "routes: [{ name: r, rules: [{ forward: [{ upstream: u }, { upstream: v }] }] }]",
        "# nothing yet",
        "listeners: [{ name: b, address: 127.0.0.1:0 }]\nupstreams: { v: { servers: [b:1] } }",
    ])
    .unwrap_or_else(|problems| panic!("{problems}"))
    .plan;
    assert_eq!(plan.listeners.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(plan.upstreams.len(), 2);
}

#[test]
fn parts_that_are_twice_name_both_sources() {
    let problems = try_load(&[
        "workers: 1\nlisteners: [{ name: a, address: 127.0.0.1:0 }]\nupstreams:\n  u: { servers: [a:1] }",
        "workers: 2\nlisteners:\n- { name: a, address: 127.0.0.1:0 }\n- { name: b, address: nowhere }\nupstreams: { u: { servers: [b:1] } }",
    ])
    .expect_err("names are there twice");
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            r#"1.yaml:1: workers: "workers" is already there, in 0.yaml:1 (keep one of them)"#,
            r#"1.yaml:3: listeners[0].name: another listener is named "a", in 0.yaml:2 (rename one of them)"#,
            r#"1.yaml:4: listeners[1].address: "nowhere" is not an address to listen on (an IP address and a port: 0.0.0.0:8080 or [::]:8080)"#,
            r#"1.yaml:5: upstreams.u: "u" is already there, in 0.yaml:4 (rename or remove one of them)"#,
        ]
    );
}

#[test]
fn references_are_filled_in_and_never_shown() {
    let text = "listeners: [{ name: a, address: 127.0.0.1:0 }]
plugins:
  p: { module: p.wasm, config: 'user=${env:PASSWORD}; literal=$${x}' }
routes:
- { name: r, rules: [{ respond: { headers: { x-p: '${env:PASSWORD}' }, body: '${env:PASSWORD}!' } }] }";
    let Loaded { plan, redacted, .. } = loaded(text);
    assert_eq!(plan.plugins[0].config, b"user=hunter22; literal=${x}");
    let Action::Respond(respond) = &plan.routes[0].rules[0].action else { panic!("not an answer") };
    assert_eq!(respond.body, "hunter22!");
    assert!(!redacted.to_string().contains("hunter22"));

    let wrong = "listeners: [{ name: '${env:PASSWORD} x', address: '${env:PASSWORD}', protocol: '${env:PASSWORD}' }]
routes: [{ name: r, hostnames: ['${env:PASSWORD}:80'], rules: [{ matches: [{ path: { regex: '(${env:PASSWORD}' } }], forward: [{ upstream: '${env:PASSWORD}' }] }] }]";
    let problems = try_load(&[wrong]).expect_err("the password is right nowhere");
    let shown = format!("{problems} {problems:?}");
    assert_eq!(problems.len(), 6, "{problems}");
    assert!(!shown.contains("hunter") && !shown.contains("HUNTER"), "{problems}");
    assert!(shown.contains(r#""${env:PASSWORD}:80" is not a host"#), "{problems}");
}

/// The document of the load comparison.
fn generated(rules: usize) -> String {
    let rules: Vec<_> = (0..rules)
        .map(|index| {
            let (kind, path) = match index % 3 {
                0 => ("exact", format!("/api/v1/item{index}")),
                1 => ("prefix", format!("/api/v2/item{index}")),
                _ => ("regex", format!("/api/v3/item{index}/[0-9]+")),
            };
            json!({
                "matches": [{ "path": { kind: path } }],
                "filters": [{ "plugin": "f0" }],
                "forward": [{ "upstream": "u" }],
            })
        })
        .collect();
    let tls = json!({ "certificates": [{ "cert": "/tmp/cert.pem", "key": "/tmp/key.pem" }] });
    json!({
        "admin": { "address": "127.0.0.1:9900" },
        "workers": 1,
        "listeners": [
            { "name": "plain", "address": "127.0.0.1:8001", "protocol": "http" },
            { "name": "h2c", "address": "127.0.0.1:8002", "protocol": "http" },
            { "name": "tls", "address": "127.0.0.1:8003", "protocol": "https", "tls": tls },
        ],
        "plugins": { "f0": { "module": "/tmp/noop.wasm" } },
        "routes": [{ "name": "all", "rules": rules }],
        "upstreams": { "u": {
            "servers": ["127.0.0.1:3000"],
            "limits": { "connections": 100_000, "pending": 100_000, "requests": 100_000 },
        } },
    })
    .to_string()
}

#[test]
fn generated_json_loads() {
    let plan = loaded(&generated(3)).plan;
    assert_eq!(plan.routes[0].listeners, [0, 1, 2]);
    assert_eq!(plan.routes[0].rules.len(), 3);
    assert_eq!(
        plan.listeners[2].tls.as_ref().map(|tls| tls.certificates[0].key.clone()),
        Some("/tmp/key.pem".into())
    );
    assert_eq!(plan.upstreams[0].limits.pending, 100_000);
}

#[test]
fn ten_thousand_rules_load() {
    let Loaded { plan, warnings, .. } = loaded(&generated(10_000));
    assert_eq!(plan.routes[0].rules.len(), 10_000);
    assert_eq!(warnings, []);
}

#[test]
fn the_examples_of_the_guide_load() {
    let guide = include_str!("../../../docs/configuration.md");
    let examples: Vec<&str> = guide
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```").map(|(text, _)| text))
        .collect();
    let (smallest, sections) = examples.split_first().expect("examples");
    for texts in [std::slice::from_ref(smallest), sections] {
        let loaded = try_load(texts).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(loaded.warnings, []);
    }
}
