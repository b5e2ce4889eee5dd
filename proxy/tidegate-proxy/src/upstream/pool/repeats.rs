//! What bounds repetitions and requests in flight beyond fixed numbers: the budget, and the limit that follows latency.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tidegate_config::plan;

use crate::upstream::adaptive::Adaptive;
use crate::upstream::budget::Budget;
use crate::upstream::pool::Pool;

/// Why there is no further attempt although the rule would have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The budget is spent.
    Budget,
    /// As many repetitions are in flight as there may be.
    Limit,
    /// The server asks for more time than the rule gives.
    RetryAfter,
    /// The body is too long to be kept.
    Body,
}

impl Stop {
    /// For the access log.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Limit => "limit",
            Self::RetryAfter => "retry_after",
            Self::Body => "body",
        }
    }
}

/// A worker's part of what an upstream says about repetitions.
pub(super) struct Repeats {
    budget: Option<Budget>,
    limit: usize,
    running: Cell<usize>,
}

impl Repeats {
    /// For `worker`, one of `workers`.
    pub(super) fn new(spec: &plan::Upstream, worker: usize, workers: usize) -> Self {
        Self {
            budget: spec.retry_budget.as_ref().map(|rule| Budget::new(rule, worker, workers)),
            limit: spec.limits.retries.map_or(usize::MAX, |limit| limit.div_ceil(workers.max(1))),
            running: Cell::new(0),
        }
    }
}

/// A repetition that may be made; it counts as long as this lives.
pub(crate) struct Permit(Rc<Pool>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.repeats.running.set(self.0.repeats.running.get() - 1);
    }
}

impl Pool {
    /// Whether one more attempt may be a repetition; it is counted as one.
    ///
    /// # Errors
    /// What stops it.
    #[cold]
    pub(crate) fn may_repeat(self: &Rc<Self>) -> Result<Permit, Stop> {
        let (repeats, cells) = (&self.repeats, self.cluster.counters.of(self.shard));
        if repeats.running.get() >= repeats.limit {
            cells.repeats_over_limit.add(1);
            return Err(Stop::Limit);
        }
        let second = self.deadlines.now().as_secs();
        if repeats.budget.as_ref().is_some_and(|budget| !budget.take(second, self.first_attempts())) {
            cells.repeats_over_budget.add(1);
            return Err(Stop::Budget);
        }
        repeats.running.set(repeats.running.get() + 1);
        cells.retries.add(1);
        Ok(Permit(self.clone()))
    }

    /// An attempt beside another one has begun, or has brought the answer.
    #[cold]
    pub(crate) fn count_hedge(&self, won: bool) {
        let cells = self.cluster.counters.of(self.shard);
        if won { cells.hedges_won.add(1) } else { cells.hedges.add(1) }
    }

    /// The budget sees the time pass, so that it knows the requests of each second.
    pub(super) fn pass_time(&self, now: Duration) {
        if let Some(budget) = &self.repeats.budget {
            budget.pass(now.as_secs(), self.first_attempts());
        }
    }

    fn first_attempts(&self) -> u64 {
        let cells = self.cluster.counters.of(self.shard);
        cells.requests.value().saturating_sub(cells.retries.value())
    }

    /// When an attempt begins whose latency matters.
    #[inline]
    pub(crate) fn begun(&self) -> Option<Duration> {
        self.adaptive.as_ref().map(|_| self.deadlines.now())
    }

    /// That attempt is over: its answer has begun, or did not come in time.
    #[cold]
    pub(crate) fn over(&self, begun: Duration) {
        if let Some(adaptive) = &self.adaptive {
            let now = self.deadlines.now();
            adaptive.took(now.saturating_sub(begun), self.requests.get(), now);
            self.cluster.counters.of(self.shard).concurrency.set(adaptive.bound() as u64);
        }
    }

    /// Whether the limit that follows latency is reached.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        let full = |adaptive: &Adaptive| self.requests.get() >= adaptive.bound();
        self.adaptive.as_deref().is_some_and(full)
    }
}
