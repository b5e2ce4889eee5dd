//! Takes what filters write by the `log` crate to the gateway's log.

use log::{LevelFilter, Log, Metadata, Record};

use crate::host;

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            host::log(record.level(), &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Installs the logger; lines below `level` are not even formatted.
pub(crate) fn install(level: LevelFilter) {
    // Fails when one is installed already: in tests, which share one process, that is this one.
    let _ = log::set_logger(&Logger);
    log::set_max_level(level);
}
