//! Debian's packages.

use std::path::Path;
use std::process::Command;

use crate::program;

/// Installs Debian packages; `say` is told what happens.
///
/// # Errors
/// Why it cannot be done, and what to type instead.
pub fn install_packages(packages: &[&str], purpose: &str, say: &dyn Fn(&str)) -> Result<(), String> {
    if !Path::new("/usr/bin/apt-get").is_file() {
        return Err("no apt-get on this machine".to_owned());
    }
    let list = packages.join(" ");
    if program::output(Command::new("id").arg("-u")).as_deref() != Some("0") {
        return Err(format!("needs root: `sudo apt-get install {list}`"));
    }
    say(&format!("installing Debian's {list} ({purpose})"));
    if !matches!(program::passes(Command::new("apt-get").args(["update", "-q"])), Ok(true)) {
        say("apt-get update failed; trying with the package lists that are here");
    }
    let mut install = Command::new("apt-get");
    install.env("DEBIAN_FRONTEND", "noninteractive");
    install.args(["install", "-y", "-q", "--no-install-recommends"]).args(packages);
    match program::passes(&mut install) {
        Ok(true) => Ok(()),
        Ok(false) => Err("apt-get failed, see above".to_owned()),
        Err(error) => Err(error),
    }
}
