//! How many requests of a version have waited for how long: those that are not answered yet are in no histogram, and a
//! version that hangs would look well until its first time limit.

use std::collections::VecDeque;
use std::time::Duration;

use crate::shared::Counts;

/// How many requests had begun when somebody looked, oldest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(VecDeque<(Duration, u64)>);

/// So many looks are kept: those of two minutes, which is where times end to be told apart.
const LOOKS: usize = 256;

impl Waiting {
    /// A step begins.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What was counted in the step so far.
    pub(super) fn look(&mut self, now: Duration, counts: &Counts) {
        if self.0.len() == LOOKS {
            self.0.pop_front();
        }
        self.0.push_back((now, counts.begun));
    }

    /// How many have waited for longer than this, at least: as if all that were answered had begun first.
    pub(super) fn longer_than(&self, bound: Duration, now: Duration, counts: &Counts) -> u64 {
        let before = now.checked_sub(bound);
        let look = before.and_then(|before| self.0.iter().rev().find(|(at, _)| *at < before));
        look.map_or(0, |(_, begun)| begun.saturating_sub(counts.requests))
    }
}
