//! What is noted of one traced request inside one plugin: its callbacks, how long it was held, what the guest says of it.

use std::time::Duration;

/// Callbacks that are noted at most; a body may come in thousands of pieces.
const MOST: usize = 64;

/// A callback. Times are the worker's.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) name: &'static str,
    pub(crate) began: Duration,
    pub(crate) took: Duration,
    /// How much of it was in host functions.
    pub(crate) host: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) calls: Vec<Called>,
    /// How long the guest held the request.
    pub(crate) waited: Duration,
    held_since: Option<Duration>,
    /// What the guest says of its span.
    pub(crate) attributes: Vec<(String, String)>,
}

impl Told {
    /// A callback begins, and with it a wait ends.
    pub(crate) fn begins(&mut self, now: Duration) {
        if let Some(since) = self.held_since.take() {
            self.waited += now.saturating_sub(since);
        }
    }

    /// A callback is over; `holds`: the guest wants the request to wait.
    pub(crate) fn ends(&mut self, call: Called, holds: bool) {
        self.held_since = holds.then(|| call.began + call.took);
        if self.calls.len() < MOST {
            self.calls.push(call);
        }
    }
}
