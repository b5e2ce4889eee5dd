//! The page of a large gateway on which everything has happened.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegate_config::{Secrets, SourceText};

use super::write;
use crate::shared::Shard;
use crate::shared::traffic::{CLASSES, End, TraceId};
use crate::snapshot::{Assets, Snapshot};
use crate::telemetry::page::{Form, Page};
use crate::time::{monotonic, thread_time};

const ROUTES: usize = 1000;
const UPSTREAMS: usize = 10;
const WORKERS: usize = 4;

struct NoSecrets;

impl Secrets for NoSecrets {
    fn env(&self, name: &str) -> Result<String, String> {
        Err(name.to_owned())
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        Err(path.display().to_string())
    }
}

/// Each route forwards to all upstreams.
fn large() -> Snapshot {
    let mut yaml = "listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]\nroutes:\n".to_owned();
    let targets: Vec<String> = (0..UPSTREAMS).map(|i| format!("{{ upstream: upstream-{i} }}")).collect();
    for route in 0..ROUTES {
        let targets = targets.join(", ");
        _ = writeln!(
            yaml,
            "  - {{ name: route-{route:04}, hostnames: [h{route}.example], rules: [{{ forward: [{targets}] }}] }}"
        );
    }
    yaml.push_str("upstreams:\n");
    for upstream in 0..UPSTREAMS {
        _ = writeln!(yaml, "  upstream-{upstream}: {{ servers: [127.0.0.1:9] }}");
    }
    let source = SourceText { name: "large.yaml".to_owned(), text: yaml };
    let loaded = tidegate_config::load(&[source], Path::new("/"), &NoSecrets);
    let plan = loaded.unwrap_or_else(|problems| panic!("{problems}")).plan;
    Snapshot::build(plan, &Assets::default(), None).unwrap_or_else(|error| panic!("{error}"))
}

/// Answers of all classes, failures, all durations, each route with each upstream, on each worker.
fn use_everything(snapshot: &Snapshot) {
    let traced = TraceId { trace: u128::MAX, noted: Duration::from_secs(1_763_719_200) };
    for worker in 0..WORKERS {
        for rule in &snapshot.rules {
            let cells = rule.counters.of(worker);
            for step in 0..25 {
                let took = Duration::from_micros(50 << step);
                let end = End { class: step % CLASSES.len(), reason: None, took, trace: Some(traced) };
                cells.traffic.note(&end);
                cells.traffic.bytes(123_456_789, 987_654_321);
            }
            for cluster in &snapshot.clusters {
                cells.targets.note(1, cluster.counters.id(), true);
                let end = End { class: 1, reason: Some(3), took: Duration::from_millis(3), trace: None };
                cluster.counters.of(worker).attempts.note(&end);
            }
        }
    }
}

/// The bar is 50 ms on a CPU for an optimised build. A debug build takes some 70 ms, and the machine of a test may be
/// shared: ten times as long is allowed, and the best of five counts.
#[test]
fn a_thousand_routes_by_ten_upstreams_are_a_page() {
    let snapshot = large();
    use_everything(&snapshot);
    let shards: Vec<_> = (0..WORKERS).map(Shard::new).collect();
    let now = || thread_time().unwrap_or_else(monotonic);
    for form in [Form::Prometheus, Form::OpenMetrics] {
        let mut best = Duration::MAX;
        let mut text = String::new();
        for _ in 0..5 {
            let began = now();
            let mut page = Page::new(form);
            write(&mut page, &shards, Some(&snapshot), 1);
            text = page.into_text();
            best = best.min(now().saturating_sub(began));
        }
        println!("{form:?}: {} bytes, {} lines, {best:?}", text.len(), text.lines().count());
        assert!(text.contains(
            "tidegate_route_upstream_requests_total{route=\"route-0999\",upstream=\"upstream-9\"} 4\n"
        ));
        assert!(text.len() <= 5 << 20, "{form:?}: {} bytes", text.len());
        let allowed = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 50 });
        assert!(best <= allowed, "{form:?}: {best:?}");
    }
}

#[test]
fn counts_survive_a_new_snapshot() {
    let before = Arc::new(large());
    use_everything(&before);
    let after = Snapshot::build(before.plan.clone(), &Assets::default(), Some(&before));
    let after = after.unwrap_or_else(|error| panic!("{error}"));
    let page = |snapshot: &Snapshot| {
        let mut page = Page::new(Form::Prometheus);
        write(&mut page, &[Shard::new(0)], Some(snapshot), 1);
        page.into_text()
    };
    assert!(page(&before) == page(&after), "the same counts");
}
