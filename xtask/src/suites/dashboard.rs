//! The dashboard in Debian's Chromium, driven by Playwright.

use std::fs;
use std::process::Command;

use crate::Outcome;
use crate::shell;
use crate::tools;

/// Runs the suite; pictures of all views are below `target/dashboard`.
pub(crate) fn run(arguments: &[String]) -> Outcome<bool> {
    tools::ensure_program("chromium", "the dashboard is looked at in it")?;
    tools::ensure_program("npm", "Playwright, which drives the browser")?;
    shell::run(shell::cargo().args(["build", "-p", "tidegate"]))?;
    let source = shell::root().join("conformance/suites/dashboard");
    let project = shell::root().join("target/tools/dashboard");
    fs::create_dir_all(&project)?;
    for name in ["package.json", "package-lock.json", "dashboard.mjs"] {
        fs::copy(source.join(name), project.join(name))?;
    }
    shell::run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&project))?;
    let mut command = Command::new("node");
    command.arg(project.join("dashboard.mjs")).arg("--chromium").arg("chromium");
    command.arg("--tidegate").arg(shell::target_folder().join("debug/tidegate"));
    command.arg("--shots").arg(shell::root().join("target/dashboard")).args(arguments);
    shell::passes(&mut command)
}
