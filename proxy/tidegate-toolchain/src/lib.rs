//! Finds a way to compile for `wasm32-unknown-unknown`, installing one where there is none.
//!
//! In this order: a toolchain that is ready (the running one with the target's standard library, or Debian's with the
//! library's sources), then `rustup target add`, then Debian's packages `rustc-web` and `rust-web-src`. What counts is
//! whether the standard library is there, never a package's version. `tidegate filter build` and the project's own
//! commands use it.

mod packages;
pub mod program;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

pub use packages::install_packages;

/// The name by which rustc knows the target.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// How filters are compiled on this machine.
#[derive(Debug)]
pub enum Toolchain {
    /// The running toolchain has the target's standard library.
    Ready,
    /// Debian's rustc, which compiles the standard library from its sources; links with the running toolchain's linker.
    Debian {
        /// The folder of that linker.
        linkers: PathBuf,
    },
}

/// Finds a toolchain for the target or installs one; `say` is told what happens.
///
/// # Errors
/// What was tried, what came of it, and what would help.
pub fn find(say: &dyn Fn(&str)) -> Result<Toolchain, String> {
    if let Some(found) = ready() {
        return Ok(found);
    }
    let with_rustup = add_by_rustup(say);
    if let Some(found) = ready() {
        return Ok(found);
    }
    let with_debian = install_from_debian(say);
    if let Some(found) = ready() {
        return Ok(found);
    }
    let linker = match linkers() {
        Some(_) => "found",
        None => "not found in the running toolchain (rust-lld, part of rustup's toolchains)",
    };
    Err(format!(
        "nothing here can compile for {TARGET}:\n  \
         rustup target add {TARGET}: {with_rustup}\n  \
         Debian's {}: {with_debian}\n  \
         linker: {linker}\n\
         Make one of the two work by hand, then run this command again",
        DEBIAN_PACKAGES.join(" and "),
    ))
}

impl Toolchain {
    /// Makes a call of cargo a release build for the target; the caller adds manifest and folder.
    #[must_use]
    pub fn cargo_build(&self, mut command: Command) -> Command {
        command.args(["build", "--release", "--target", TARGET]);
        // Settings made for native builds: wrappers that know another rustc, flags that wasm32 does not take.
        for name in FOREIGN_SETTINGS {
            command.env_remove(name);
        }
        if let Toolchain::Debian { linkers } = self {
            let mut path = OsString::from(linkers);
            if let Some(rest) = std::env::var_os("PATH") {
                path.push(":");
                path.push(rest);
            }
            command.arg("-Zbuild-std=std,panic_abort");
            command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1").env("PATH", path);
        }
        command
    }

    /// One line for the person who waits.
    #[must_use]
    pub fn description(&self) -> String {
        match self {
            Toolchain::Ready => format!("the toolchain's own {TARGET}"),
            Toolchain::Debian { .. } => {
                format!("{DEBIAN_RUSTC} and std from its sources (its first build takes about a minute)")
            }
        }
    }
}

/// A toolchain that needs no installation.
fn ready() -> Option<Toolchain> {
    if has_std("rustc") {
        return Some(Toolchain::Ready);
    }
    let sources = sysroot(DEBIAN_RUSTC)?.join("lib/rustlib/src/rust/library/std/Cargo.toml");
    if sources.is_file() && is_new_enough(DEBIAN_RUSTC) {
        return Some(Toolchain::Debian { linkers: linkers()? });
    }
    None
}

/// Whether this rustc's sysroot holds the target's standard library.
fn has_std(rustc: &str) -> bool {
    let Some(sysroot) = sysroot(rustc) else { return false };
    let Ok(entries) = sysroot.join("lib/rustlib").join(TARGET).join("lib").read_dir() else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

fn sysroot(rustc: &str) -> Option<PathBuf> {
    program::output(Command::new(rustc).args(["--print", "sysroot"])).map(PathBuf::from)
}

/// The folder of the running toolchain's `rust-lld`, which links wasm.
fn linkers() -> Option<PathBuf> {
    let host = version_line("rustc", "host: ")?;
    let folder = sysroot("rustc")?.join("lib/rustlib").join(host).join("bin");
    folder.join("rust-lld").is_file().then_some(folder)
}

/// The rest of the line of `rustc -vV` that starts with `key`.
fn version_line(rustc: &str, key: &str) -> Option<String> {
    let version = program::output(Command::new(rustc).arg("-vV"))?;
    version.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned)
}

fn is_new_enough(rustc: &str) -> bool {
    let release = version_line(rustc, "release: ").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(MINIMUM.0), Some(MINIMUM.1))
}

/// Tries rustup; the answer says how it went.
fn add_by_rustup(say: &dyn Fn(&str)) -> String {
    say(&format!("this toolchain has no {TARGET}; trying `rustup target add {TARGET}`"));
    let mut command = Command::new("rustup");
    match program::passes(command.args(["target", "add", TARGET])) {
        Ok(true) => "installed, but its standard library is not in the sysroot".to_owned(),
        Ok(false) => "failed, see above".to_owned(),
        Err(error) => error,
    }
}

/// Tries Debian's packages; the answer says how it went.
fn install_from_debian(say: &dyn Fn(&str)) -> String {
    let purpose = format!("a rustc for {TARGET} and the sources of its std");
    match install_packages(&DEBIAN_PACKAGES, &purpose, say) {
        Err(problem) => problem,
        Ok(()) if !is_new_enough(DEBIAN_RUSTC) => {
            format!("installed, but {DEBIAN_RUSTC} is older than {}.{}", MINIMUM.0, MINIMUM.1)
        }
        Ok(()) => "installed, but the sources of std are not in its sysroot".to_owned(),
    }
}

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];

/// The oldest Rust that the SDK and the filters compile with (edition 2024).
const MINIMUM: (u32, u32) = (1, 85);

const FOREIGN_SETTINGS: [&str; 8] = [
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
];
