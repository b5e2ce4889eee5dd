//! Builds what the demo needs and starts it: the filters first, then the gateway.

use std::process::Command;

use crate::shell::{self, say};
use crate::{Outcome, filters};

/// Runs `tidegate demo` with the given arguments; tells whether it ended well.
pub(crate) fn run(arguments: &[String]) -> Outcome<bool> {
    filters::build()?;
    say("demo: building the gateway (a first release build takes some minutes)");
    shell::run(shell::cargo().args(["build", "--release", "--package", "tidegate"]))?;
    start("release", arguments)
}

/// The check of CI, with the build that its tests have made: a second one in release form takes as long as all of them.
pub(crate) fn check() -> Outcome<bool> {
    filters::build()?;
    shell::run(shell::cargo().args(["build", "-p", "tidegate", "-p", "tidegate-suites"]))?;
    start("debug", &["--check".to_owned()])
}

fn start(profile: &str, arguments: &[String]) -> Outcome<bool> {
    let mut gateway = Command::new(shell::target_folder().join(profile).join("tidegate"));
    shell::passes(gateway.current_dir(shell::root()).arg("demo").args(arguments))
}
