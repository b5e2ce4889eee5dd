//! Limits under load: builds gateway and filter, installs h2load and Redis, starts the suite.

use std::process::Command;

use crate::Outcome;
use crate::shell;
use crate::{filters, tools};

/// Runs the suite. With `--tidegate PROGRAM` that one is used, else a release build is made.
pub(crate) fn run(arguments: &[String]) -> Outcome<bool> {
    for (program, package) in [("h2load", "nghttp2-client"), ("redis-server", "redis-server")] {
        if Command::new(program).arg("--version").output().is_err() {
            tools::install_packages(&[package], "for limits under load")?;
        }
    }
    filters::build()?;
    shell::run(shell::cargo().args(["build", "-p", "tidegate-suites"]))?;
    let built = shell::target_folder();
    let mut command = Command::new(built.join("debug/tidegate-suites"));
    command.arg("limits").arg("--filter").arg(shell::root().join("target/filters/rate_limit.wasm"));
    if !arguments.iter().any(|argument| argument == "--tidegate") {
        shell::run(shell::cargo().args(["build", "--release", "-p", "tidegate"]))?;
        command.arg("--tidegate").arg(built.join("release/tidegate"));
    }
    shell::passes(command.args(arguments))
}
