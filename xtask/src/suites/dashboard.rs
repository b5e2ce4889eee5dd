//! The dashboard in Debian's Chromium, driven by Playwright.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Ran;
use crate::Outcome;
use crate::shell;
use crate::tools;

/// Runs the suite; pictures of all views are below `target/dashboard`.
pub(crate) fn run(arguments: &[String]) -> Outcome<bool> {
    drive(&install()?, arguments)
}

/// The same; a machine on which browser or driver cannot be had does not run it.
pub(crate) fn where_it_can() -> Outcome<Ran> {
    match install() {
        Ok(project) => drive(&project, &[]).map(Ran::Passed),
        Err(problem) => Ok(Ran::Not(format!("what drives the browser cannot be had here: {problem}"))),
    }
}

/// Browser and driver; the folder that has the suite in it.
fn install() -> Outcome<PathBuf> {
    tools::ensure_program("chromium", "the dashboard is looked at in it")?;
    tools::ensure_program("npm", "Playwright, which drives the browser")?;
    let source = shell::root().join("conformance/suites/dashboard");
    let project = shell::root().join("target/tools/dashboard");
    fs::create_dir_all(&project)?;
    for name in ["package.json", "package-lock.json", "dashboard.mjs"] {
        fs::copy(source.join(name), project.join(name))?;
    }
    let installed = project.join("node_modules/.package-lock.json");
    // `npm ci` begins by removing everything: not where the same lock file was installed already.
    let lock = fs::read(project.join("package-lock.json"))?;
    let kept = project.join("installed-lock.json");
    if !installed.is_file() || fs::read(&kept).ok().as_ref() != Some(&lock) {
        shell::run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&project))?;
        fs::write(&kept, &lock)?;
    }
    Ok(project)
}

fn drive(project: &Path, arguments: &[String]) -> Outcome<bool> {
    shell::run(shell::cargo().args(["build", "-p", "tidegate"]))?;
    let mut command = Command::new("node");
    command.arg(project.join("dashboard.mjs")).arg("--chromium").arg("chromium");
    command.arg("--tidegate").arg(shell::target_folder().join("debug/tidegate"));
    command.arg("--shots").arg(shell::root().join("target/dashboard")).args(arguments);
    shell::passes(&mut command)
}
