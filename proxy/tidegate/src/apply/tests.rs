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

#[test]
fn a_module_where_its_callbacks_are_never_called_is_a_warning() {
    let text = "\
listeners:
  - { name: web, address: 127.0.0.1:0, filters: [bytes] }
  - { name: db, address: 127.0.0.1:0, protocol: tcp, filters: [requests, both, neither] }
plugins:
  requests: { module: requests.wasm }
  bytes: { module: bytes.wasm }
  both: { module: both.wasm }
  neither: { module: neither.wasm }
routes:
  - { name: all, rules: [{ filters: [{ plugin: requests }], respond: {} }] }
  - { name: db, listeners: [db], rules: [{ filters: [{ plugin: requests }], forward: [{ upstream: up }] }] }
upstreams: { up: { servers: [127.0.0.1:1] } }
";
    let bench = Bench::new("places", text);
    let (headers, data) = (("proxy_on_request_headers", 3), ("proxy_on_downstream_data", 3));
    for (name, exports) in
        [("requests", &[headers][..]), ("bytes", &[data]), ("both", &[headers, data]), ("neither", &[])]
    {
        let path = bench.scratch.path().join(format!("{name}.wasm"));
        std::fs::write(path, module(exports)).expect("writable");
    }
    let Outcome::Ready(ready) = bench.prepare(&Before::Check) else { panic!("refused") };
    let warnings: Vec<String> =
        ready.warnings.iter().map(|warning| format!("{}: {}", warning.path, warning.message)).collect();
    let requests = "the plugin \"requests\" has callbacks for requests only, and here come connections";
    assert_eq!(
        warnings,
        [
            "listeners[0].filters[0]: the plugin \"bytes\" has callbacks for connections only, and here come requests"
                .to_owned(),
            format!("listeners[1].filters[0]: {requests}"),
            format!("routes[1].rules[0].filters[0]: {requests}"),
        ]
    );
}

/// A module of ABI 0.2.1 with these callbacks, each with its number of parameters and one result.
fn module(callbacks: &[(&str, u8)]) -> Vec<u8> {
    let section = |id: u8, body: Vec<u8>| {
        let length = u8::try_from(body.len()).expect("a small section");
        // Two bytes of LEB128, whatever the length.
        [vec![id, (length & 0x7f) | 0x80, length >> 7], body].concat()
    };
    let count = u8::try_from(callbacks.len()).expect("few callbacks");
    let i32s = |count: u8| vec![0x7f; usize::from(count)];
    let mut types = vec![2 + count, 0x60, 0, 0, 0x60, 1, 0x7f, 1, 0x7f];
    let mut functions = vec![2 + count, 0, 1];
    let name = |name: &str| [vec![u8::try_from(name.len()).expect("a short name")], name.into()].concat();
    let mut exports = vec![3 + count];
    exports.extend([name("proxy_abi_version_0_2_1"), vec![0, 0]].concat());
    exports.extend([name("malloc"), vec![0, 1]].concat());
    exports.extend([name("memory"), vec![2, 0]].concat());
    let mut code = vec![2 + count, 2, 0, 0x0b, 4, 0, 0x41, 0, 0x0b];
    for (index, (callback, parameters)) in callbacks.iter().enumerate() {
        let number = 2 + u8::try_from(index).expect("few callbacks");
        types.extend([vec![0x60, *parameters], i32s(*parameters), vec![1, 0x7f]].concat());
        functions.push(number);
        exports.extend([name(callback), vec![0, number]].concat());
        code.extend([4, 0, 0x41, 0, 0x0b]);
    }
    let header = b"\0asm\x01\0\0\0".to_vec();
    [
        header,
        section(1, types),
        section(3, functions),
        section(5, vec![1, 0, 1]),
        section(7, exports),
        section(10, code),
    ]
    .concat()
}

/// What is found wrong only when files are read and plugins start has its line as well.
#[test]
fn problems_of_files_and_plugins_have_the_line() {
    let text = "\
listeners:
  - name: web
    address: 127.0.0.1:0
    protocol: https
    tls:
      certificates:
        - cert: CERT
          key: KEY
plugins:
  fine: { module: broken.wasm }
  broken:
    module: broken.wasm
    canary:
      module: broken.wasm
      percent: 5
routes: [{ name: all, rules: [{ respond: { status: 200 } }] }]
";
    let bench = Bench::new("lines", &text.replace("CERT", "gone.pem").replace("KEY", "gone.key"));
    let problems = bench.refused(&Before::Check);
    for place in [
        "a.yaml:7: listeners[0].tls.certificates[0].cert: cannot read ",
        "a.yaml:8: listeners[0].tls.certificates[0].key: cannot read ",
        "a.yaml:10: plugins.fine: not a WebAssembly module",
        "a.yaml:11: plugins.broken: not a WebAssembly module",
        "a.yaml:13: plugins.broken.canary: not a WebAssembly module",
    ] {
        assert!(problems.contains(place), "{place} in\n{problems}");
    }
    let (before, behind) = text.split_once("plugins:").expect("they are there");
    let (_, behind) = behind.split_once("routes:").expect("they are there");
    let text = format!("{before}routes:{behind}").replace("CERT", "a.yaml").replace("KEY", "a.yaml");
    bench.scratch.write("a.yaml", &text);
    let problems = bench.refused(&Before::Check);
    assert!(problems.contains("a.yaml:7: listeners[0].tls.certificates[0].cert: "), "{problems}");
}

#[test]
fn a_filter_with_its_own_settings_is_told_there() {
    let text = WITH_PLUGIN
        .replace("{ plugin: broken }", "{ plugin: broken },\n { plugin: broken, config: { x: 1 } }");
    let bench = Bench::new("own-settings", &text);
    let problems = bench.refused(&Before::Check);
    assert!(problems.contains("a.yaml:2: plugins.broken: "), "{problems}");
    assert!(problems.contains("a.yaml:4: routes[0].rules[0].filters[1]: "), "{problems}");
}
