//! How long to wait before a request is sent to a collector again.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use tidegate_config::plan::OtlpRetries;

/// The waits of one request: each up to twice as long as the one before.
pub(super) struct Waits {
    retries: OtlpRetries,
    /// Those of this request.
    done: u32,
    random: u64,
}

impl Waits {
    /// With a seed that each process and each place has for itself.
    pub(super) fn new(retries: OtlpRetries) -> Self {
        Self::seeded(retries, RandomState::new().build_hasher().finish())
    }

    fn seeded(retries: OtlpRetries, seed: u64) -> Self {
        Self { retries, done: 0, random: seed | 1 }
    }

    /// Another request.
    pub(super) fn begin(&mut self) {
        self.done = 0;
    }

    /// The wait before the next attempt, at least what the collector asked for; none: there is no further one.
    pub(super) fn next(&mut self, least: Duration) -> Option<Duration> {
        let OtlpRetries { attempts, base, max } = self.retries;
        if self.done >= attempts || least > max {
            return None;
        }
        let most = base.saturating_mul(1 << self.done.min(16)).min(max);
        self.done += 1;
        // Half of it by chance, so that those whom a collector has failed at once do not come back at once.
        let half = most / 2;
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let part = u32::try_from(self.random % 1024).unwrap_or(0);
        Some((half + half * part / 1023).max(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_their_limit_and_end() {
        let seconds = Duration::from_secs;
        let retries = OtlpRetries { attempts: 4, base: seconds(1), max: seconds(3) };
        for seed in 0..100 {
            let mut waits = Waits::seeded(retries, seed);
            for _ in 0..2 {
                waits.begin();
                for most in [1, 2, 3, 3] {
                    let wait = waits.next(Duration::ZERO).expect("there are four");
                    assert!(wait >= seconds(most) / 2 && wait <= seconds(most), "{most}: {wait:?}");
                }
                assert_eq!(waits.next(Duration::ZERO), None);
            }
        }
    }

    #[test]
    fn what_the_collector_asks_for_is_heeded() {
        let retries =
            OtlpRetries { attempts: 4, base: Duration::from_millis(1), max: Duration::from_secs(3) };
        let mut waits = Waits::seeded(retries, 7);
        assert_eq!(waits.next(Duration::from_secs(2)), Some(Duration::from_secs(2)));
        assert_eq!(waits.next(Duration::from_secs(4)), None, "that is too long");
    }
}
