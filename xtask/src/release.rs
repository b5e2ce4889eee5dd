//! The gateway as it is given to others: compiled with what a measured build of it did under load.
//!
//! The compiler puts what is run often together and what is run seldom aside. That takes two builds, and between them the
//! load comparison's scenarios on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate_toolchain::program;

use crate::shell::{self, say};
use crate::{Outcome, filters, tools};

/// What is asked of the measured build: all scenarios that run the request path, each for a short while.
const SCENARIOS: &str = "A,B,C,C2,D,D2,E,F,G,J";
/// And what those do not have: logs, traces and scrapes; balancing by load, ejection and retries. Without, the compiler would
/// take them for what is never done.
const OTHERS: [&str; 2] = ["bench/seeing.py", "bench/staying.py"];
/// Rounds of those: each asks for a few seconds.
const ROUNDS: &str = "5";
/// Debian's packages with the programs of the load comparison.
const LOAD: [(&str, &str); 5] = [
    ("wrk", "wrk"),
    ("h2load", "nghttp2-client"),
    ("ab", "apache2-utils"),
    ("nginx", "nginx-light"),
    ("openssl", "openssl"),
];

/// `cargo xtask release`: builds `target/dist/tidegate`.
pub(crate) fn run() -> Outcome<bool> {
    let compiler = Compiler::find()?;
    let merge = compiler.profdata()?;
    for (name, package) in LOAD {
        if !program::is_there(name) {
            tools::install_packages(&[package], "load for the profile")?;
        }
    }
    filters::build()?;
    let folder = shell::target_folder().join("dist");
    let counted = folder.join("counted");
    let _ = std::fs::remove_dir_all(&counted);
    std::fs::create_dir_all(&counted)
        .map_err(|error| format!("cannot create {}: {error}", counted.display()))?;

    say("release: building the gateway with counters (as long as a release build takes)");
    let measured = compiler.build(&folder, &format!("-Cprofile-generate={}", counted.display()))?;
    say("release: load, about three minutes");
    load(&measured)?;

    let profile = folder.join("tidegate.profdata");
    merge_into(&merge, &counted, &profile)?;
    say("release: building the gateway with what was counted");
    let built = compiler.build(&folder, &format!("-Cprofile-use={}", profile.display()))?;
    let to = folder.join("tidegate");
    // By a rename, since the one before may run.
    let next = folder.join("tidegate.next");
    std::fs::copy(&built, &next).and_then(|_| std::fs::rename(&next, &to))?;
    say(&format!("release: {}", to.display()));
    Ok(true)
}

/// What `rustc` says of itself.
struct Compiler {
    host: String,
    llvm: String,
    sysroot: PathBuf,
}

impl Compiler {
    fn find() -> Outcome<Self> {
        let text = shell::output(Command::new("rustc").arg("-vV")).ok_or("`rustc -vV` failed")?;
        let sysroot = shell::output(Command::new("rustc").args(["--print", "sysroot"]));
        Self::of(&text, sysroot.ok_or("`rustc --print sysroot` failed")?.trim().into())
    }

    /// By what `rustc -vV` prints.
    fn of(text: &str, sysroot: PathBuf) -> Outcome<Self> {
        let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let llvm = line("LLVM version:").and_then(|version| version.split('.').next());
        Ok(Self {
            host: line("host:").ok_or("`rustc -vV` tells no host")?.to_owned(),
            llvm: llvm.ok_or("`rustc -vV` tells no version of LLVM")?.to_owned(),
            sysroot,
        })
    }

    /// The program that makes one profile of many: of the toolchain, or of Debian's LLVM of the same version, since
    /// another version cannot read what was written.
    fn profdata(&self) -> Outcome<PathBuf> {
        let own = self.sysroot.join("lib/rustlib").join(&self.host).join("bin/llvm-profdata");
        let debians = PathBuf::from(format!("/usr/lib/llvm-{}/bin/llvm-profdata", self.llvm));
        for place in [&own, &debians] {
            if place.is_file() {
                return Ok(place.clone());
            }
        }
        let package = format!("llvm-{}", self.llvm);
        tools::install_packages(&[&package], "llvm-profdata, for the profile").map_err(|problem| {
            format!(
                "llvm-profdata is needed: `rustup component add llvm-tools`, or Debian's {package}: {problem}"
            )
        })?;
        Ok(debians)
    }

    /// Builds the gateway with this flag, in which there may be blanks. The kind of machine is named so that it is for the
    /// gateway alone, and not for what runs while it is built.
    fn build(&self, folder: &Path, flag: &str) -> Outcome<PathBuf> {
        let mut command = shell::cargo();
        command.args(["build", "--release", "--package", "tidegate", "--target", &self.host]);
        shell::run(command.env("CARGO_TARGET_DIR", folder).env("CARGO_ENCODED_RUSTFLAGS", flag))?;
        Ok(folder.join(&self.host).join("release/tidegate"))
    }
}

/// Runs the scenarios with this program.
fn load(program: &Path) -> Outcome<()> {
    shell::run(Command::new("bench/filters/build.sh").current_dir(shell::root()))?;
    let mut bench = Command::new("python3");
    bench.current_dir(shell::root()).env("TIDEGATE_BIN", program);
    bench.args(["bench/run.py", "--peers", "tidegate", "--scenarios", SCENARIOS]);
    shell::run(bench.args(["--seconds", "2", "--warmup", "1", "--repeats", "1"]))?;
    OTHERS.iter().try_for_each(|script| {
        let mut bench = Command::new("python3");
        bench.current_dir(shell::root()).arg(script).arg("--binary").arg(program);
        shell::run(bench.args(["--rounds", ROUNDS, "--no-bar"]))
    })
}

fn merge_into(merge: &Path, counted: &Path, profile: &Path) -> Outcome<()> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(counted)? {
        files.push(entry?.path());
    }
    if files.is_empty() {
        return Err(format!("the load left no counts in {}", counted.display()).into());
    }
    shell::run(Command::new(merge).args(["merge", "-o"]).arg(profile).args(files))
}

#[cfg(test)]
mod tests {
    use super::Compiler;

    #[test]
    fn the_host_and_the_version_of_llvm_are_read() {
        let text = "rustc 1.95.0 (5980761 2026-04-14)\nhost: x86_64-unknown-linux-gnu\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        let compiler = Compiler::of(text, "/".into()).expect("both are there");
        assert_eq!((compiler.host.as_str(), compiler.llvm.as_str()), ("x86_64-unknown-linux-gnu", "22"));
        assert!(Compiler::of("rustc 1.95.0\nhost: x86_64-unknown-linux-gnu\n", "/".into()).is_err());
    }
}
