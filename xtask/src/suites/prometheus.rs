//! A real Prometheus and the gateway's metrics, alerts and dashboards.

use std::process::Command;

use crate::Outcome;
use crate::shell;
use crate::{filters, tools};

/// Runs the suite.
pub(crate) fn run(arguments: &[String]) -> Outcome<bool> {
    tools::ensure_program(
        "prometheus",
        "it scrapes the gateway, and its promtool checks metrics and alerts",
    )?;
    filters::build()?;
    shell::run(shell::cargo().args(["build", "-p", "tidegate", "-p", "tidegate-suites"]))?;
    let built = shell::target_folder().join("debug");
    let mut command = Command::new(built.join("tidegate-suites"));
    command.arg("prometheus").arg("--tidegate").arg(built.join("tidegate"));
    command.arg("--guest").arg(shell::root().join("target/filters/hello.wasm"));
    command.arg("--docs").arg(shell::root().join("docs")).args(arguments);
    shell::passes(&mut command)
}
