//! `tidegate filter`: what its commands tell, and by which exit code.

use crate::process::{Folder, lines, tidegate};

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
