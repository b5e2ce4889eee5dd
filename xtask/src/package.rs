//! `cargo xtask package`: what would be uploaded to crates.io is packed, and the packages of the SDK are compiled from what
//! was packed, as their users' cargo does it. Nothing is uploaded.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::Outcome;
use crate::shell;

/// What filters are written and tested with.
const SDK: &[&str] = &[
    "tidegate-abi",
    "tidegate-limiter",
    "tidegate-password",
    "tidegate-sdk-macros",
    "tidegate-sdk",
    "tidegate-sdk-test",
];

/// What runs built modules in tests. It is packed only: compiling it means compiling wasmtime once more.
const HOST: &[&str] = &["tidegate-wasm", "tidegate-filter-host"];

/// Packs; `false` when cargo has told what cannot be packed, or does not compile.
pub(crate) fn run() -> Outcome<bool> {
    forget(SDK);
    Ok(pack(SDK, &[])? && pack(&[SDK, HOST].concat(), &["--no-verify"])?)
}

/// Cargo unpacks what it compiles into its home, keeps what it made of it, and believes that a version never changes, which
/// holds for what was published and not for what is being worked on: what an earlier run has left is taken away. What cannot
/// be taken away is at worst compiled instead, and told by cargo.
fn forget(names: &[&str]) {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let Some(registry) = home.map(|home| home.join("registry")) else { return };
    for packed in ["src", "cache"].iter().flat_map(|kind| entries(&registry.join(kind))) {
        // Registries of the network have a host before the dash.
        if !packed.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"-")) {
            continue;
        }
        remove(&packed, names);
    }
    remove(&shell::target_folder().join("debug/.fingerprint"), names);
}

/// Removes what is of these packages in a folder.
fn remove(folder: &Path, names: &[&str]) {
    for left in entries(folder) {
        let name = left.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if names.iter().any(|ours| name.starts_with(ours)) {
            _ = if left.is_dir() { fs::remove_dir_all(&left) } else { fs::remove_file(&left) };
        }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn pack(names: &[&str], options: &[&str]) -> Outcome<bool> {
    let mut command = shell::cargo();
    // What is checked is the work at hand, committed or not.
    command.args(["package", "--quiet", "--allow-dirty"]).args(options);
    names.iter().for_each(|name| {
        command.args(["-p", name]);
    });
    shell::passes(&mut command)
}
