//! A new version on its way to take over: which requests it gets, and what workers count of it and of the old one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tidegate_config::plan::{Course, WHOLE};

use crate::shared::durations::{Durations, Sum};
use crate::shared::turns::part;
use crate::shared::{Counter, PerWorker, Turns};

/// One of two versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arm {
    /// What was there before.
    Old,
    /// What takes over.
    New,
}

impl Arm {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Old, Self::New];

    /// As metrics and logs have it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

/// Counters of a version.
#[derive(Debug, Default)]
pub(crate) struct ArmCells {
    /// Requests that were given to it.
    pub(crate) begun: Counter,
    /// Those whose answer's head is on its way, or that ended without one.
    pub(crate) requests: Counter,
    /// Those that failed.
    pub(crate) errors: Counter,
    /// Guests that broke off.
    pub(crate) failures: Counter,
    /// Times to the head of the answer.
    pub(crate) times: Durations,
}

/// A new version: an upstream of a rule, or a module of a plugin.
#[derive(Debug)]
pub(crate) struct Rollout {
    /// `route/ROUTE/RULE` or `plugin/NAME`.
    pub(crate) id: String,
    /// What it is; another one begins anew.
    pub(crate) version: String,
    /// Its way.
    pub(crate) course: Course,
    /// Whether there is such a version: a module may not load.
    loaded: bool,
    live: Arc<Live>,
}

/// What stays when a release goes on under another id.
#[derive(Debug)]
struct Live {
    /// Of requests, in millionths: the one thing of a snapshot that changes. The control thread writes it.
    share: AtomicU32,
    turns: Arc<Turns>,
    arms: [PerWorker<ArmCells>; 2],
}

impl Rollout {
    /// One that is at its first step.
    pub(crate) fn new(id: String, version: String, course: Course, workers: usize) -> Arc<Self> {
        let first = course.steps.first().copied().unwrap_or(0);
        let live = Live {
            share: AtomicU32::new(first),
            turns: Turns::new(u64::from(WHOLE), workers),
            arms: [PerWorker::new(workers), PerWorker::new(workers)],
        };
        Arc::new(Self { id, version, course, loaded: true, live: Arc::new(live) })
    }

    /// The same release, whose rule or plugin is called this now.
    pub(crate) fn named(self: &Arc<Self>, id: &str) -> Arc<Self> {
        if self.id == id {
            return self.clone();
        }
        Arc::new(Self { id: id.to_owned(), ..self.again() })
    }

    /// The same release, which is loaded or not.
    pub(crate) fn loaded(self: &Arc<Self>, loaded: bool) -> Arc<Self> {
        if self.loaded == loaded {
            return self.clone();
        }
        Arc::new(Self { loaded, ..self.again() })
    }

    fn again(&self) -> Self {
        let Self { id, version, course, loaded, live } = self;
        Self {
            id: id.clone(),
            version: version.clone(),
            course: course.clone(),
            loaded: *loaded,
            live: live.clone(),
        }
    }

    /// Whether there is such a version.
    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Whether both are the same release, whatever it is called.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.live, &other.live)
    }

    /// Whether it is the same new version on the same way.
    pub(crate) fn is(&self, version: &str, course: &Course) -> bool {
        self.version == version && self.course == *course
    }

    /// The share of the new version, in millionths.
    pub(crate) fn share(&self) -> u32 {
        self.live.share.load(Ordering::Relaxed)
    }

    /// The share that it gets, in millionths.
    pub(crate) fn actual_share(&self) -> u32 {
        if self.loaded { self.share() } else { 0 }
    }

    /// Another share from here on.
    pub(crate) fn set_share(&self, share: u32) {
        self.live.share.store(share.min(WHOLE), Ordering::Relaxed);
    }

    /// The version for a request. The same key has the same one as long as the share is the same, and stays with the
    /// new one while that grows; without a key requests take turns.
    pub(crate) fn takes(&self, worker: usize, key: Option<u64>) -> Arm {
        let (share, whole) = (self.share(), u64::from(WHOLE));
        let point = match key {
            _ if share == 0 => return Arm::Old,
            _ if share >= WHOLE => return Arm::New,
            Some(key) => part(key, whole),
            None => self.live.turns.next(worker),
        };
        if point < u64::from(share) { Arm::New } else { Arm::Old }
    }

    fn cells(&self, arm: Arm) -> &PerWorker<ArmCells> {
        let [old, new] = &self.live.arms;
        match arm {
            Arm::Old => old,
            Arm::New => new,
        }
    }

    /// A worker's counters of a version.
    pub(crate) fn of(&self, arm: Arm, worker: usize) -> &ArmCells {
        self.cells(arm).of(worker)
    }

    /// What all workers have counted of a version.
    pub(crate) fn counts(&self, arm: Arm) -> Counts {
        let cells = self.cells(arm);
        let mut times = Sum::default();
        cells.iter().for_each(|cells| times.add(&cells.times));
        Counts {
            begun: cells.sum(|cells| &cells.begun),
            requests: cells.sum(|cells| &cells.requests),
            errors: cells.sum(|cells| &cells.errors),
            failures: cells.sum(|cells| &cells.failures),
            times,
        }
    }
}

/// What was counted of a version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) begun: u64,
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) failures: u64,
    pub(crate) times: Sum,
}

impl Counts {
    /// What has come since an earlier reading.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            begun: self.begun.saturating_sub(earlier.begun),
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            failures: self.failures.saturating_sub(earlier.failures),
            times: self.times.since(&earlier.times),
        }
    }

    /// The time that 99 of 100 keep.
    pub(crate) fn p99(&self) -> Option<Duration> {
        self.times.percentile(99)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate_config::plan::Bounds;

    fn rollout(steps: &[u32]) -> Arc<Rollout> {
        let bounds = Bounds { errors: 0, errors_over_old: 0, p99: None, p99_over_old: None, failures: None };
        let interval = Duration::from_secs(1);
        let course = Course { steps: steps.to_vec(), interval, min_requests: 1, bounds };
        Rollout::new("route/r/0".into(), "v2".into(), course, 4)
    }

    #[test]
    fn a_tenth_is_a_tenth_over_two_workers() {
        let rollout = rollout(&[100_000]);
        let new = (0..10_000).filter(|request| rollout.takes(request % 2, None) == Arm::New).count();
        assert!(new.abs_diff(1000) <= 4, "{new} of 10000");
    }

    #[test]
    fn a_client_stays_with_the_new_version_while_it_grows() {
        let rollout = rollout(&[10_000]);
        let keys: Vec<u64> = (1..=10_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let mut before: Vec<u64> = Vec::new();
        for share in [10_000, 100_000, 500_000, 1_000_000] {
            rollout.set_share(share);
            let new: Vec<u64> =
                keys.iter().copied().filter(|key| rollout.takes(0, Some(*key)) == Arm::New).collect();
            assert!(new.len().abs_diff(share as usize / 100) <= 100, "{} at {share}", new.len());
            assert!(before.iter().all(|key| new.contains(key)), "someone went back at {share}");
            before = new;
        }
        rollout.set_share(0);
        assert!(keys.iter().all(|key| rollout.takes(0, Some(*key)) == Arm::Old));
    }
}
