//! For how long, and for how many requests, a connection is used.

use std::cell::Cell;
use std::time::Duration;

use tidegate_config::plan::PoolSettings;

use crate::upstream::balance::Random;

/// Of this share of their age connections lose a random part, so that those of one moment do not end at one moment.
const SPREAD: u32 = 10;

/// See the module.
#[derive(Debug)]
pub(crate) struct Lifetime {
    ends: Option<Duration>,
    uses: Cell<u64>,
    most: u64,
}

impl Lifetime {
    /// Of a connection that was opened at this time.
    pub(crate) fn begin(settings: &PoolSettings, now: Duration, random: &Random) -> Self {
        let ends = settings.max_age.map(|age| {
            let spread = u64::try_from((age / SPREAD).as_millis()).unwrap_or(u64::MAX);
            let less = if spread == 0 { 0 } else { random.below(spread) };
            now + (age - Duration::from_millis(less))
        });
        Self { ends, uses: Cell::new(0), most: settings.max_requests.unwrap_or(u64::MAX) }
    }

    /// One more request.
    #[inline]
    pub(crate) fn used(&self) {
        self.uses.set(self.uses.get() + 1);
    }

    /// Requests so far.
    #[inline]
    pub(crate) fn uses(&self) -> u64 {
        self.uses.get()
    }

    /// Whether no further request may follow.
    #[inline]
    pub(crate) fn is_over(&self, now: Duration) -> bool {
        self.uses.get() >= self.most || self.ends.is_some_and(|ends| ends <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_ends_by_age_or_by_requests() {
        let random = Random::new(7);
        let hour = Duration::from_secs(3600);
        let settings = PoolSettings { max_age: Some(hour), max_requests: Some(3), ..PoolSettings::default() };
        for _ in 0..100 {
            let life = Lifetime::begin(&settings, hour, &random);
            assert!(!life.is_over(hour + hour * 9 / 10));
            assert!(life.is_over(hour + hour));
        }
        let life = Lifetime::begin(&settings, hour, &random);
        life.used();
        life.used();
        assert!(!life.is_over(hour));
        life.used();
        assert!(life.is_over(hour));
        let unlimited = Lifetime::begin(&PoolSettings::default(), hour, &random);
        (0..10_000).for_each(|_| unlimited.used());
        assert!(!unlimited.is_over(hour * 100_000));
    }
}
