//! What the system asks of the process: end, end now, read the configuration again, open log files again.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the gateway listens to. From the moment of creation none of them ends the process by itself.
pub(crate) struct Signals {
    /// Asks for the end.
    pub(crate) end: EndSignals,
    /// Asks for a reload.
    pub(crate) hangup: Signal,
    /// Asks for log files to be opened again.
    pub(crate) user1: Signal,
}

/// SIGTERM and SIGINT.
pub(crate) struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen.
    pub(crate) fn listen() -> io::Result<Self> {
        let end = EndSignals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        Ok(Self { end, hangup: signal(SignalKind::hangup())?, user1: signal(SignalKind::user_defined1())? })
    }
}

impl EndSignals {
    /// Waits for the next one and names it. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
