//! What is accepted, refused or the same as before; with real files, without a gateway.

use std::path::Path;
use std::sync::Arc;

use super::{Before, Outcome, Ready, Workshop, prepare};
use crate::scratch::Scratch;

const PLAIN: &str = "\
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
routes: [{ name: all, rules: [{ respond: { status: 200 } }] }]
";

const WITH_PLUGIN: &str = "\
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
plugins: { broken: { module: broken.wasm } }
routes: [{ name: all, rules: [{ filters: [{ plugin: broken }], respond: { status: 200 } }] }]
";

struct Bench {
    scratch: Scratch,
    workshop: Workshop,
}

impl Bench {
    fn new(name: &str, text: &str) -> Self {
        let scratch = Scratch::new(&format!("apply-{name}"));
        scratch.write("a.yaml", text);
        scratch.write("broken.wasm", "not wasm");
        Self { scratch, workshop: Workshop::with_cache(None).expect("the engine works here") }
    }

    fn prepare(&self, before: &Before) -> Outcome {
        prepare(&self.scratch.path().join("a.yaml"), &self.workshop, before).outcome
    }

    fn ready(&self, before: &Before) -> Before {
        match self.prepare(before) {
            Outcome::Ready(ready) => Before::Live(Arc::<Ready>::from(ready)),
            other => panic!("{}", describe(&other)),
        }
    }

    fn refused(&self, before: &Before) -> String {
        match self.prepare(before) {
            Outcome::Refused(problems) => problems.iter().map(|problem| format!("{problem}\n")).collect(),
            other => panic!("{}", describe(&other)),
        }
    }
}

fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ready(_) => "ready".to_owned(),
        Outcome::Unchanged => "unchanged".to_owned(),
        Outcome::Refused(problems) => format!("refused: {problems:?}"),
    }
}

#[test]
fn what_runs_already_is_not_built_again() {
    let bench = Bench::new("unchanged", PLAIN);
    let live = bench.ready(&Before::Start);
    assert_eq!(describe(&bench.prepare(&live)), "unchanged");
    bench.scratch.write("a.yaml", &format!("# another comment\n{PLAIN}"));
    assert_eq!(describe(&bench.prepare(&live)), "unchanged", "a comment changes nothing");
    bench.scratch.write("a.yaml", &PLAIN.replace("200", "201"));
    assert_eq!(describe(&bench.prepare(&live)), "ready");
}

#[test]
fn a_plugin_that_fails_is_tolerated_at_the_start_only() {
    let bench = Bench::new("start", WITH_PLUGIN);
    assert!(bench.refused(&Before::Check).contains("plugins.broken: not a WebAssembly module"));
    bench.ready(&Before::Start);
}

#[test]
fn a_new_plugin_that_fails_refuses_a_reload() {
    let bench = Bench::new("reload", PLAIN);
    let live = bench.ready(&Before::Start);
    bench.scratch.write("a.yaml", WITH_PLUGIN);
    assert!(bench.refused(&live).contains("plugins.broken: not a WebAssembly module"));
}

#[test]
fn a_plugin_that_has_failed_all_along_does_not_keep_other_changes_out() {
    let bench = Bench::new("all-along", WITH_PLUGIN);
    let live = bench.ready(&Before::Start);
    bench.scratch.write("a.yaml", &WITH_PLUGIN.replace("200", "201"));
    bench.ready(&live);
}

#[test]
fn a_module_with_another_digest_is_refused() {
    let digest = "0".repeat(64);
    let text = WITH_PLUGIN.replace("broken.wasm }", &format!("broken.wasm, sha256: \"{digest}\" }}"));
    let bench = Bench::new("digest", &text);
    let problems = bench.refused(&Before::Check);
    assert!(problems.contains("sha256") && problems.contains(&digest), "{problems}");
}

#[test]
fn every_file_that_matters_is_watched_even_when_refused() {
    let text = PLAIN.replace(
        "protocol: http",
        "protocol: https, tls: { certificates: [{ cert: gone.pem, key: gone.key }] }",
    );
    let bench = Bench::new("watched", &text);
    let attempt = prepare(&bench.scratch.path().join("a.yaml"), &bench.workshop, &Before::Start);
    assert!(matches!(attempt.outcome, Outcome::Refused(_)));
    let names = attempt.stamps.keys().filter_map(|path| path.file_name());
    assert_eq!(
        names.collect::<Vec<_>>(),
        ["a.yaml", "gone.key", "gone.pem"].map(Path::new).map(Path::as_os_str)
    );
}

#[test]
fn a_missing_file_names_its_place() {
    let text = PLAIN.replace(
        "protocol: http",
        "protocol: https, tls: { certificates: [{ cert: gone.pem, key: gone.key }] }",
    );
    let problems = Bench::new("place", &text).refused(&Before::Start);
    for place in ["listeners[0].tls.certificates[0].cert: ", "listeners[0].tls.certificates[0].key: "] {
        assert!(problems.contains(place), "{problems}");
    }
}
