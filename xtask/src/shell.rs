//! Where the project lies and how other programs are started: one place for paths, environment and progress lines.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate_toolchain::program;
pub(crate) use tidegate_toolchain::program::{line, output};

use crate::Outcome;

/// The folder of the root manifest.
pub(crate) fn root() -> &'static Path {
    // xtask lies directly below the root; the path is fixed when xtask is compiled, which is in the same clone.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The folder that cargo builds the root workspace into.
pub(crate) fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// The cargo that started xtask, to be run in the project's folder.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(program);
    command.current_dir(root()).env("CARGO_TARGET_DIR", target_folder());
    // Everything is built once here: what would let a second build be quicker takes gigabytes and time.
    command.env("CARGO_INCREMENTAL", "0");
    // Set by the cargo that runs xtask; they describe xtask, not what is built next.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        command.env_remove(name);
    }
    command
}

/// Runs a program with its output shown; an exit code other than zero is an error that names the command line.
pub(crate) fn run(command: &mut Command) -> Outcome<()> {
    match passes(command)? {
        true => Ok(()),
        false => Err(format!("`{}` failed", line(command)).into()),
    }
}

/// As [`program::passes`].
pub(crate) fn passes(command: &mut Command) -> Outcome<bool> {
    Ok(program::passes(command)?)
}

/// Tells the person what happens now.
pub(crate) fn say(message: &str) {
    eprintln!("xtask: {message}");
}
