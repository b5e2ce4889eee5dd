//! `tidegate filter`: what its commands tell, and by which exit code.

use std::path::Path;

use crate::process::{Folder, command, lines, request, tidegate};
use crate::registry::Registry;
use crate::shown::Shown;

const MODULE: &str = r#"(module (import "env" "proxy_fly" (func)) (memory (export "memory") 1)
    (func (export "malloc") (param i32) (result i32) (i32.const 8)) (func (export "proxy_abi_version_0_2_1")))"#;

#[test]
fn inspect_names_what_is_not_offered() {
    let folder = Folder::new("inspect");
    let module = wat::parse_str(MODULE).expect("a module");
    folder.write("a.wasm", &module);
    let output = tidegate(&folder, &["filter", "inspect", "a.wasm"]);
    let text = lines(&output).join("\n");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("env.proxy_fly() -> ()  <- Tidegate does not offer it"), "{text}");
    let output = tidegate(&folder, &["filter", "inspect", "--json", "a.wasm"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &json["notOffered"][0]), (Some(1), &"env.proxy_fly".into()));
}

/// As `tidegate filter inspect a.wasm | head` does.
#[test]
fn who_reads_no_further_is_told_nothing() {
    let folder = Folder::new("closed-output");
    folder.write("a.wasm", wat::parse_str(ADDS).expect("a module"));
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = command(&folder.path(""))
        .args(["filter", "inspect", "a.wasm"])
        .stdout(writer)
        .output()
        .expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_project_that_is_none_is_told() {
    let folder = Folder::new("no-project");
    for command in ["build", "test"] {
        let output = tidegate(&folder, &["filter", command, "here"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("there is no here/Cargo.toml"), "{text}");
    }
}

/// Adds a field to requests and logs a line.
const ADDS: &str = r#"(module
    (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
    (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
    (memory (export "memory") 1) (data (i32.const 0) "x-newhello")
    (func (export "malloc") (param i32) (result i32) (i32.const 4096))
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $log (i32.const 2) (i32.const 5) (i32.const 5)))
        (drop (call $add (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 5) (i32.const 5)))
        (i32.const 0)))"#;

#[test]
fn a_filter_that_runs_shows_what_it_does() {
    let folder = Folder::new("run");
    folder.write("a.wasm", wat::parse_str(ADDS).expect("a module"));
    let mut run = Shown::start(&folder, &["filter", "run", "a.wasm", "--port", "0"]);
    let greeting = run.until("curl -i http://");
    let address = greeting.rsplit("http://").next().unwrap_or_default().trim_end_matches('/').to_owned();
    let address = address.parse().expect("an address");
    let (_, answer) = request(address, "GET", "/orders");
    assert!(answer.contains(r#""x-new": "hello""#), "{answer}");
    run.until("log  info  hello");
    run.until("200  GET /orders");
    run.until("request   + x-new: hello");
    folder.write("a.wasm", wat::parse_str(ADDS.replace("x-newhello", "x-oldhello")).expect("a module"));
    run.until("reloaded a.wasm");
    request(address, "GET", "/again");
    run.until("request   + x-old: hello");
    assert!(run.end().success());
}

#[test]
fn what_is_pushed_is_pulled() {
    let folder = Folder::new("push");
    let registry = Registry::plain();
    let module = wat::parse_str(ADDS).expect("a module");
    folder.write("a.wasm", &module);
    // `ann:secret`, as `docker login` writes it.
    let config = format!(r#"{{ "auths": {{ "{}": {{ "auth": "YW5uOnNlY3JldA==" }} }} }}"#, registry.address);
    folder.write("docker.json", config);
    registry.shelves().wants = Some(("Basic YW5uOnNlY3JldA==".to_owned(), "Basic realm=\"x\"".to_owned()));
    let place = format!("oci://{}/team/guard:1.2", registry.address);

    let output = tidegate(&folder, &["filter", "push", "a.wasm", &place]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("wants a user and a password"), "{text}");

    let arguments =
        ["filter", "push", "a.wasm", &place, "--credentials", "docker.json", "--annotation", "a.b=c"];
    let output = tidegate(&folder, &arguments);
    let text = lines(&output).join("\n");
    assert_eq!(output.status.code(), Some(0), "{text} {}", String::from_utf8_lossy(&output.stderr));
    let (kind, manifest) = registry.shelves().manifests.get("team/guard/1.2").cloned().expect("a manifest");
    assert_eq!(kind, "application/vnd.oci.image.manifest.v1+json");
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(manifest["annotations"]["a.b"], "c");

    let output = tidegate(&folder, &["filter", "pull", &place, "--credentials", "docker.json"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read(folder.path("guard.wasm")).expect("it was pulled"), module);
}

/// What `cargo xtask suites registry` does with Debian's registry and all modules.
#[test]
fn shipped_modules_come_back_as_they_were_pushed() {
    let folder = Folder::new("push-shipped");
    let registry = Registry::plain();
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/filters");
    for name in ["api_key", "auth"] {
        let module = built.join(name).with_extension("wasm");
        let file = module.to_string_lossy();
        let place = format!("oci://{}/filters/{name}:1", registry.address);
        let succeeds = |arguments: &[&str]| {
            let output = tidegate(&folder, arguments);
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{arguments:?}: {text}");
        };
        succeeds(&["filter", "push", &file, &place]);
        registry.shelves().seen.clear();
        succeeds(&["filter", "push", &file, &place]);
        let uploads = |(path, _): &&(String, Option<String>)| path.contains("/blobs/uploads/");
        assert_eq!(registry.shelves().seen.iter().find(uploads), None, "{name} is there already");
        succeeds(&["filter", "pull", &place, "-o", "back.wasm"]);
        let (back, pushed) = (std::fs::read(folder.path("back.wasm")), std::fs::read(&module));
        assert!(
            back.expect("it was pulled") == pushed.expect("it is there"),
            "{name} came back as another module"
        );
    }
}
