//! `cargo xtask package`: what would be uploaded to crates.io is packed, and the packages of the SDK are compiled from what
//! was packed, as their users' cargo does it. Nothing is uploaded.

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
    Ok(pack(SDK, &[])? && pack(&[SDK, HOST].concat(), &["--no-verify"])?)
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
