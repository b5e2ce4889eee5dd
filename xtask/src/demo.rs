//! Builds what the demo needs and starts it: the filters first, then the gateway in its release form.

use std::process::Command;

use crate::shell::{self, say};
use crate::{Outcome, filters};

/// Runs `tidegate demo` with the given arguments; tells whether it ended well.
pub(crate) fn run(arguments: &[String]) -> Outcome<bool> {
    filters::build()?;
    say("demo: building the gateway (a first release build takes some minutes)");
    shell::run(shell::cargo().args(["build", "--release", "--package", "tidegate"]))?;
    let mut gateway = Command::new(shell::target_folder().join("release/tidegate"));
    shell::passes(gateway.current_dir(shell::root()).arg("demo").args(arguments))
}
