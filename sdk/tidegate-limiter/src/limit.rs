//! What is allowed, when it is asked, and what the answer says.

use std::time::Duration;

/// How a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// A bucket that fills evenly (GCRA): over any time, its burst and what flows in meanwhile.
    TokenBucket,
    /// Never more than the limit within any window, wherever it begins.
    SlidingWindow,
    /// Windows that begin at multiples of their length since 1970 in UTC: days, hours.
    FixedWindow,
    /// What is going on at the same time.
    Concurrency,
}

impl Algorithm {
    /// Its number in [`wire`](crate::wire).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Algorithm::TokenBucket => 1,
            Algorithm::SlidingWindow => 2,
            Algorithm::FixedWindow => 3,
            Algorithm::Concurrency => 4,
        }
    }

    /// The algorithm of a number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Algorithm::TokenBucket),
            2 => Some(Algorithm::SlidingWindow),
            3 => Some(Algorithm::FixedWindow),
            4 => Some(Algorithm::Concurrency),
            _ => None,
        }
    }
}

/// What is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit {
    /// How it is counted.
    pub algorithm: Algorithm,
    /// Units per period; for [`Algorithm::Concurrency`] units at the same time.
    pub units: u64,
    /// The period in nanoseconds; of no meaning for [`Algorithm::Concurrency`].
    pub period: u64,
    /// Units that a token bucket holds; of no meaning for the others.
    pub burst: u64,
}

/// The most units, and the longest period: products of them stay far from overflow.
const MOST: u64 = 1 << 56;

impl Limit {
    /// Never more than `units` within any window of this length.
    #[must_use]
    pub fn sliding(units: u64, window: Duration) -> Self {
        Limit { algorithm: Algorithm::SlidingWindow, units, period: nanoseconds(window), burst: 0 }
    }

    /// A bucket of `burst` units into which `units` flow in each period.
    #[must_use]
    pub fn bucket(units: u64, period: Duration, burst: u64) -> Self {
        Limit { algorithm: Algorithm::TokenBucket, units, period: nanoseconds(period), burst }
    }

    /// At most `units` in each window that begins at a multiple of its length since 1970, in UTC: an hour, a day.
    #[must_use]
    pub fn quota(units: u64, window: Duration) -> Self {
        Limit { algorithm: Algorithm::FixedWindow, units, period: nanoseconds(window), burst: 0 }
    }

    /// At most `units` at the same time.
    #[must_use]
    pub const fn at_once(units: u64) -> Self {
        Limit { algorithm: Algorithm::Concurrency, units, period: 0, burst: 0 }
    }

    /// Whether it can be decided: nothing that is needed is zero or absurdly large.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let fits = |number: u64| (1..=MOST).contains(&number);
        match self.algorithm {
            Algorithm::TokenBucket => fits(self.units) && fits(self.period) && fits(self.burst),
            Algorithm::SlidingWindow | Algorithm::FixedWindow => fits(self.units) && fits(self.period),
            Algorithm::Concurrency => fits(self.units),
        }
    }

    /// The most that is there at once.
    #[must_use]
    pub const fn capacity(&self) -> u64 {
        match self.algorithm {
            Algorithm::TokenBucket => self.burst,
            _ => self.units,
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// When it is asked, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// Since any fixed origin; never goes back. Buckets and sliding windows go by it.
    pub monotonic: u64,
    /// Since 1970. Fixed windows go by it.
    pub wall: u64,
}

impl Moment {
    /// The same for both, where there is one clock only.
    #[must_use]
    pub const fn of_wall(wall: u64) -> Self {
        Moment { monotonic: wall, wall }
    }
}

/// No time at which it could be allowed.
pub const NEVER: u64 = u64::MAX;

/// What follows from a limit and what was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Whether what was asked for is there.
    pub allowed: bool,
    /// Units that are left.
    pub remaining: u64,
    /// Nanoseconds until all of it is there again, if nothing more is taken.
    pub reset: u64,
    /// Nanoseconds until what was asked for would be allowed; zero if it is, [`NEVER`] if it is more than there can be,
    /// or if that depends on others.
    pub retry_after: u64,
}
