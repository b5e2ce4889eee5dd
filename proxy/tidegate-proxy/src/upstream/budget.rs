//! How many attempts may be repetitions: a share of the requests of the last seconds. Pure: time and counts come in.
//!
//! Each worker holds to the share by its own requests, so their sum holds to it too. What is allowed in any case is
//! divided among them without a rest.

use std::cell::Cell;

use tidegate_config::plan::RetryBudget;

/// Seconds that are looked back at.
pub(crate) const WINDOW: u64 = 10;

/// One worker's part.
#[derive(Debug)]
pub(crate) struct Budget {
    share: f64,
    floor: f64,
    /// The second that is counted now.
    second: Cell<u64>,
    slots: [Slot; WINDOW as usize],
}

#[derive(Debug, Default)]
struct Slot {
    /// All requests before this second.
    before: Cell<u64>,
    /// Repetitions in it.
    spent: Cell<u64>,
}

impl Budget {
    /// The part of `worker`, one of `workers`.
    pub(crate) fn new(rule: &RetryBudget, worker: usize, workers: usize) -> Self {
        let all = u64::from(rule.min) * WINDOW;
        let (worker, workers) = (worker as u64, workers.max(1) as u64);
        let floor = all * (worker + 1) / workers - all * worker / workers;
        let slots = Default::default();
        Self { share: rule.percent / 100.0, floor: floor as f64, second: Cell::new(0), slots }
    }

    /// The time goes on; `requests` have been begun so far.
    pub(crate) fn pass(&self, second: u64, requests: u64) {
        let last = self.second.get();
        for passed in (last + 1..=second).rev().take(self.slots.len()) {
            if let Some(slot) = self.slot(passed) {
                slot.before.set(requests);
                slot.spent.set(0);
            }
        }
        self.second.set(last.max(second));
    }

    /// One repetition, if there may be one.
    pub(crate) fn take(&self, second: u64, requests: u64) -> bool {
        self.pass(second, requests);
        let now = self.second.get();
        let oldest = self.slot(now + 1).map_or(0, |slot| slot.before.get());
        let spent: u64 = self.slots.iter().map(|slot| slot.spent.get()).sum();
        let allowed = self.share * requests.saturating_sub(oldest) as f64 + self.floor;
        let may = (spent + 1) as f64 <= allowed;
        if let (true, Some(slot)) = (may, self.slot(now)) {
            slot.spent.set(slot.spent.get() + 1);
        }
        may
    }

    fn slot(&self, second: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(second % WINDOW).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIFTH: RetryBudget = RetryBudget { percent: 20.0, min: 0 };

    /// Every request fails and wants as many attempts as it can have.
    fn storm(budget: &Budget, seconds: std::ops::Range<u64>, each: u64, so_far: &mut u64) -> u64 {
        let mut repeated = 0;
        for second in seconds {
            for _ in 0..each {
                *so_far += 1;
                repeated += (0..5).filter(|_| budget.take(second, *so_far)).count() as u64;
            }
        }
        repeated
    }

    #[test]
    fn a_storm_is_held_to_the_share() {
        let budget = Budget::new(&FIFTH, 0, 1);
        let mut requests = 0;
        let repeated = storm(&budget, 100..160, 1000, &mut requests);
        assert!(repeated <= requests / 5 && repeated > requests * 19 / 100, "{repeated} of {requests}");
    }

    #[test]
    fn requests_of_long_ago_count_for_nothing() {
        let budget = Budget::new(&FIFTH, 0, 1);
        budget.pass(100, 0);
        budget.pass(101, 5000);
        assert!(budget.take(109, 5000));
        assert!(!budget.take(111, 5000), "there was nothing in the last ten seconds");
    }

    #[test]
    fn what_was_spent_comes_back() {
        let budget = Budget::new(&RetryBudget { percent: 0.0, min: 1 }, 0, 1);
        let taken = |second| (0..100).filter(|_| budget.take(second, 0)).count();
        assert_eq!((taken(50), taken(59), taken(60)), (10, 0, 10));
    }

    #[test]
    fn workers_share_what_is_allowed_in_any_case() {
        for workers in 1..9 {
            let all: u64 = (0..workers)
                .map(|worker| Budget::new(&RetryBudget { percent: 0.0, min: 3 }, worker, workers))
                .map(|budget| (0..100).filter(|_| budget.take(7, 0)).count() as u64)
                .sum();
            assert_eq!(all, 30, "{workers}");
        }
    }

    /// However the load is spread, all workers together stay within the share.
    #[test]
    fn the_sum_over_workers_holds_too() {
        let random = crate::upstream::balance::Random::new(3);
        let budgets: Vec<_> = (0..4).map(|worker| Budget::new(&FIFTH, worker, 4)).collect();
        let (mut requests, mut repeated) = ([0; 4], 0);
        for second in 0..100 {
            for _ in 0..300 {
                let worker = usize::try_from(random.below(16))
                    .map_or(0, |n| [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3][n]);
                requests[worker] += 1;
                repeated += u64::from(budgets[worker].take(second, requests[worker]));
            }
        }
        let all: u64 = requests.iter().sum();
        assert!(repeated <= all / 5 && repeated > all * 19 / 100, "{repeated} of {all}");
    }
}
