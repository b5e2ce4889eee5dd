//! Tidegate: reads the command line and wires the parts together.

mod admin;
mod apply;
mod assets;
mod builtin;
mod cli;
mod credentials;
mod demo;
mod descriptors;
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
mod words;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            if !is_closed_output(&error) {
                eprintln!("tidegate: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether who reads the output has seen enough of it, as `head` has; nobody needs to be told.
fn is_closed_output(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::BrokenPipe) && error.chain().len() == 1
}
