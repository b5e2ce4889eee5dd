//! The published API as the compiler sees it, against that of the last release, by cargo-semver-checks from crates.io. The
//! tool takes minutes to compile, so CI compares the listings instead (`tidy/promise.rs`).

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::shell::{self, say};
use crate::tidy::api;

/// The tool, and what it reads: rustdoc's format, so it goes with the compiler.
const TOOL: &str = "cargo-semver-checks@0.51.0";

/// The file that is written with each release.
const RELEASED: &str = "sdk/tidegate-sdk/released.txt";

/// Runs it; the argument is the commit to compare with, else the one that wrote down the last release.
pub(crate) fn run(arguments: &[String]) -> Outcome<bool> {
    let commit = match arguments {
        [] => released()?,
        [one] => one.clone(),
        _ => return Err("takes one argument at most: the commit to compare with".into()),
    };
    let tool = install()?;
    let baseline = unpack(&commit)?;
    say(&format!("comparing with {commit}"));
    let mut command = Command::new(tool);
    command.args(["semver-checks", "--baseline-root"]).arg(baseline);
    // A macro has no API that the tool could read.
    for name in api::CRATES.iter().filter(|name| !name.ends_with("-macros")) {
        command.args(["-p", name]);
    }
    shell::passes(command.current_dir(shell::root()).env("CARGO_TARGET_DIR", shell::target_folder()))
}

/// The commit that wrote down what was released last.
fn released() -> Outcome<String> {
    let mut command = Command::new("git");
    command.current_dir(shell::root()).args(["log", "-1", "--format=%H", "--", RELEASED]);
    let commit = shell::output(&mut command).unwrap_or_default().trim().to_owned();
    match commit.is_empty() {
        true => {
            Err(format!("git knows no commit that wrote {RELEASED}; is this a clone with its history?")
                .into())
        }
        false => Ok(commit),
    }
}

fn install() -> Outcome<PathBuf> {
    let folder = shell::root().join("target/tools/semver");
    let program = folder.join("bin/cargo-semver-checks");
    if !program.is_file() {
        say(&format!("installing {TOOL} into {}, which takes minutes", folder.display()));
        let mut command = shell::cargo();
        shell::run(command.args(["install", "--quiet", "--locked", TOOL, "--root"]).arg(&folder))?;
    }
    Ok(program)
}

/// The project as it was in a commit.
fn unpack(commit: &str) -> Outcome<PathBuf> {
    let folder = shell::root().join("target/semver");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .map_err(|error| format!("cannot remove {}: {error}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    let archive = folder.join("project.tar");
    git(&["archive", "--format=tar", "--output"], &archive, commit)?;
    shell::run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&folder))?;
    Ok(folder)
}

fn git(arguments: &[&str], path: &Path, commit: &str) -> Outcome<()> {
    shell::run(Command::new("git").current_dir(shell::root()).args(arguments).arg(path).arg(commit))
}
