//! Parts of the toolchain that the checks need and a minimal one lacks.

use std::process::Command;

use crate::Outcome;
use crate::shell::{self, say};

/// Installs clippy and rustfmt by rustup where they are missing.
pub(crate) fn ensure() -> Outcome<()> {
    for (component, subcommand) in [("clippy", "clippy"), ("rustfmt", "fmt")] {
        if shell::output(shell::cargo().args([subcommand, "--version"])).is_some() {
            continue;
        }
        say(&format!("this toolchain has no {component}; running `rustup component add {component}`"));
        shell::run(Command::new("rustup").args(["component", "add", component]))
            .map_err(|error| format!("{error}; install {component} for this toolchain, then try again"))?;
    }
    Ok(())
}
