//! Waits for the end of a burst of file events. Time comes in as an argument.

use std::time::{Duration, Instant};

/// Collects events until it has been quiet for a while, or until the burst has gone on for too long.
#[derive(Debug, Default)]
pub(crate) struct Debounce {
    burst: Option<Burst>,
}

#[derive(Debug, Clone, Copy)]
struct Burst {
    first: Instant,
    last: Instant,
}

impl Debounce {
    /// An event was seen.
    pub(crate) fn on_event(&mut self, now: Instant) {
        let first = self.burst.map_or(now, |burst| burst.first);
        self.burst = Some(Burst { first, last: now });
    }

    /// When the burst counts as over; none without a burst.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.burst.map(|burst| (burst.last + QUIET).min(burst.first + LONGEST))
    }

    /// Whether the burst is over; if so it is forgotten.
    pub(crate) fn poll_over(&mut self, now: Instant) -> bool {
        let over = self.deadline().is_some_and(|deadline| deadline <= now);
        if over {
            self.burst = None;
        }
        over
    }
}

/// No event for this long ends a burst.
const QUIET: Duration = Duration::from_millis(50);

/// A burst that goes on is acted on after this long.
const LONGEST: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_events_nothing_is_due() {
        let mut debounce = Debounce::default();
        assert_eq!(debounce.deadline(), None);
        assert!(!debounce.poll_over(Instant::now() + LONGEST));
    }

    #[test]
    fn a_single_event_is_over_after_the_quiet_time() {
        let start = Instant::now();
        let mut debounce = Debounce::default();
        debounce.on_event(start);
        assert_eq!(debounce.deadline(), Some(start + QUIET));
        assert!(!debounce.poll_over(start + QUIET - Duration::from_millis(1)));
        assert!(debounce.poll_over(start + QUIET));
        assert!(!debounce.poll_over(start + LONGEST), "reported once");
    }

    #[test]
    fn each_event_of_a_burst_puts_the_end_off() {
        let start = Instant::now();
        let mut debounce = Debounce::default();
        debounce.on_event(start);
        debounce.on_event(start + Duration::from_millis(40));
        assert!(!debounce.poll_over(start + QUIET));
        assert!(debounce.poll_over(start + Duration::from_millis(90)));
    }

    #[test]
    fn an_endless_burst_is_cut_off() {
        let start = Instant::now();
        let mut debounce = Debounce::default();
        for step in 0..13 {
            debounce.on_event(start + Duration::from_millis(40 * step));
        }
        assert_eq!(debounce.deadline(), Some(start + LONGEST));
        assert!(debounce.poll_over(start + LONGEST));
        debounce.on_event(start + LONGEST);
        assert_eq!(debounce.deadline(), Some(start + LONGEST + QUIET), "a new burst begins");
    }
}
