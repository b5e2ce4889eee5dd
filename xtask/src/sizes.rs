//! `cargo xtask sizes`: how large the modules of filters are. What someone begins with, and what a small filter becomes, must
//! stay below what is promised.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{self, say};
use crate::{Outcome, filters};

/// What a small filter's release module may have.
const LARGEST: u64 = 150 * 1024;

/// The templates of `tidegate filter new`, each a file of code.
const TEMPLATES: &str = "proxy/tidegate/templates";

/// The small ones among the project's own filters; of these the first changes fields only.
const SMALL: [&str; 3] = ["bench_headers_sdk.wasm", "example_rust_sdk.wasm", "hello.wasm"];

/// Builds them all and shows their sizes; `false` when a small one is too large.
pub(crate) fn check() -> Outcome<bool> {
    let mut modules = Vec::new();
    for path in filters::build()? {
        let small = path.file_name().is_some_and(|name| SMALL.iter().any(|small| name == *small));
        modules.push((path, small));
    }
    // As `first-filter` builds it: with other packages it would be another build.
    shell::run(shell::cargo().args(["build", "-p", "tidegate", "-p", "tidegate-suites"]))?;
    let folder = shell::root().join("target/sizes");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .map_err(|error| format!("cannot remove {}: {error}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    for template in templates()? {
        modules.push((build(&folder, &template)?, true));
    }
    let mut passed = true;
    for (path, small) in &modules {
        let size = path.metadata().map_err(|error| format!("cannot read {}: {error}", path.display()))?.len();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        println!("{size:9} bytes  {name}");
        if *small && size >= LARGEST {
            println!("sizes: {name} has {size} bytes, {LARGEST} or more");
            passed = false;
        }
    }
    Ok(passed)
}

/// Their names.
fn templates() -> Outcome<Vec<String>> {
    let mut names = Vec::new();
    for entry in shell::root().join(TEMPLATES).read_dir()? {
        let path = entry?.path();
        let name = path.file_stem().filter(|_| path.extension().is_some_and(|extension| extension == "rs"));
        names.extend(name.map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort_unstable();
    Ok(names)
}

/// The module of a template, as its user builds it.
fn build(folder: &Path, template: &str) -> Outcome<PathBuf> {
    let name = format!("template-{template}");
    shell::run(tidegate(folder).args(["new", &name, "--template", template]))?;
    say(&format!("sizes: {name}"));
    shell::run(tidegate(folder).args(["build", &name]))?;
    Ok(shell::root().join("target/wasm/filters").join(format!("{}.wasm", name.replace('-', "_"))))
}

/// `tidegate filter`, with the folder that the project's filters are built in.
pub(crate) fn tidegate(folder: &Path) -> Command {
    let mut command = Command::new(shell::target_folder().join("debug/tidegate"));
    command.arg("filter").current_dir(folder).env("CARGO_TARGET_DIR", shell::root().join("target/wasm"));
    command
}
