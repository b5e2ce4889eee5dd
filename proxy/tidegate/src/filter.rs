//! `tidegate filter`: everything for those who write filters, from a new project to a module in a registry.
//!
//! Exit codes are those of all commands: 0 it is done, 1 it failed or the answer is no, 2 the command line is wrong.

mod bench;
mod build;
mod config;
mod diff;
mod inspect;
mod new;
mod project;
mod registry;
mod replay;
mod run;
mod screen;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::module::commands::{self, ModuleCommand};

/// What can be done with filters and their modules.
#[derive(Debug, Subcommand)]
pub(crate) enum FilterCommand {
    /// Make a project of a filter that builds and passes its tests.
    New(new::NewArgs),
    /// Compile a filter to WebAssembly, and tell its size, ABI and imports.
    Build(build::BuildArgs),
    /// Run a filter's own tests, natively.
    Test(build::TestArgs),
    /// Run a gateway with the filter in front of an echo, and show what it does with each request.
    Run(run::RunArgs),
    /// Tell what a filter costs, callback by callback, and what has changed since the last time.
    Bench(bench::BenchArgs),
    /// Tell recorded requests to a module, and show where it decides otherwise; exit 1 when it does.
    Replay(replay::ReplayArgs),
    /// Put a module into a registry.
    Push(registry::PushArgs),
    /// Get a module out of a registry.
    Pull(registry::PullArgs),
    /// Tell what a module is, what it may do, and whether Tidegate takes it; exit 1 when it does not.
    Inspect(inspect::InspectArgs),
    #[command(flatten)]
    Module(ModuleCommand),
}

/// Does it; the exit code tells how it went.
pub(crate) fn run(command: FilterCommand) -> Result<ExitCode> {
    match command {
        FilterCommand::New(args) => new::new(&args),
        FilterCommand::Build(args) => build::build(&args),
        FilterCommand::Test(args) => build::test(&args),
        FilterCommand::Run(args) => run::run(&args),
        FilterCommand::Bench(args) => bench::bench(&args),
        FilterCommand::Replay(args) => replay::replay(&args),
        FilterCommand::Push(args) => registry::push(&args),
        FilterCommand::Pull(args) => registry::pull(&args),
        FilterCommand::Inspect(args) => inspect::inspect(&args),
        FilterCommand::Module(command) => commands::run(command),
    }
}
