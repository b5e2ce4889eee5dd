//! cargo-deny, from crates.io, with `deny.toml`: licences, bans and sources, and, where its database can be had, advisories.
//! It takes minutes to compile, so CI has tidy's own look at the same file (`tidy/supply.rs`).

use std::path::PathBuf;
use std::process::Command;

use crate::Outcome;
use crate::shell::{self, say};
use crate::{filters, guests};

const TOOL: &str = "cargo-deny@0.20.2";

/// Runs it on each workspace; the arguments say what to check, else licences, bans, sources and advisories.
pub(crate) fn run(arguments: &[String]) -> Outcome<bool> {
    let tool = install()?;
    let mut passed = true;
    for manifest in ["Cargo.toml", filters::MANIFEST, guests::MANIFEST] {
        say(&format!("cargo deny: {manifest}"));
        let checks: &[String] = match arguments {
            [] => &["licenses", "bans", "sources"].map(str::to_owned),
            some => some,
        };
        passed &= deny(&tool, manifest, checks)?;
        if arguments.is_empty() {
            passed &= advisories(&tool, manifest)?;
        }
    }
    Ok(passed)
}

fn deny(tool: &PathBuf, manifest: &str, checks: &[String]) -> Outcome<bool> {
    let mut command = Command::new(tool);
    command.current_dir(shell::root()).arg("--config").arg(shell::root().join("deny.toml"));
    command.args(["--locked", "--manifest-path", manifest, "check"]);
    // Several versions have their reasons for the gateway; guests are of several SDKs by intent.
    if manifest != "Cargo.toml" {
        command.args(["--allow", "duplicate", "--allow", "unmatched-skip"]);
    }
    shell::passes(command.args(["--allow", "license-not-encountered"]).args(checks))
}

/// The database of advisories comes from GitHub, which is not everywhere in reach.
fn advisories(tool: &PathBuf, manifest: &str) -> Outcome<bool> {
    let mut fetch = Command::new(tool);
    fetch.current_dir(shell::root()).arg("--config").arg(shell::root().join("deny.toml"));
    if !shell::passes(fetch.args(["--manifest-path", manifest, "fetch", "db"]))? {
        say("NOT CHECKED: advisories, since their database cannot be fetched");
        return Ok(true);
    }
    deny(tool, manifest, &["advisories".to_owned()])
}

fn install() -> Outcome<PathBuf> {
    let folder = shell::root().join("target/tools/deny");
    let program = folder.join("bin/cargo-deny");
    if !program.is_file() {
        say(&format!("installing {TOOL} into {}, which takes minutes", folder.display()));
        let mut command = shell::cargo();
        command.args(["install", "--quiet", "--locked", TOOL, "--root"]).arg(&folder);
        shell::run(command.env("CARGO_TARGET_DIR", shell::root().join("target/tools/deny-build")))?;
    }
    Ok(program)
}
