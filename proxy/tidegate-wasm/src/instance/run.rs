//! Calls into the guest for a stream, and their time.

use super::Instance;
use crate::{
    Now, StreamId, Trap,
    abi::{chain::Chain, exports::Exports},
    budget::Used,
    state::State,
    stream::Stream,
};
use wasmtime::Store;

/// What is called: one callback, or several by a chain.
pub(super) struct Guest<'a> {
    pub(super) exports: &'a Exports,
    pub(super) chain: Option<&'a Chain>,
}

/// What a stream has used of its limits before a call.
#[derive(Clone, Copy, Default)]
pub(super) struct Before {
    /// Ticks in the guest.
    spent: u64,
    used: Used,
}

impl Before {
    #[inline]
    pub(super) fn of(stream: &Stream) -> Self {
        Self { spent: stream.spent, used: stream.used }
    }
}

/// Time that is left of a request, in ticks.
pub(super) struct Time {
    /// When the call began.
    of_request: u64,
    /// When its last callback began.
    left: u64,
}

impl Time {
    /// Between two callbacks that are called together: the next one acts for the stream again, and has its own time, but no
    /// more than is left of the request's.
    #[inline]
    pub(super) fn proceed(&mut self, store: &mut Store<State>, id: StreamId) {
        let state = store.data_mut();
        let passed = state.go_on(id.0);
        self.left = self.of_request.saturating_sub(passed).max(1);
        let ticks = self.left.min(state.plugin.call_ticks);
        store.set_epoch_deadline(ticks);
    }
}

impl Instance {
    /// Calls the guest for a stream, within what is left of the stream's time.
    #[inline]
    pub(super) fn call<R>(
        &mut self,
        id: StreamId,
        now: Now,
        call: impl FnOnce(&Exports, &mut Store<State>) -> wasmtime::Result<R>,
    ) -> Result<R, Trap> {
        let state = self.store.data_mut();
        state.enter();
        let before = state.streams.get(id.0).map(Before::of).unwrap_or_default();
        self.run((id, before), now, |guest, store, _| call(guest.exports, store))
    }

    /// As [`Instance::call`] for callbacks that are counted already; `call` gives each but the first its time.
    #[inline]
    pub(super) fn run<R>(
        &mut self,
        (id, before): (StreamId, Before),
        now: Now,
        call: impl FnOnce(Guest<'_>, &mut Store<State>, &mut Time) -> wasmtime::Result<R>,
    ) -> Result<R, Trap> {
        let began = self.plugin.engine.begin_call();
        let left = self.plugin.request_ticks.saturating_sub(before.spent).max(1);
        self.store.data_mut().begin_with(id.0, now, began, (before.used, left));
        let mut time = Time { of_request: left, left };
        self.store.set_epoch_deadline(left.min(self.plugin.call_ticks));
        let guest = Guest { exports: &self.exports, chain: self.chain.as_ref() };
        let result = call(guest, &mut self.store, &mut time);
        let passed = self.plugin.engine.ticks() - began;
        let state = self.store.data_mut();
        state.leave(id.0);
        if passed > 0 {
            state.spend(id.0, passed);
        }
        result.map_err(|error| self.break_off(&error, time.left))
    }

    /// The guest broke off with `left` ticks of its request's time.
    #[cold]
    fn break_off(&mut self, error: &wasmtime::Error, left: u64) -> Trap {
        let limits = self.plugin.spec.limits;
        let left = left.min(self.store.data().remains());
        let timeout = if left < self.plugin.call_ticks {
            Trap::RequestTime { limit: limits.request_time }
        } else {
            Trap::CallTime { limit: limits.call_time }
        };
        self.poison(error, timeout)
    }
}
