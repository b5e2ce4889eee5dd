//! Builds every Wasm filter of the project (`filters/*` and the sample filters in `examples/*`) into `target/filters`.
//!
//! All share one target folder, so a standard library built from sources is built once.

use std::path::{Path, PathBuf};

use serde_json::Value;

use tidegate_toolchain::TARGET;

use crate::Outcome;
use crate::shell::{self, say};

/// The workspace that the filters and the sample filters are members of.
pub(crate) const MANIFEST: &str = "filters/Cargo.toml";

/// Builds the filters and returns the modules' paths.
pub(crate) fn build() -> Outcome<Vec<PathBuf>> {
    let toolchain = tidegate_toolchain::find(&say)?;
    say(&format!("filters: building with {}", toolchain.description()));
    let built = shell::root().join("target/wasm");
    let mut command = toolchain.cargo_build(shell::cargo());
    command.args(["--manifest-path", MANIFEST]).env("CARGO_TARGET_DIR", &built);
    shell::run(&mut command)?;

    let folder = shell::root().join("target/filters");
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    let mut modules = Vec::new();
    for name in module_names()? {
        let from = built.join(TARGET).join("release").join(&name);
        let to = folder.join(&name);
        install(&from, &to)?;
        modules.push(to);
    }
    Ok(modules)
}

/// The file names of the modules: one for each member of the workspace that is a C-like dynamic library.
fn module_names() -> Outcome<Vec<String>> {
    let mut command = shell::cargo();
    command.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path", MANIFEST]);
    let text = shell::output(&mut command).ok_or("`cargo metadata` failed for the filters' workspace")?;
    let metadata: Value = serde_json::from_str(&text)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut names = Vec::new();
    for package in list(&metadata["packages"]) {
        for target in list(&package["targets"]) {
            let is_module = list(&target["crate_types"]).iter().any(|kind| kind == "cdylib");
            if let (true, Some(name)) = (is_module, target["name"].as_str()) {
                names.push(format!("{}.wasm", name.replace('-', "_")));
            }
        }
    }
    names.sort();
    Ok(names)
}

/// Puts a module in place by a rename, so that a gateway that watches the file never reads half of it.
pub(crate) fn install(from: &Path, to: &Path) -> Outcome<()> {
    let bytes = std::fs::read(from).map_err(|error| format!("cannot read {}: {error}", from.display()))?;
    let size = bytes.len().div_ceil(1024);
    if std::fs::read(to).is_ok_and(|old| old == bytes) {
        say(&format!("{} is up to date ({size} KiB)", to.display()));
        return Ok(());
    }
    let fresh = to.with_extension("wasm.new");
    std::fs::write(&fresh, bytes).map_err(|error| format!("cannot write {}: {error}", fresh.display()))?;
    std::fs::rename(&fresh, to).map_err(|error| format!("cannot replace {}: {error}", to.display()))?;
    say(&format!("{} built ({size} KiB)", to.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A member by a pattern would take the folder of cargo's builds for one, and refuse everything after the first build.
    #[test]
    fn every_filter_is_a_member_by_its_name() {
        let manifest = shell::root().join(MANIFEST);
        let text = std::fs::read_to_string(&manifest).expect("the workspace's manifest");
        let (members, _) = text.split_once("[workspace.package]").expect("its table of packages");
        assert!(!members.contains('*'), "{members}");
        let folder = manifest.parent().expect("a folder").read_dir().expect("it can be read");
        for entry in folder.flatten().filter(|entry| entry.path().join("Cargo.toml").is_file()) {
            let name = entry.file_name();
            assert!(members.contains(&format!("\n    {name:?},")), "{name:?} is no member");
        }
    }
}
