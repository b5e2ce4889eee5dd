//! How long a source is left alone between two questions. Pure: random numbers come in as a seed.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// Waits of one source.
#[derive(Debug)]
pub(super) struct Pace {
    failures: u32,
    chance: Chance,
}

impl Pace {
    /// Sources with different seeds do not ask at the same time.
    pub(super) fn new(seed: u64) -> Self {
        Self { failures: 0, chance: Chance(seed) }
    }

    /// The source answered.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The source failed; how long to wait: each time in a row twice as long, half of it by chance.
    pub(super) fn failed(&mut self) -> Duration {
        let whole = FIRST_WAIT.saturating_mul(1 << self.failures.min(16)).min(LONGEST_WAIT);
        self.failures = self.failures.saturating_add(1);
        whole / 2 + self.chance.of(whole / 2)
    }

    /// A wait, shorter by up to a tenth.
    pub(super) fn about(&mut self, wait: Duration) -> Duration {
        wait - self.chance.of(wait / 10)
    }
}

/// Random numbers that are good enough to spread questions (splitmix64).
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    /// Anything up to this.
    fn of(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        most.mul_f64(share)
    }
}

/// A seed that differs between sources and starts.
pub(super) fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// The wait after a first failure.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The wait between attempts never grows beyond this.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_with_failures_up_to_the_longest_and_begin_anew_after_an_answer() {
        let mut pace = Pace::new(7);
        for whole in [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let wait = pace.failed();
            let whole = Duration::from_millis(whole);
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
        }
        pace.succeeded();
        assert!(pace.failed() <= FIRST_WAIT);
    }

    #[test]
    fn sources_do_not_ask_at_the_same_time() {
        let waits: Vec<_> = (0..100).map(|seed| Pace::new(seed).about(Duration::from_secs(10))).collect();
        assert!(waits.iter().all(|wait| (9.0..=10.0).contains(&wait.as_secs_f64())));
        let mut distinct = waits.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), 100);
    }
}
