//! The gateway's own log, written to standard error. Access logs are the data plane's.

use std::io::{self, IsTerminal};

use anyhow::{Context, Result};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry, reload};

use crate::admin::Levels;
use crate::cli::LogFormat;

/// Starts the log.
pub(crate) fn start(format: LogFormat, levels: &str) -> Result<()> {
    // An empty variable of the environment is one that is not set.
    let levels = if levels.trim().is_empty() { "info" } else { levels };
    let levels = EnvFilter::try_new(levels).with_context(|| {
        format!("log levels {levels:?} are not understood; write a level such as info, or info,tidegate_proxy=debug")
    })?;
    let (levels, handle) = reload::Layer::new(levels);
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    registry().with(levels).with(lines).init();
    Levels::keep(handle);
    Ok(())
}
