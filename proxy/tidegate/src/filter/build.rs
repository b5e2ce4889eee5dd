//! `tidegate filter build` and `tidegate filter test`: cargo, with the toolchain and the settings that filters need.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use tidegate_toolchain::{TARGET, Toolchain, program};

use super::project::{self, Project};
use super::screen::{line, say};
use crate::module::commands::replace;
use crate::module::inspect::{Report, size};

/// `tidegate filter build`.
#[derive(Debug, Args)]
pub(crate) struct BuildArgs {
    /// Folder of the filter's project.
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// `tidegate filter test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Folder of the filter's project.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Handed to `cargo test` as they are.
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// A module that was built.
#[derive(Debug)]
pub(crate) struct Built {
    /// Where it is.
    pub(crate) path: PathBuf,
    bytes: Vec<u8>,
    /// Its size before `wasm-opt`, if that was there.
    before: Option<usize>,
}

/// Builds a filter and tells what came out.
pub(crate) fn build(args: &BuildArgs) -> Result<ExitCode> {
    let project = Project::find(&args.dir)?;
    let Some(built) = compile(&project)? else { return Ok(ExitCode::FAILURE) };
    let report = Report::of(&built.bytes).map_err(|why| anyhow!("{}: {why}", built.path.display()))?;
    let mut out = io::stdout().lock();
    line(&mut out, "module", &short(&built.path).display().to_string())?;
    let before = match built.before {
        Some(before) => format!(", {before} before wasm-opt"),
        None => ", wasm-opt is not installed".to_owned(),
    };
    line(&mut out, "size", &format!("{}{before}", size(report.size)))?;
    line(&mut out, "abi", report.abi.as_deref().unwrap_or("none: no export proxy_abi_version_…"))?;
    line(&mut out, "imports", &report.imports.len().to_string())?;
    for import in &report.imports {
        line(&mut out, "", &format!("{}.{}", import.module, import.name))?;
    }
    if let Some(why) = &report.refused {
        out.flush()?;
        bail!("{}: Tidegate does not take it: {why}", built.path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs a filter's tests.
pub(crate) fn test(args: &TestArgs) -> Result<ExitCode> {
    let project = Project::find(&args.dir)?;
    let mut command = project::cargo();
    command.arg("test").arg("--manifest-path").arg(&project.manifest).args(&args.arguments);
    let passed = program::passes(&mut command).map_err(|why| anyhow!(why))?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Builds the module; none: cargo has told why not.
fn compile(project: &Project) -> Result<Option<Built>> {
    let toolchain = tidegate_toolchain::find(&say).map_err(|why| anyhow!(why))?;
    say(&format!("building {} with {}", project.name, toolchain.description()));
    let mut command = toolchain.cargo_build(project::cargo());
    command.arg("--manifest-path").arg(&project.manifest);
    let target = match (&toolchain, shared_target()) {
        (Toolchain::Debian { .. }, Some(shared)) => shared,
        _ => project.target.clone(),
    };
    command.env("CARGO_TARGET_DIR", &target);
    // Without these a module is several times as large; nothing in the gateway reads what they leave out.
    command.env("CARGO_PROFILE_RELEASE_STRIP", "true").env("CARGO_PROFILE_RELEASE_PANIC", "abort");
    if !program::passes(&mut command).map_err(|why| anyhow!(why))? {
        return Ok(None);
    }
    let from = target.join(TARGET).join("release").join(&project.module);
    let folder = project.target.join("filters");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(&project.module);
    let mut bytes = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
    let mut before = None;
    if program::is_there("wasm-opt") {
        before = Some(bytes.len());
        bytes = optimise(&from, &path.with_added_extension("opt"))?;
    }
    replace(&path, &bytes)?;
    Ok(Some(Built { path, bytes, before }))
}

/// A folder for what all projects have in common: a standard library from its sources takes a minute to compile. None
/// where the user has named a folder.
fn shared_target() -> Option<PathBuf> {
    if std::env::var_os("CARGO_TARGET_DIR").is_some() {
        return None;
    }
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    Some(caches.or_else(home)?.join("tidegate/wasm"))
}

/// What `wasm-opt` makes of a module. `work` is a file that it may write.
fn optimise(from: &Path, work: &Path) -> Result<Vec<u8>> {
    let mut command = Command::new("wasm-opt");
    command.args(["-O3", "--strip-debug", "--strip-producers"]).args(FEATURES).arg(from).arg("-o").arg(work);
    if !program::passes(&mut command).map_err(|why| anyhow!(why))? {
        bail!(
            "`{}` failed; without wasm-opt on the PATH the module is taken as it is",
            program::line(&command)
        );
    }
    let bytes = fs::read(work).with_context(|| format!("cannot read {}", work.display()))?;
    fs::remove_file(work).with_context(|| format!("cannot remove {}", work.display()))?;
    Ok(bytes)
}

/// A path as it is seen from the working folder.
pub(crate) fn short(path: &Path) -> PathBuf {
    let here = std::env::current_dir().and_then(|here| here.canonicalize());
    here.ok().and_then(|here| path.strip_prefix(here).ok()).unwrap_or(path).to_owned()
}

/// What rustc may use without being asked; a stripped module does not say so itself.
const FEATURES: [&str; 6] = [
    "--enable-bulk-memory",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
];
