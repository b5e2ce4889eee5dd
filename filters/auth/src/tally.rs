//! Counts what ways say.

use tidegate_sdk::Counter;

use crate::verdict::Verdict;

/// The counters of one way: `auth_requests_total{way, outcome}`.
#[derive(Debug)]
pub(crate) struct Tally {
    known: Counter,
    nothing: Counter,
    refused: Counter,
    answered: Counter,
}

impl Tally {
    /// Of a way of this kind.
    pub(crate) fn new(kind: &str) -> Self {
        let counter =
            |outcome| Counter::labelled("auth_requests_total", &[("way", kind), ("outcome", outcome)]);
        Tally {
            known: counter("known"),
            nothing: counter("missing"),
            refused: counter("refused"),
            answered: counter("answered"),
        }
    }

    /// Counts a verdict.
    pub(crate) fn count(&self, verdict: &Verdict) {
        let counter = match verdict {
            Verdict::Known(_) => &self.known,
            Verdict::Nothing(_) => &self.nothing,
            Verdict::Refused(_) => &self.refused,
            Verdict::Reply(_) => &self.answered,
        };
        counter.increment();
    }
}
