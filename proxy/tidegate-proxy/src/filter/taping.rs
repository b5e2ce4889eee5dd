//! A request or a connection inside a plugin that is recorded: what is known of it beside its tape.

use std::cell::Cell;
use std::time::Duration;

use tidegate_wasm::Tape;

use crate::shared::PluginCells;
use crate::telemetry::recorder::{Recorded, Recorder};

/// Beside the tape of one request.
pub(crate) struct Taping {
    recorder: Recorder,
    /// The guest broke off.
    pub(crate) failed: Cell<bool>,
    status: Cell<Option<u16>>,
    took: Cell<Duration>,
}

impl Taping {
    /// For a request that comes; none: it is not recorded.
    pub(crate) fn begin(recorder: &Recorder) -> Option<Box<Self>> {
        recorder.begins().then(|| {
            Box::new(Self {
                recorder: recorder.clone(),
                failed: Cell::new(false),
                status: Cell::new(None),
                took: Cell::new(Duration::ZERO),
            })
        })
    }

    /// What became of the request as a whole.
    pub(crate) fn end(&self, status: Option<u16>, took: Duration) {
        self.status.set(status);
        self.took.set(took);
    }

    /// The stream is closed: its tape is recorded, if it is to be kept.
    pub(crate) fn keep(
        &self,
        plugin: &tidegate_wasm::Plugin,
        tape: Option<Tape>,
        cells: Option<&PluginCells>,
    ) {
        let status = self.status.get();
        let failing = self.failed.get() || status.is_some_and(|status| status >= 500);
        let Some(tape) = tape.filter(|_| self.recorder.keeps(failing)) else { return };
        let record = Recorded {
            plugin: plugin.name().to_owned(),
            module: plugin.module().digest().to_owned(),
            status,
            took: u64::try_from(self.took.get().as_micros()).unwrap_or(u64::MAX),
            tape,
        };
        let sent = self.recorder.send(record);
        if let Some(cells) = cells {
            if sent { cells.recorded.add(1) } else { cells.unrecorded.add(1) }
        }
    }
}
