//! What guests log; and plugins that only log: they are shown what is over, on no path that anything waits for.

use std::rc::Rc;

use http::HeaderValue;
use tidegate_config::plan::PluginIndex;
use tidegate_wasm::{Ended, LogLevel, StreamInfo};

use crate::filter::slot::Slot;

/// Shows each of the plugins what has ended. One that is away or breaks off misses it; the others do not.
pub(crate) fn tell(slots: &[Rc<Slot>], plugins: &[PluginIndex], info: &StreamInfo, ended: &Ended<'_>) {
    for slot in plugins.iter().filter_map(|plugin| slots.get(*plugin)) {
        slot.count_stream();
        let Ok(host) = slot.host() else { continue };
        // A trap was counted and logged, and the instance is replaced.
        _ = host.call(|instance, now| instance.on_ended(info.clone(), ended, now));
    }
}

/// Writes a guest's line to the gateway's log.
pub(crate) fn write(
    level: LogLevel,
    message: &str,
    (plugin, worker): (&str, usize),
    request_id: Option<&HeaderValue>,
) {
    let request_id = request_id.and_then(|id| id.to_str().ok());
    macro_rules! at {
        ($level:ident) => {
            tracing::$level!(target: "tidegate::guest", plugin, worker, request_id, "{message}")
        };
    }
    match level {
        LogLevel::Trace => at!(trace),
        LogLevel::Debug => at!(debug),
        LogLevel::Info => at!(info),
        LogLevel::Warn => at!(warn),
        _ => at!(error),
    }
}

/// The least level of guests' lines that anyone reads.
#[must_use]
pub fn level() -> LogLevel {
    macro_rules! read {
        ($level:ident) => {
            tracing::enabled!(target: "tidegate::guest", tracing::Level::$level)
        };
    }
    if read!(TRACE) {
        LogLevel::Trace
    } else if read!(DEBUG) {
        LogLevel::Debug
    } else if read!(INFO) {
        LogLevel::Info
    } else if read!(WARN) {
        LogLevel::Warn
    } else {
        LogLevel::Error
    }
}
