//! What a gateway records of a plugin is told again by `tidegate filter replay`, to the same module and to another one.

use crate::process::{Folder, Gateway, lines, request, tidegate};

/// Adds a field of this name, of five letters, to requests.
fn adds(name: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
        (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 0) "{name}hello")
        (func (export "malloc") (param i32) (result i32) (i32.const 4096))
        (func (export "proxy_abi_version_0_2_1"))
        (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
            (drop (call $add (i32.const 0) (i32.const 0) (i32.const 5) (i32.const 5) (i32.const 5)))
            (i32.const 0)))"#
    );
    wat::parse_str(text).expect("a module")
}

const CONFIGURATION: &str = "\
admin: { address: 127.0.0.1:0 }
workers: 1
listeners: [{ name: web, address: 127.0.0.1:0, protocol: http }]
plugins: { adds: { module: adds.wasm, record: { path: adds.jsonl, requests: all } } }
routes: [{ name: all, rules: [{ filters: [{ plugin: adds }], respond: { body: passed } }] }]
";

#[test]
fn what_a_gateway_recorded_is_told_to_another_version() {
    let folder = Folder::new("replay");
    folder.write("adds.wasm", adds("x-old"));
    folder.write("new.wasm", adds("x-new"));
    folder.write("a.yaml", CONFIGURATION);
    let mut gateway = Gateway::start(&folder, "a.yaml");
    for path in ["/a", "/b"] {
        assert_eq!(request(gateway.web, "GET", path).0, 200);
    }
    gateway.signal("TERM");
    assert!(gateway.ended().success());

    let replay = |module: &str| {
        let output = tidegate(&folder, &["filter", "replay", "adds.jsonl", module]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), lines(&output).join("\n"), error)
    };
    let (code, text, error) = replay("adds.wasm");
    assert_eq!(code, Some(0), "{text}{error}");
    assert!(text.ends_with("2 records: 2 same, 0 differ, 0 skipped"), "{text}");
    let (code, text, error) = replay("new.wasm");
    assert_eq!(code, Some(1), "{text}{error}");
    assert!(text.contains("differs") && text.contains("GET ") && text.contains("/b"), "{text}");
    assert!(text.contains("+ x-new: hello") && text.contains("- x-old: hello"), "{text}");
    assert!(text.ends_with("2 records: 0 same, 2 differ, 0 skipped"), "{text}");

    let whole = std::fs::read_to_string(folder.path("adds.jsonl")).expect("records");
    folder.write("adds.jsonl", format!("{whole}{{}}\n"));
    let (code, text, error) = replay("adds.wasm");
    assert_eq!(code, Some(1), "{text}{error}");
    assert!(error.contains("adds.jsonl:3: no record"), "{error}");
}

/// By command line: the exit code, and what is told.
const WRONG: &[(&str, i32, &str)] = &[
    ("new Geo", 1, "\"Geo\" is no name of a filter; wanted lower-case letters"),
    ("new geo --template nope", 2, "[possible values: auth, transform, callout, body, rate-limit, tcp]"),
    ("new there", 1, "there is there already"),
    ("new geo --sdk nowhere", 1, "nowhere has no sdk/tidegate-sdk"),
    ("build nowhere", 1, "there is no nowhere/Cargo.toml"),
    ("test nowhere", 1, "there is no nowhere/Cargo.toml"),
    ("run nowhere.wasm", 1, "cannot read nowhere.wasm"),
    ("run adds.wasm --config nowhere.json", 1, "--config is neither a file nor JSON: \"nowhere.json\""),
    ("run adds.wasm --upstream auth", 1, "\"auth\" is no upstream; wanted NAME=HOST:PORT"),
    ("run adds.wasm --port 99999", 2, "99999 is not in 0..=65535"),
    ("bench nowhere.wasm", 1, "cannot read nowhere.wasm"),
    ("bench text.wasm", 1, "text.wasm: not a WebAssembly module"),
    ("bench adds.wasm -H x-env", 1, "\"x-env\" is not a header, as 'x-env: staging' is"),
    ("bench adds.wasm --path orders", 1, "\"orders\" is no path, as /orders is"),
    ("bench adds.wasm --tcp", 1, "the module has no callback for connections"),
    ("bench adds.wasm --body 99999999999", 2, "99999999999 is not in 0..=67108864"),
    ("bench adds.wasm --rounds 0", 2, "0 is not in 1.."),
    ("inspect nowhere.wasm", 1, "cannot read nowhere.wasm"),
    ("inspect text.wasm", 1, "text.wasm: not a WebAssembly module"),
    ("push adds.wasm nonsense", 1, "\"nonsense\" is not a module of a registry"),
    ("push text.wasm oci://127.0.0.1:1/a:1", 1, "text.wasm: not a WebAssembly module"),
    ("push adds.wasm oci://127.0.0.1:1/a:1 --annotation x", 1, "\"x\" is no annotation; wanted NAME=VALUE"),
    ("push adds.wasm oci://127.0.0.1:1/a:1 --credentials nowhere", 1, "cannot read the pull secret nowhere"),
    ("pull oci://127.0.0.1:1/a@sha256:00", 1, "the digest is not sha256: and 64 hexadecimal digits"),
    ("replay nowhere adds.wasm", 1, "cannot read nowhere"),
    ("replay text.wasm adds.wasm", 1, "text.wasm:1: no record"),
    ("replay empty text.wasm", 1, "text.wasm: not a WebAssembly module"),
];

#[test]
fn what_is_wrong_with_a_command_line_is_told() {
    let folder = Folder::new("wrong");
    folder.write("adds.wasm", adds("x-old"));
    folder.write("text.wasm", "hello\n");
    folder.write("empty", "");
    std::fs::create_dir(folder.path("there")).expect("the folder can be written");
    for (line, code, told) in WRONG {
        let arguments: Vec<&str> = ["filter"].into_iter().chain(line.split(' ')).collect();
        let output = tidegate(&folder, &arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{line}: {error}");
        assert!(error.contains(told), "{line}: {error}");
    }
    assert!(!folder.path("geo").exists(), "a project that was refused is there");
}
