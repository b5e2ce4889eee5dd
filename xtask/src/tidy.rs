//! Checks what compilers do not: who may import whom, the size and form of files, the list of dependencies and what may come
//! in with them, and whether the published API has changed.

pub(crate) mod api;
mod dependencies;
mod edges;
mod modules;
mod promise;
mod sources;
mod supply;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Outcome, shell};

/// Checks everything and prints what is wrong; `true` when nothing is.
pub(crate) fn run() -> Outcome<bool> {
    let packages = packages()?;
    let files = rust_files(shell::root())?;
    let mut problems = edges::check(&packages);
    problems.extend(sources::check(&files)?);
    problems.extend(modules::check(&shell::root().join("proxy/tidegate-proxy/src"), &files)?);
    problems.extend(dependencies::check(&packages)?);
    problems.extend(supply::check()?);
    problems.extend(api::check(&files, &packages)?);
    for problem in &problems {
        println!("tidy: {problem}");
    }
    Ok(problems.is_empty())
}

/// A member of the root workspace, as `cargo metadata` tells it.
struct Package {
    name: String,
    version: String,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    /// Only for tests, examples and benchmarks.
    is_dev: bool,
}

fn packages() -> Outcome<Vec<Package>> {
    let mut command = shell::cargo();
    command.args(["metadata", "--no-deps", "--format-version=1"]);
    let text = shell::output(&mut command).ok_or("`cargo metadata` failed")?;
    let metadata: Value = serde_json::from_str(&text)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let dependency = |value: &Value| Dependency { name: name(value), is_dev: value["kind"] == "dev" };
    let package = |value: &Value| Package {
        name: name(value),
        version: value["version"].as_str().unwrap_or_default().to_owned(),
        dependencies: list(&value["dependencies"]).iter().map(dependency).collect(),
    };
    Ok(list(&metadata["packages"]).iter().map(package).collect())
}

/// Every Rust file of the project, sorted; build folders and hidden ones are left out.
fn rust_files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            folder.read_dir().map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if path.is_dir() {
                if !name.starts_with('.') && !name.starts_with("target") {
                    folders.push(path);
                }
            } else if name.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// A path as it is written in messages: from the project's folder.
fn shown(path: &Path) -> String {
    path.strip_prefix(shell::root()).unwrap_or(path).display().to_string()
}

fn read(path: &Path) -> Outcome<String> {
    std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", shown(path)).into())
}
