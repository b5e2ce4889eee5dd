//! Instances whose memory has grown: guests' heaps never shrink, so another instance takes over the new requests, and the
//! old one ends with the last of its own.

use std::rc::Rc;
use std::time::Duration;

use tidegate_wasm::Instance;

use crate::filter::host::Host;
use crate::filter::slot::Slot;

/// Starting an instance costs its worker time, so a client that makes a guest's memory grow must not be able to have it
/// done all the time.
const PAUSE: Duration = Duration::from_secs(1);

/// What is expected of an instance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Life {
    /// It takes requests, as long as its slot has it.
    #[default]
    Serving,
    /// Another one has taken over; what is inside goes on.
    Draining,
    /// It was told that this is the end, and is not done.
    Parting,
    /// Nothing is inside any more, or it broke off.
    Ended,
}

impl Life {
    /// Whether the guest may be called from time to time.
    pub(crate) fn has_ticks(self) -> bool {
        matches!(self, Self::Serving | Self::Parting)
    }
}

impl Slot {
    /// Has another instance take over from the worker's own one if that has grown too large.
    #[cold]
    fn rebuild(self: &Rc<Self>, worn: &Rc<Host>) {
        let now = self.clock.now();
        let Some(plugin) = &self.entry.plugin else { return };
        if !self.serves(worn) || now < self.rebuild_from.get() {
            return;
        }
        self.rebuild_from.set(now + PAUSE);
        let bytes = worn.with(|instance| instance.memory_bytes());
        match Instance::start(plugin, self.clock.guest()) {
            Ok(instance) => {
                tracing::info!(plugin = %self.entry.name, worker = self.worker, bytes, "plugin instance rebuilt: its memory had grown");
                self.entry.counters.of(self.worker).rebuilds.add(1);
                // No tick and no queue of the old one comes between.
                worn.silence();
                worn.life.set(Life::Draining);
                let host = Host::new(instance, self, None);
                self.takes_over(host.clone(), now);
                host.perform();
                worn.end_if_empty();
            }
            Err(error) => {
                self.count_failed_start(&error);
                tracing::error!(plugin = %self.entry.name, worker = self.worker, bytes, %error, "plugin instance not rebuilt: another one did not start");
            }
        }
    }
}

impl Host {
    /// After a call: whether the instance is to be replaced, or has just become empty.
    #[inline]
    pub(crate) fn look_at_size(self: &Rc<Self>) {
        if self.seat.is_none() && self.is_worn() {
            self.wear();
        }
    }

    /// Whether its memory has grown too large.
    #[inline]
    pub(crate) fn is_worn(&self) -> bool {
        self.with(|instance| instance.is_worn())
    }

    #[cold]
    fn wear(self: &Rc<Self>) {
        match (self.life.get(), self.slot()) {
            (Life::Serving, Some(slot)) => slot.rebuild(self),
            (Life::Draining, _) => self.end_if_empty(),
            (Life::Serving | Life::Parting | Life::Ended, _) => {}
        }
    }

    /// Tells a drained guest that this is the end.
    fn end_if_empty(self: &Rc<Self>) {
        let busy = self.with(|instance| instance.streams() > 0 || instance.open_calls() > 0);
        if busy || self.life.get() != Life::Draining {
            return;
        }
        self.part(&self.leaving, self.now().monotonic);
    }
}
