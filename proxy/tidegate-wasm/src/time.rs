//! The time as the caller tells it.

use std::time::Duration;

/// A point in time. The caller reads the clocks; equal inputs give equal outputs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// Since any fixed origin; never goes back.
    pub monotonic: Duration,
    /// Since the Unix epoch.
    pub wall: Duration,
}

/// Nanoseconds of a duration as the ABI carries them; saturates after 584 years.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
