//! Tidegate: reads the command line and wires the parts together.

mod admin;
mod apply;
mod assets;
mod builtin;
mod cli;
mod credentials;
mod demo;
mod diff;
mod discover;
mod fetch;
mod files;
mod filter;
mod inspect;
mod memory;
mod module;
mod provider;
mod run;
#[cfg(test)]
mod scratch;
mod signals;
mod status;
mod tap;
mod top;
mod trace;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tidegate: {error:#}");
            ExitCode::FAILURE
        }
    }
}
