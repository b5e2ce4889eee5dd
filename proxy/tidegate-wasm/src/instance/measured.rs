//! What an instance tells the meter of its version.

use super::Instance;
use crate::{
    Meter, StreamId,
    budget::Used,
    meter::{Holds, Soft},
    state::{Phase, State},
};
use std::{sync::Arc, time::Duration};

/// A meter and what this instance has told it.
#[derive(Default)]
pub(crate) struct Measured {
    meter: Option<Arc<Meter>>,
    told: Holds,
    /// The call that goes on is timed: since when, and how long it was in host functions.
    timed: Option<(Duration, Duration)>,
    /// It is one of those that the meter has chosen.
    chosen: bool,
    /// The gateway wants to know how long the next call is in host functions; how long the last such was.
    asked: bool,
    told_host: Option<Duration>,
}

impl Instance {
    /// Has everything counted there from now on, and at most once.
    pub fn measure(&mut self, meter: Arc<Meter>) {
        let state = self.store.data_mut();
        if state.measured.meter.is_none() {
            meter.started();
            state.measured.meter = Some(meter);
            state.tell();
        }
    }
}

impl Instance {
    /// Has the next callback timed, whatever the meter chooses.
    pub fn time_call(&mut self) {
        let measured = &mut self.store.data_mut().measured;
        (measured.asked, measured.told_host) = (true, None);
    }

    /// How long the last such callback was in host functions.
    pub fn take_timed(&mut self) -> Option<Duration> {
        self.store.data_mut().measured.told_host.take()
    }

    /// The guest may say something of the stream's span: it is traced.
    pub fn trace(&mut self, id: StreamId) {
        if let Some(stream) = self.store.data_mut().streams.get_mut(id.0) {
            stream.span = Some(Vec::new());
        }
    }

    /// What it has said.
    pub fn take_span(&mut self, id: StreamId) -> Vec<(String, String)> {
        let stream = self.store.data_mut().streams.get_mut(id.0);
        stream.and_then(|stream| stream.span.take()).unwrap_or_default()
    }
}

impl State {
    /// A callback begins; it is watched if it is timed, or if limits count what it does.
    #[inline]
    pub(crate) fn enter(&mut self) {
        let Some(meter) = &self.measured.meter else { return };
        let chosen = meter.begin();
        if chosen.is_some() || self.measured.asked {
            self.measured.timed = Some((chosen.unwrap_or_else(|| meter.now()), Duration::ZERO));
            self.measured.chosen = chosen.is_some();
            self.phase = Phase::Watched;
        }
    }

    /// One more callback of a chain was called than was known of before.
    #[inline]
    pub(crate) fn entered_one(&self) {
        if let Some(meter) = &self.measured.meter {
            meter.count_one();
        }
    }

    /// The callback is over.
    #[inline]
    pub(crate) fn leave(&mut self, stream: u32) {
        if self.phase == Phase::Watched {
            self.unwatch(stream);
        }
        self.finish_line();
        self.tell();
    }

    #[cold]
    fn unwatch(&mut self, stream: u32) {
        if let (Some((began, host)), Some(meter)) = (self.measured.timed.take(), &self.measured.meter) {
            if self.measured.chosen {
                meter.timed(began, host);
            }
            if std::mem::take(&mut self.measured.asked) {
                self.measured.told_host = Some(host);
            }
        }
        self.phase = self.running();
        if self.phase == Phase::Watched {
            self.charge(stream);
        }
    }

    /// A call for this request has taken so many ticks, of which some may not count.
    #[cold]
    pub(crate) fn spend(&mut self, stream: u32, ticks: u64) {
        let ticks = ticks.saturating_sub(self.granted());
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.spent += ticks;
        }
    }

    /// A call for this request is over; what it has used counts for the next one.
    fn charge(&mut self, stream: u32) {
        let used: Used = self.budget.used();
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.used = used;
        }
    }

    /// Tells the meter what the instance holds, if that has changed.
    #[inline]
    pub(crate) fn tell(&mut self) {
        let now = Holds {
            streams: self.streams.len(),
            memory: self.limiter.size,
            open_calls: self.calls.len() + self.grpc.len(),
        };
        if now != self.measured.told {
            self.measured.tell(now);
        }
    }

    /// A limit was met that does not end the instance.
    #[cold]
    pub(crate) fn met(&self, limit: Soft) {
        if let Some(meter) = &self.measured.meter {
            meter.met(limit);
        }
    }

    /// The instance broke off.
    pub(crate) fn failed(&self, trap: &crate::Trap) {
        if let Some(meter) = &self.measured.meter {
            meter.failed(trap);
        }
    }
}

impl Measured {
    /// So many callbacks begin in this phase, one behind the other. False: they are to be entered one by one, since limits
    /// count what they do or one of them is timed.
    #[inline]
    pub(crate) fn enter_together(&self, phase: Phase, callbacks: u64) -> bool {
        if phase == Phase::Watched || self.asked {
            return false;
        }
        self.meter.as_ref().is_none_or(|meter| meter.begin_untimed(callbacks))
    }

    fn tell(&mut self, now: Holds) {
        if let Some(meter) = &self.meter {
            meter.holds(std::mem::replace(&mut self.told, now), now);
        }
    }

    /// The time, if the call that goes on is timed.
    pub(crate) fn clock(&self) -> Option<Duration> {
        self.timed.and(self.meter.as_ref()).map(|meter| meter.now())
    }

    /// A host function was called at this time.
    pub(crate) fn in_host(&mut self, began: Duration) {
        let now = self.clock().unwrap_or(began);
        if let Some((_, host)) = &mut self.timed {
            *host += now.saturating_sub(began);
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.tell(Holds::default());
        if let Some(meter) = &self.meter {
            meter.ended();
        }
    }
}
