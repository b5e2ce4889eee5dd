//! What one worker counts of a server for comparisons: requests, failures, and how long answers took.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::shared::Counter;

/// Buckets for each doubling of the time.
const STEPS: usize = 4;
/// The first bucket has all that took less, in microseconds.
const FIRST: u64 = 64;
/// Up to 64 µs · 2^20, which is 67 s; the last bucket has the rest.
const BUCKETS: usize = 20 * STEPS + 1;

/// The cells of one worker.
#[derive(Debug)]
pub(crate) struct Tally {
    failures: Counter,
    times: [Counter; BUCKETS],
}

impl Default for Tally {
    fn default() -> Self {
        Self { failures: Counter::default(), times: std::array::from_fn(|_| Counter::default()) }
    }
}

impl Tally {
    /// A request to the server is over.
    pub(crate) fn add(&self, took: Duration, failed: bool) {
        if let Some(bucket) = self.times.get(bucket(took)) {
            bucket.add(1);
        }
        if failed {
            self.failures.add(1);
        }
    }
}

/// The cells of all workers that use a server.
#[derive(Debug, Default)]
pub(crate) struct Tallies(Mutex<Vec<Weak<Tally>>>);

impl Tallies {
    /// One more worker.
    pub(crate) fn join(&self) -> Arc<Tally> {
        let tally = Arc::<Tally>::default();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|known| known.strong_count() > 0);
        all.push(Arc::downgrade(&tally));
        tally
    }

    /// The sum of all.
    pub(crate) fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for tally in all.iter().filter_map(Weak::upgrade) {
            sum.failures += tally.failures.value();
            for (to, from) in sum.times.iter_mut().zip(&tally.times) {
                *to += from.value();
                sum.requests += from.value();
            }
        }
        sum
    }
}

/// What was counted of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) failures: u64,
    times: [u64; BUCKETS],
}

impl Default for Counts {
    fn default() -> Self {
        Self { requests: 0, failures: 0, times: [0; BUCKETS] }
    }
}

impl Counts {
    /// What came since. A worker that went took its counts along, so that there may seem to be less.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let mut since = Self {
            requests: self.requests.saturating_sub(before.requests),
            failures: self.failures.saturating_sub(before.failures),
            times: self.times,
        };
        for (to, from) in since.times.iter_mut().zip(&before.times) {
            *to = to.saturating_sub(*from);
        }
        since
    }

    /// The time within which this many thousandths of the answers came; none without answers.
    pub(crate) fn quantile(&self, thousandths: u32) -> Option<Duration> {
        let total: u64 = self.times.iter().sum();
        let rank = (total * u64::from(thousandths)).div_ceil(1000).max(1);
        let mut below = 0;
        let found = self.times.iter().position(|count| {
            below += count;
            below >= rank
        });
        found.filter(|_| total > 0).map(bound)
    }

    /// So many requests that took so long.
    #[cfg(test)]
    pub(crate) fn of(requests: u64, failures: u64, took: Duration) -> Self {
        let mut counts = Self { requests, failures, ..Self::default() };
        counts.times[bucket(took)] = requests;
        counts
    }
}

fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    if micros < FIRST {
        return 0;
    }
    let doublings = (micros / FIRST).ilog2();
    // The two bits below the highest one.
    let step = (micros >> (doublings + FIRST.ilog2() - 2)) & 3;
    (doublings as usize * STEPS + step as usize + 1).min(BUCKETS - 1)
}

/// The upper end of a bucket.
fn bound(bucket: usize) -> Duration {
    let (doublings, step) = (bucket / STEPS, bucket % STEPS);
    let start = FIRST << doublings.min(40);
    Duration::from_micros(start + start / STEPS as u64 * step as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_below_the_end_of_its_bucket_and_not_far() {
        let mut micros = 1;
        while micros < 60_000_000 {
            let time = Duration::from_micros(micros);
            let end = bound(bucket(time));
            assert!(time < end, "{time:?} {end:?}");
            assert!(micros < FIRST || end.as_secs_f64() <= time.as_secs_f64() * 1.26, "{time:?} {end:?}");
            micros += 1 + micros / 7;
        }
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_of_what_came_since() {
        let tallies = Tallies::default();
        let (one, other) = (tallies.join(), tallies.join());
        for _ in 0..10 {
            one.add(Duration::from_millis(500), true);
        }
        let before = tallies.sum();
        for _ in 0..90 {
            other.add(Duration::from_millis(1), false);
        }
        for _ in 0..10 {
            one.add(Duration::from_millis(100), true);
        }
        let since = tallies.sum().since(&before);
        assert_eq!((since.requests, since.failures), (100, 10));
        let near = |thousandths: u32, millis: f64| {
            let found = since.quantile(thousandths).expect("there were some").as_secs_f64() * 1000.0;
            assert!(found > millis && found < millis * 1.3, "{thousandths} {found}");
        };
        near(500, 1.0);
        near(900, 1.0);
        near(910, 100.0);
        assert_eq!(Counts::default().quantile(500), None);
        drop(one);
        assert_eq!(tallies.sum().requests, 90);
    }
}
