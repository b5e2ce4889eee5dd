//! When the thread that ticks may sleep, so that an idle process does not wake: once no guest was called for longer than
//! any call may take.
//!
//! After a tick the thread marks the engine as drowsy. The next call of a guest sees that by one load, and takes the mark
//! away. A call that began just before the mark may still run, but not longer than its limit; so when the mark is older
//! than the longest limit, no guest runs.

use super::Engine;
use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// What calls and the ticking thread tell each other.
#[derive(Default)]
pub(super) struct Rest {
    /// No guest was called since then.
    drowsy: AtomicBool,
    /// The tick at which the mark was made.
    since: AtomicU64,
    /// The most ticks that a call goes on without being looked at.
    longest: AtomicU64,
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Engine {
    /// Gives the function that wakes the thread that ticks. Without one, or with one of another thread before it (then
    /// the answer is false), the thread must not rest.
    pub fn wake_with(&self, wake: impl Fn() + Send + Sync + 'static) -> bool {
        self.inner.rest.wake.set(Box::new(wake)).is_ok()
    }

    /// Whether the thread that ticks may sleep until it is woken. To be asked after each tick.
    pub fn may_rest(&self) -> bool {
        let rest = &self.inner.rest;
        if rest.drowsy.load(Ordering::Acquire) {
            let marked = self.ticks().saturating_sub(rest.since.load(Ordering::Relaxed));
            return marked > rest.longest.load(Ordering::Relaxed);
        }
        rest.since.store(self.ticks(), Ordering::Relaxed);
        rest.drowsy.store(true, Ordering::Release);
        false
    }

    /// A call of a guest begins, or goes on beyond its limit: ticks are needed.
    #[inline]
    pub(crate) fn rouse(&self) {
        if self.inner.rest.drowsy.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    /// Calls may take this many ticks.
    pub(crate) fn expect_calls_of(&self, ticks: u64) {
        self.inner.rest.longest.fetch_max(ticks, Ordering::Relaxed);
    }

    #[cold]
    fn wake(&self) {
        self.inner.rest.drowsy.store(false, Ordering::Release);
        if let Some(wake) = self.inner.rest.wake.get() {
            wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineOptions;
    use std::{sync::Arc, time::Duration};

    fn engine() -> Engine {
        Engine::new(EngineOptions { cache_dir: None, epoch_tick: Duration::from_millis(5) }).unwrap()
    }

    /// How often it ticks until it may rest.
    fn ticks(engine: &Engine) -> u64 {
        let mut ticks = 0;
        while !engine.may_rest() {
            engine.tick();
            ticks += 1;
        }
        ticks
    }

    #[test]
    fn rest_comes_after_the_longest_call() {
        let engine = engine();
        engine.expect_calls_of(7);
        engine.expect_calls_of(3);
        assert_eq!(ticks(&engine), 8);
        engine.rouse();
        assert_eq!(ticks(&engine), 8, "counted anew");
    }

    #[test]
    fn a_call_wakes_whoever_rests_once() {
        let (engine, woken) = (engine(), Arc::new(AtomicU64::new(0)));
        let count = woken.clone();
        assert!(engine.wake_with(move || _ = count.fetch_add(1, Ordering::Relaxed)));
        assert!(!engine.wake_with(|| {}), "another thread has said how it is woken");
        engine.rouse();
        assert_eq!(woken.load(Ordering::Relaxed), 0, "it is awake");
        ticks(&engine);
        engine.rouse();
        engine.rouse();
        assert_eq!(woken.load(Ordering::Relaxed), 1);
        assert!(!engine.may_rest());
    }
}
