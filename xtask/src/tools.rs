//! What the checks need and a minimal machine lacks: parts of the toolchain, and Debian's packages.

use std::path::Path;
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

/// Installs a program from the Debian package of the same name where it is missing.
pub(crate) fn ensure_program(name: &str, purpose: &str) -> Outcome<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(name).is_file()) {
        return Ok(());
    }
    install_packages(&[name], purpose).map_err(|problem| format!("{name} is needed: {problem}").into())
}

/// Installs Debian packages; the error says why it cannot be done, and what to type instead.
pub(crate) fn install_packages(packages: &[&str], purpose: &str) -> Result<(), String> {
    if !Path::new("/usr/bin/apt-get").is_file() {
        return Err("no apt-get on this machine".to_owned());
    }
    let list = packages.join(" ");
    if shell::output(Command::new("id").arg("-u")).as_deref() != Some("0") {
        return Err(format!("needs root: `sudo apt-get install {list}`"));
    }
    say(&format!("installing Debian's {list} ({purpose})"));
    if !matches!(shell::passes(Command::new("apt-get").args(["update", "-q"])), Ok(true)) {
        say("apt-get update failed; trying with the package lists that are here");
    }
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
    match shell::passes(&mut install) {
        Ok(true) => Ok(()),
        Ok(false) => Err("apt-get failed, see above".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
