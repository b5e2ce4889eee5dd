//! A filter's project as cargo sees it: which module it makes, and where cargo puts it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tidegate_toolchain::program;

/// A package that is compiled to a module.
#[derive(Debug)]
pub(crate) struct Project {
    /// The package's name.
    pub(crate) name: String,
    /// Its manifest.
    pub(crate) manifest: PathBuf,
    /// The module's file name.
    pub(crate) module: String,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
}

impl Project {
    /// The project of a folder.
    pub(crate) fn find(folder: &Path) -> Result<Self> {
        let manifest = folder.join("Cargo.toml");
        if !manifest.is_file() {
            bail!(
                "there is no {}; name the folder of a filter's project, or make one by `tidegate filter new`",
                manifest.display()
            );
        }
        let manifest =
            manifest.canonicalize().with_context(|| format!("cannot read {}", manifest.display()))?;
        let mut command = cargo();
        command.args(["metadata", "--no-deps", "--format-version=1", "--manifest-path"]).arg(&manifest);
        let output = command.output().context("cannot start `cargo`; install Rust, see https://rustup.rs")?;
        if !output.status.success() {
            bail!(
                "`{}` failed:\n{}",
                program::line(&command),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let metadata: Value =
            serde_json::from_slice(&output.stdout).context("`cargo metadata` told no JSON")?;
        Self::of(&metadata, manifest)
    }

    fn of(metadata: &Value, manifest: PathBuf) -> Result<Self> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let packages = list(&metadata["packages"]);
        let own = packages.iter().find(|package| Path::new(&text(&package["manifest_path"])) == manifest);
        let Some(package) = own else {
            let names: Vec<String> = packages.iter().map(|package| text(&package["name"])).collect();
            bail!(
                "{} is a workspace without a package of its own; name the folder of one of its members: {}",
                manifest.display(),
                names.join(", ")
            );
        };
        let is_module = |target: &&Value| list(&target["crate_types"]).iter().any(|kind| kind == "cdylib");
        let targets = list(&package["targets"]);
        let Some(target) = targets.iter().find(is_module) else {
            bail!(
                "{} makes no module: its [lib] needs crate-type = [\"cdylib\", \"rlib\"]",
                manifest.display()
            );
        };
        Ok(Self {
            name: text(&package["name"]),
            module: format!("{}.wasm", text(&target["name"]).replace('-', "_")),
            target: PathBuf::from(text(&metadata["target_directory"])),
            manifest,
        })
    }
}

/// The cargo of the machine; of a call by cargo, the same one.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(kind: &str) -> Value {
        json!({
            "target_directory": "/p/target",
            "packages": [{
                "name": "geo-guard", "manifest_path": "/p/Cargo.toml",
                "targets": [{ "name": "geo-guard", "crate_types": [kind, "rlib"] }],
            }],
        })
    }

    #[test]
    fn the_module_of_a_package_is_known_by_its_library() {
        let project = Project::of(&metadata("cdylib"), "/p/Cargo.toml".into()).expect("a filter");
        assert_eq!((project.name.as_str(), project.module.as_str()), ("geo-guard", "geo_guard.wasm"));
        let why = Project::of(&metadata("lib"), "/p/Cargo.toml".into()).expect_err("no module").to_string();
        assert!(why.contains("cdylib"), "{why}");
        let why =
            Project::of(&metadata("cdylib"), "/Cargo.toml".into()).expect_err("a workspace").to_string();
        assert!(why.contains("geo-guard"), "{why}");
    }
}
