//! What the checks need and a minimal machine lacks: parts of the toolchain, and Debian's packages.

use std::process::Command;

use tidegate_toolchain::program;

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

/// Installs a program from the Debian package of the same name where it is missing.
pub(crate) fn ensure_program(name: &str, purpose: &str) -> Outcome<()> {
    if program::is_there(name) {
        return Ok(());
    }
    install_packages(&[name], purpose).map_err(|problem| format!("{name} is needed: {problem}").into())
}

/// Installs the servers that tests of filters start.
pub(crate) fn ensure_servers() -> Outcome<()> {
    ensure_program("redis-server", "counts for several gateways in a test")
}

/// Installs Debian packages; the error says why it cannot be done, and what to type instead.
pub(crate) fn install_packages(packages: &[&str], purpose: &str) -> Result<(), String> {
    tidegate_toolchain::install_packages(packages, purpose, &say)
}
