//! The project's own commands, run as `cargo xtask NAME`. CI calls nothing else.
//!
//! Each command finds or installs what it needs, says what it does, and uses nothing beyond the Rust toolchain,
//! crates.io and Debian's packages.

mod demo;
mod filters;
mod shell;
mod wasm_target;

use std::process::ExitCode;

/// What every command of this crate returns; the error is printed for the person who typed the command.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = match arguments.split_first() {
        Some((name, rest)) => (name.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    match run(name, rest) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command. `Ok(false)` means that it has told what failed.
fn run(name: &str, rest: &[String]) -> Outcome<bool> {
    match name {
        "filters" => filters::build().map(|_| true),
        "demo" => demo::run(rest),
        "help" | "-h" | "--help" => {
            print!("{HELP}");
            Ok(true)
        }
        _ => Err(format!("no command named \"{name}\"; the commands are:\n{HELP}").into()),
    }
}

const HELP: &str = "\
cargo xtask demo [--check]   build everything and run the demo; --check tries its lines and ends
cargo xtask filters          build the Wasm filters into target/filters
";
