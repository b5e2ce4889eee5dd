//! When files are looked at without an event, and how closely. Time comes in as an argument.

use std::time::{Duration, Instant};

use crate::files::Depth;

/// The next look that no event asked for.
#[derive(Debug)]
pub(crate) struct Recheck {
    /// When all files are looked at, whether events came or not.
    due: Instant,
    /// From when on a look compares what is in them as well.
    contents: Instant,
}

impl Recheck {
    /// For files that were read just now. The first look compares what is in them: who writes a file in the same moment in
    /// which it is read may leave it looking the same.
    pub(crate) fn new(now: Instant) -> Self {
        Self { due: now + EVERY, contents: now + EVERY }
    }

    /// When to look if no event comes.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Files are looked at now, for an event or because it is time: how closely?
    pub(crate) fn on_look(&mut self, now: Instant) -> Depth {
        self.due = now + EVERY;
        if now < self.contents {
            return Depth::Stamps;
        }
        self.contents = now + CONTENTS_EVERY;
        Depth::Contents
    }
}

/// How often files are compared without an event.
pub(crate) const EVERY: Duration = Duration::from_secs(10);

/// How often what is in them is compared, which reads them all.
const CONTENTS_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_compared_at_the_first_look_of_its_own_and_then_once_a_minute() {
        let start = Instant::now();
        let mut recheck = Recheck::new(start);
        let mut compared = Vec::new();
        while recheck.due() < start + 2 * CONTENTS_EVERY + 2 * EVERY {
            let now = recheck.due();
            if recheck.on_look(now) == Depth::Contents {
                compared.push((now - start).as_secs());
            }
        }
        assert_eq!(compared, [10, 70, 130]);
    }

    #[test]
    fn events_without_end_do_not_put_the_comparison_of_contents_off() {
        let start = Instant::now();
        let mut recheck = Recheck::new(start);
        let looks = (1..=700).map(|tenth| start + Duration::from_millis(100 * tenth));
        let compared = looks.filter(|now| recheck.on_look(*now) == Depth::Contents);
        let compared: Vec<u64> = compared.map(|now| (now - start).as_secs()).collect();
        assert_eq!(compared, [10, 70]);
    }
}
