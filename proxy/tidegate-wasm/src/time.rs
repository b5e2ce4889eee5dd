//! The time as the caller tells it.

use std::time::Duration;

/// A point in time. The caller reads the clocks; equal inputs give equal outputs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// Since any fixed origin; never goes back.
    pub monotonic: Duration,
    /// How far the time since the Unix epoch is ahead of that. It seldom changes, so that a moment is told by one reading of
    /// one clock, and added up only for who asks.
    pub ahead: Duration,
}

impl Now {
    /// A moment by both clocks; `wall` is since the Unix epoch.
    #[must_use]
    pub const fn new(monotonic: Duration, wall: Duration) -> Self {
        Self { monotonic, ahead: wall.saturating_sub(monotonic) }
    }

    /// Since the Unix epoch.
    #[must_use]
    pub fn wall(&self) -> Duration {
        self.ahead.saturating_add(self.monotonic)
    }
}

/// Nanoseconds of a duration as the ABI carries them; saturates after 584 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
