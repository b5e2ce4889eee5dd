//! The page of metrics is what docs/metrics.md says, in both of its forms.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use crate::process::{Folder, Gateway};

/// Counts each request it sees.
const COUNTS: &str = r#"(module
    (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_increment_metric" (func $add (param i32 i64) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "seen")
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) i32.const 4096)
    (func (export "proxy_on_vm_start") (param i32 i32) (result i32)
        (drop (call $define (i32.const 0) (i32.const 16) (i32.const 4) (i32.const 0)))
        (i32.const 1))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $add (i32.load (i32.const 0)) (i64.const 1)))
        (i32.const 0)))"#;

/// Everything that has metrics is there, but for TLS.
const CONFIGURATION: &str = "\
admin: { address: 127.0.0.1:0 }
workers: 2
accessLog: { path: access.log }
tracing: { otlp: { endpoint: 'http://127.0.0.1:1' }, percent: 0 }
metrics: { otlp: { endpoint: 'http://127.0.0.1:1' } }
listeners:
  - { name: web, address: 127.0.0.1:0, protocol: http }
  - { name: bytes, address: 127.0.0.1:0, protocol: tcp }
plugins:
  counts: { module: counts.wasm }
  apart: { module: counts.wasm, isolation: request }
routes:
  - name: all
    listeners: [web]
    rules:
      - matches: [{ path: { prefix: /lost } }]
        forward: [{ upstream: lost }, { upstream: new }]
        release: { to: new }
        mirror: { upstream: new }
      - { filters: [{ plugin: counts }, { plugin: apart }], respond: { body: hello } }
  - { name: through, listeners: [bytes], rules: [{ forward: [{ upstream: lost }] }] }
upstreams:
  lost:
    servers: [\"127.0.0.1:1\"]
    health: { tcp: {}, interval: 1h }
    ejection: { latency: true }
  new: { servers: [\"127.0.0.1:1\"] }
  found: { discover: { file: servers.yaml } }
";

/// Name, type and labels, as they are written down or shown.
type Metrics = BTreeMap<String, (String, BTreeSet<String>)>;

fn start(name: &str) -> (Folder, Gateway) {
    let folder = Folder::new(name);
    folder.write("counts.wasm", wat::parse_str(COUNTS).expect("a module"));
    folder.write("servers.yaml", "[]");
    folder.write("a.yaml", CONFIGURATION);
    let gateway = Gateway::start(&folder, "a.yaml");
    assert_eq!(gateway.get("/"), (200, "hello".to_owned()));
    assert_eq!(gateway.get("/lost").0, 503);
    (folder, gateway)
}

fn documented() -> Metrics {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let text = std::fs::read_to_string(path).expect("the guide has it");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.map(|(metric, rest)| {
        let kind = rest.split(" | ").next().unwrap_or_default();
        let (name, labels) = metric.split_once('{').unwrap_or((metric, "}"));
        let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
        (name.to_owned(), (kind.to_owned(), labels.map(str::to_owned).collect()))
    })
    .collect()
}

/// Metrics of a page with all labels that their samples have.
fn shown(page: &str) -> Metrics {
    let mut all = Metrics::new();
    let mut current = String::new();
    for line in page.lines() {
        if let Some(metric) = line.strip_prefix("# TYPE ") {
            let (name, kind) = metric.split_once(' ').expect("name and type");
            name.clone_into(&mut current);
            let twice = all.insert(current.clone(), (kind.to_owned(), BTreeSet::new()));
            assert!(twice.is_none(), "{name} is there twice");
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            assert!(name.starts_with(&current), "{line} is not below {current}");
            let labels = line.split_once('{').and_then(|(_, rest)| Some(rest.split_once('}')?.0));
            let labels = labels
                .iter()
                .flat_map(|labels| labels.split("\","))
                .filter_map(|label| label.split_once('='));
            let labels = labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le");
            all.get_mut(&current).expect("it was begun").1.extend(labels);
        }
    }
    all
}

#[test]
fn the_guide_has_every_metric_with_its_type_and_labels() {
    let (_folder, gateway) = start("metrics-guide");
    let (documented, shown) = (documented(), shown(&gateway.admin("/metrics").1));
    for (name, (kind, labels)) in &shown {
        if name.starts_with("tidegate_guest_") {
            continue;
        }
        let (told, known) =
            documented.get(name).unwrap_or_else(|| panic!("docs/metrics.md has no {name} ({kind})"));
        assert_eq!(kind, told, "{name}");
        assert!(labels.is_subset(known), "{name}: {labels:?}, but documented are {known:?}");
        // Nothing that this gateway does has them.
        let rare = [
            "tidegate_certificate",
            "tidegate_handshake",
            "tidegate_plugin_limiter",
            "tidegate_upstream_responses",
            "tidegate_upstream_server_open",
        ];
        let is_rare = rare.iter().any(|rare| name.starts_with(rare));
        assert!(labels == known || is_rare, "{name} has no more than {labels:?} of {known:?}");
    }
    assert_eq!(shown.get("tidegate_guest_seen_total").map(|(kind, _)| kind.as_str()), Some("counter"));
    let rare = [
        "tidegate_release_",
        "tidegate_mirror_",
        "tidegate_upstream_concurrency_limit",
        "tidegate_upstream_sessions_",
    ];
    let gone: Vec<_> = documented
        .keys()
        .filter(|name| !shown.contains_key(*name) && !rare.iter().any(|rare| name.starts_with(rare)))
        .collect();
    assert_eq!(gone, ["tidegate_guest_NAME"], "in docs/metrics.md, but not on the page");
}

#[test]
fn names_and_units_follow_the_rules_of_prometheus() {
    let (_folder, gateway) = start("metrics-rules");
    let page = gateway.admin("/metrics").1;
    for (name, (kind, _)) in shown(&page) {
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        let ends = ["_count", "_sum", "_bucket", "_info"];
        let reserved = ends.iter().any(|end| name.ends_with(end)) && name != "tidegate_build_info";
        assert!(!reserved && !name.contains(['A', ':']), "{name}");
        for unit in ["_ms", "_us", "_millis", "_micros", "_minutes", "_kb", "_kilobytes", "_percent"] {
            assert!(!name.contains(&format!("{unit}_")) && !name.ends_with(unit), "{name} has no base unit");
        }
        assert!(page.contains(&format!("# HELP {name} ")), "{name} says nothing");
    }
}

#[test]
fn who_accepts_open_metrics_gets_them() {
    let (_folder, gateway) = start("metrics-open");
    let text = get(gateway.admin, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5");
    assert!(
        text.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{text}"
    );
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(
        text.contains("# TYPE tidegate_requests counter\ntidegate_requests_total{listener=\"web\"} 2\n"),
        "{text}"
    );
    let text = get(gateway.admin, "*/*");
    assert!(text.contains("content-type: text/plain; version=0.0.4") && !text.contains("# EOF"), "{text}");
}

fn get(address: SocketAddr, accept: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let head =
        format!("GET /metrics HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers in text");
    text
}
