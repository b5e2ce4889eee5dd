//! How long a server takes to answer, as a moving average that goes up at once and down slowly (peak EWMA).

use std::cell::Cell;
use std::time::Duration;

/// What an attempt counts as that got no answer, at least.
const FAILED: f64 = 1.0;
/// A latency is never taken for more, in seconds.
const LONGEST: f64 = 60.0;

/// Of one server on one worker.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    /// In seconds; 0: not known.
    average: Cell<f64>,
    at: Cell<Duration>,
}

impl Latency {
    /// The head of an answer took this long, or there was none.
    pub(crate) fn note(&self, took: Option<Duration>, now: Duration, decay: Duration) {
        let before = self.now(now, decay);
        let took = match took {
            Some(took) => took.as_secs_f64().max(1e-6),
            None => (before * 2.0).max(FAILED),
        };
        let kept = kept(now.saturating_sub(self.at.get()), decay);
        // `before` has lost what it loses by itself.
        let average = if took > before { took } else { before + took * (1.0 - kept) };
        self.average.set(average.min(LONGEST));
        self.at.set(now);
    }

    fn now(&self, now: Duration, decay: Duration) -> f64 {
        self.average.get() * kept(now.saturating_sub(self.at.get()), decay)
    }

    /// What one more request there would cost beside `in_flight` others.
    pub(super) fn cost(&self, in_flight: u32, now: Duration, decay: Duration) -> f64 {
        let average = self.now(now, decay);
        // A server that nobody knows gets one request, and no second one before that is answered.
        if average == 0.0 && in_flight > 0 {
            return LONGEST * f64::from(in_flight);
        }
        average * f64::from(in_flight + 1)
    }
}

/// The part that is left after a while.
fn kept(after: Duration, decay: Duration) -> f64 {
    if after.is_zero() { 1.0 } else { (-after.as_secs_f64() / decay.as_secs_f64().max(1e-3)).exp() }
}
