//! Checks every example's configuration with the gateway itself, which also reads the modules and certificates it names.

use std::path::PathBuf;
use std::process::Command;

use crate::{Outcome, shell, tools};

/// Runs `tidegate check` on each; `true` when all are accepted.
pub(crate) fn check() -> Outcome<bool> {
    let mut all = true;
    for file in configurations()? {
        let certificates = file.with_file_name("certificates.sh");
        if certificates.is_file() {
            tools::ensure_program("openssl", "makes the certificates of the TLS example")?;
            if shell::output(&mut Command::new(&certificates)).is_none() {
                return Err(format!("{} failed", certificates.display()).into());
            }
        }
        let mut command = shell::cargo();
        command.args(["run", "--quiet", "--package", "tidegate", "--", "check"]).arg(&file);
        if !shell::passes(&mut command)? {
            println!("examples: {} is refused, see above", file.display());
            all = false;
        }
    }
    Ok(all)
}

/// Each `tidegate.yaml` directly in a folder of `examples`.
fn configurations() -> Outcome<Vec<PathBuf>> {
    let folder = shell::root().join("examples");
    let entries = folder.read_dir().map_err(|error| format!("cannot list {}: {error}", folder.display()))?;
    let files = entries.flatten().map(|entry| entry.path().join("tidegate.yaml"));
    let mut files: Vec<PathBuf> = files.filter(|file| file.is_file()).collect();
    files.sort();
    if files.is_empty() {
        return Err(format!("no configuration in {}", folder.display()).into());
    }
    Ok(files)
}
