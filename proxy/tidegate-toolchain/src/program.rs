//! How other programs are started, and what of it is told.

use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a program with its output shown and tells whether it ended with zero.
///
/// # Errors
/// When it cannot be started; the text has the command line.
pub fn passes(command: &mut Command) -> Result<bool, String> {
    let status = command.status().map_err(|error| format!("cannot start `{}`: {error}", line(command)))?;
    Ok(status.success())
}

/// What a program prints, trimmed; `None` when it cannot be started or fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    if !output.status.success() {
        return None;
    }
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The command line as a person would type it, without the program's folder.
#[must_use]
pub fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| argument.to_string_lossy().into_owned()));
    words.join(" ")
}

/// Whether a program of this name can be started without naming its folder.
#[must_use]
pub fn is_there(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}
