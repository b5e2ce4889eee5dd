//! Each template of `tidegate filter new` builds natively and passes its own tests, and so does what the tutorial makes of
//! one.

use std::path::Path;
use std::process::Command;

use crate::process::{Folder, command};

const TEMPLATES: [&str; 6] = ["auth", "transform", "callout", "body", "rate-limit", "tcp"];

#[test]
fn every_template_passes_its_tests() {
    let folder = Folder::new("templates");
    for template in TEMPLATES {
        let name = format!("my-{template}");
        let made = command(&folder.path("")).args(["filter", "new", &name, "--template", template]).output();
        let made = made.expect("the binary was built");
        assert!(made.status.success(), "{template}: {}", String::from_utf8_lossy(&made.stderr));
        passes_its_tests(&folder, &name);
    }
}

/// The tests of a project pass, without a warning, and so does the first step of its workflow.
fn passes_its_tests(folder: &Folder, name: &str) {
    // Nearer than what the repository says of its own code.
    folder.write("rustfmt.toml", "");
    let formatted =
        Command::new(env!("CARGO")).args(["fmt", "--check"]).current_dir(folder.path(name)).output();
    let formatted = formatted.expect("cargo runs");
    assert!(formatted.status.success(), "{name}: {}", String::from_utf8_lossy(&formatted.stdout));
    // One target folder for all, so that what they have in common is compiled once.
    let tested = command(&folder.path(""))
        .args(["filter", "test", name])
        .env("CARGO_TARGET_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/templates"))
        .output();
    let tested = tested.expect("the binary was built");
    let (out, error) = (String::from_utf8_lossy(&tested.stdout), String::from_utf8_lossy(&tested.stderr));
    assert!(tested.status.success(), "{name}:\n{out}\n{error}");
    assert!(out.contains("test tests::") && !out.contains(" 0 passed; 0 failed;\n"), "{name}: {out}");
    assert!(!error.contains("warning"), "{name}: {error}");
}

/// What the tutorial has one type is all that is needed: its filter in the place of the template's.
#[test]
fn the_filter_of_the_tutorial_takes_the_place_of_its_template() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/filters/tutorial.md");
    let page = std::fs::read_to_string(&page).expect("the tutorial");
    let block = |language: &str| {
        let (_, from) = page.split_once(&format!("```{language}\n")).expect("a block");
        from.split_once("```").expect("its end").0.to_owned()
    };
    assert!(page.contains("tidegate filter new gate --template auth\n"), "it begins with another command");
    let folder = Folder::new("tutorial");
    let made = command(&folder.path("")).args(["filter", "new", "gate", "--template", "auth"]).output();
    assert!(made.expect("the binary was built").status.success());
    folder.write("gate/src/lib.rs", block("rust"));
    folder.write("gate/config.json", block("json"));
    passes_its_tests(&folder, "gate");
}

#[test]
fn the_gateway_of_every_template_is_correct() {
    let folder = Folder::new("template-gateways");
    let module = r#"(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1"))
        (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 4096)))"#;
    let module = wat::parse_str(module).expect("a module");
    for template in TEMPLATES {
        let name = format!("my-{template}");
        let run = |arguments: &[&str]| {
            let output = command(&folder.path("")).args(arguments).output().expect("the binary was built");
            let told = [output.stdout, output.stderr].concat();
            let told = String::from_utf8_lossy(&told).into_owned();
            assert!(output.status.success(), "{template}: {told}");
            told
        };
        run(&["filter", "new", &name, "--template", template]);
        std::fs::create_dir_all(folder.path(&format!("{name}/target/filters"))).expect("a folder");
        folder.write(&format!("{name}/target/filters/{}.wasm", name.replace('-', "_")), &module);
        let told = run(&["check", &format!("{name}/tidegate.yaml")]);
        assert!(!told.contains("warning"), "{template}: {told}");
    }
}
