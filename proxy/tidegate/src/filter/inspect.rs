//! `tidegate filter inspect`.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use clap::Args;

use crate::module::inspect::Report;

/// What is asked.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The module.
    module: PathBuf,
    /// Tell it as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Tells what a module is.
pub(crate) fn inspect(args: &InspectArgs) -> Result<ExitCode> {
    let path = args.module.display();
    let bytes = fs::read(&args.module).with_context(|| format!("cannot read {path}"))?;
    let report = Report::of(&bytes).map_err(|why| anyhow!("{path}: {why}"))?;
    let mut out = io::stdout().lock();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
        false => write!(out, "{}", report.text().map_err(|why| anyhow!("{path}: {why}"))?)?,
    }
    Ok(if report.refused.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
