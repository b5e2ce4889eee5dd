//! Lines that are pasted into a fresh shell, and what they say.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::Outcome;
use crate::shell;

/// A shell into which lines were pasted; what runs in it is ended with its owner.
pub(super) struct Pasted {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: String,
}

/// Begins a shell in the folder and pastes lines into it.
pub(super) fn paste(folder: &Path, lines: &str) -> Outcome<Pasted> {
    let mut path = folder.join(".bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new("bash");
    // As a terminal's shell has it: what is typed may use names that the line before has given.
    command.args(["--noprofile", "--norc", "-O", "expand_aliases", "-s"]).current_dir(folder);
    command.env("PATH", path).env("TIDEGATE_CACHE", folder.join(".cache")).env_remove("TIDEGATE_LOG");
    command.env_remove("CARGO_TARGET_DIR").process_group(0);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().ok_or("no input to write")?;
    // The first line sends what goes wrong the same way as what goes well, and a line that fails ends all.
    write!(input, "exec 2>&1\nset -e\n{lines}")?;
    let output = child.stdout.take().ok_or("no output to read")?;
    Ok(Pasted { child, lines: BufReader::new(output).lines(), said: String::new() })
}

impl Pasted {
    /// Reads until a line has this text; all that was said until then.
    pub(super) fn until(&mut self, text: &str) -> Outcome<String> {
        for line in self.lines.by_ref() {
            let line = line?;
            self.said.push_str(&line);
            self.said.push('\n');
            if line.contains(text) {
                return Ok(self.said.clone());
            }
        }
        Err(format!("it ended without {text:?}:\n{}", self.said).into())
    }

    /// Reads to the end. `fails`: the last line does not end well, as a curl that waits for more than there is.
    pub(super) fn into_end(mut self, fails: bool) -> Outcome<String> {
        for line in self.lines.by_ref() {
            self.said.push_str(&String::from_utf8_lossy(line.unwrap_or_default().as_bytes()));
            self.said.push('\n');
        }
        match self.child.wait()?.success() || fails {
            true => Ok(std::mem::take(&mut self.said)),
            false => Err(format!("it failed:\n{}", self.said).into()),
        }
    }

    /// Ctrl-C: what runs must end.
    pub(super) fn interrupt(mut self) -> Outcome<()> {
        shell::run(Command::new("kill").args(["-INT", "--", &format!("-{}", self.child.id())]))?;
        for line in self.lines.by_ref() {
            drop(line);
        }
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Pasted {
    fn drop(&mut self) {
        // What has ended already is none to end.
        let group = format!("-{}", self.child.id());
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            let _ = self.child.wait();
        }
    }
}

/// A folder that looks as a clone does after a release build, with a `cargo` that has made one.
pub(super) fn folder() -> Outcome<PathBuf> {
    let folder = shell::root().join("target/readme");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .map_err(|error| format!("cannot remove {}: {error}", folder.display()))?;
    }
    for name in [".bin", "target/release", "examples/hello"] {
        std::fs::create_dir_all(folder.join(name))?;
    }
    let tidegate = shell::target_folder().join("debug/tidegate");
    symlink(&tidegate, folder.join("target/release/tidegate"))?;
    symlink(shell::root().join("target/filters"), folder.join("target/filters"))?;
    let example = "examples/hello/tidegate.yaml";
    std::fs::copy(shell::root().join(example), folder.join(example))?;
    let cargo = folder.join(".bin/cargo");
    let real = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let (root, target) = (shell::root().display(), shell::target_folder());
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n\
        'run --release -p tidegate -- '*) shift 5; exec '{tidegate}' \"$@\" ;;\n\
        'xtask demo'*) shift 2; cd '{root}' && exec '{tidegate}' demo \"$@\" ;;\n\
        'xtask '*) cd '{root}' && CARGO_TARGET_DIR='{target}' exec '{real}' \"$@\" ;;\n\
        *) exec '{real}' \"$@\" ;;\nesac\n",
        tidegate = tidegate.display(),
        target = target.display(),
    );
    std::fs::write(&cargo, script)?;
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// An address where nobody listens now.
pub(super) fn free_address() -> Outcome<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
