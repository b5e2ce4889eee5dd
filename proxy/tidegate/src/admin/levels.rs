//! The levels of the gateway's own log, which the admin API can change while it runs.

use std::sync::OnceLock;

use tracing_subscriber::Registry;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::reload::Handle;

/// The levels, wherever they are kept.
pub(crate) struct Levels;

static HANDLE: OnceLock<Handle<EnvFilter, Registry>> = OnceLock::new();

impl Levels {
    /// From now on these can be changed.
    pub(crate) fn keep(handle: Handle<EnvFilter, Registry>) {
        // A process starts its log once.
        drop(HANDLE.set(handle));
    }

    /// As they are; none: there is no log.
    pub(super) fn now() -> Option<String> {
        HANDLE.get()?.with_current(ToString::to_string).ok()
    }

    /// Takes others.
    pub(super) fn set(text: &str) -> Result<(), String> {
        let levels = EnvFilter::try_new(text).map_err(|error: ParseError| {
            format!("log levels {text:?} are not understood ({error}); write a level such as info, or info,tidegate_proxy=debug")
        })?;
        let handle = HANDLE.get().ok_or_else(|| "this process has no log".to_owned())?;
        handle.reload(levels).map_err(|error| error.to_string())
    }
}
