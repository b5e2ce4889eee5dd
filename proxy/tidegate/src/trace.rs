//! The gateway's own log, written to standard error. Access logs are the data plane's.

use std::io::{self, IsTerminal};

use anyhow::{Context, Result};
use tracing_subscriber::EnvFilter;

use crate::cli::LogFormat;

/// Starts the log.
pub(crate) fn start(format: LogFormat, levels: &str) -> Result<()> {
    let levels = EnvFilter::try_new(levels).with_context(|| {
        format!("log levels {levels:?} are not understood; write a level such as info, or info,tidegate_proxy=debug")
    })?;
    let log = tracing_subscriber::fmt().with_writer(io::stderr).with_env_filter(levels);
    match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).with_target(false).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
