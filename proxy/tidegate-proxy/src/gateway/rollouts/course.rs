//! The way of a new version: when it goes on, and what sends it back. Pure: counts and time come in, a share comes out.

use std::fmt;
use std::time::Duration;

use tidegate_config::plan::{Course, WHOLE};

use crate::shared::Counts;

/// Where a new version is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseState {
    /// On its way, or at the share that it is to keep.
    Running,
    /// Held at its step; it can still be sent back.
    Paused,
    /// It has taken over.
    Promoted,
    /// It was sent back, for this reason.
    RolledBack(String),
}

impl ReleaseState {
    /// All words of states.
    pub const WORDS: [&str; 4] = ["running", "paused", "promoted", "rolledBack"];

    /// In one word, as metrics and the admin API have it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Promoted => "promoted",
            Self::RolledBack(_) => "rolledBack",
        }
    }
}

/// What someone wants of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReleaseOrder {
    /// It stays at its step.
    Pause,
    /// It goes on.
    Resume,
    /// It takes over at once.
    Promote,
    /// It goes back at once.
    Rollback,
    /// It begins again.
    Restart,
}

impl ReleaseOrder {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pause, Self::Resume, Self::Promote, Self::Rollback, Self::Restart];

    /// As the admin API has it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Restart => "restart",
        }
    }
}

/// What has just happened to a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// It goes on to the next share.
    Next(u32),
    /// It has taken over.
    Promoted,
    /// It goes back.
    Back(String),
}

/// What was counted of both versions.
#[derive(Debug, Clone, Default)]
pub(super) struct Both {
    pub(super) old: Counts,
    pub(super) new: Counts,
}

impl Both {
    fn since(&self, earlier: &Self) -> Self {
        Self { old: self.old.since(&earlier.old), new: self.new.since(&earlier.new) }
    }
}

/// A release on its way.
#[derive(Debug, Clone)]
pub(super) struct Way {
    course: Course,
    pub(super) state: ReleaseState,
    pub(super) step: usize,
    /// When the step began; none: nobody has looked yet.
    since: Option<Duration>,
    /// What was counted before the step.
    before: Both,
    /// The old version, when it last had enough requests to compare with.
    old: Option<Counts>,
}

impl Way {
    /// At the first step.
    pub(super) fn new(course: Course) -> Self {
        let before = Both::default();
        Self { course, state: ReleaseState::Running, step: 0, since: None, before, old: None }
    }

    /// The share that the new version is to have, in millionths.
    pub(super) fn share(&self) -> u32 {
        match self.state {
            ReleaseState::Running | ReleaseState::Paused => {
                self.course.steps.get(self.step).copied().unwrap_or(0)
            }
            ReleaseState::Promoted => WHOLE,
            ReleaseState::RolledBack(_) => 0,
        }
    }

    /// What was counted since the step began.
    pub(super) fn in_step(&self, counts: &Both) -> Both {
        counts.since(&self.before)
    }

    /// Looks at what was counted so far.
    pub(super) fn judge(&mut self, now: Duration, counts: &Both) -> Option<Event> {
        if !matches!(self.state, ReleaseState::Running | ReleaseState::Paused) {
            return None;
        }
        let since = match self.since {
            Some(since) => since,
            None => {
                self.begin(self.step, now, counts);
                return None;
            }
        };
        let seen = self.in_step(counts);
        if seen.old.requests >= self.course.min_requests {
            self.old = Some(seen.old.clone());
        }
        if let Some(why) = self.fault(&seen.new) {
            self.state = ReleaseState::RolledBack(why.clone());
            return Some(Event::Back(why));
        }
        let waited = now.saturating_sub(since) >= self.course.interval;
        if !waited || seen.new.requests < self.course.min_requests || self.state == ReleaseState::Paused {
            return None;
        }
        let next = self.step + 1;
        if let Some(&share) = self.course.steps.get(next) {
            self.begin(next, now, counts);
            return Some(Event::Next(share));
        }
        if self.course.steps.last() == Some(&WHOLE) {
            self.state = ReleaseState::Promoted;
            return Some(Event::Promoted);
        }
        // It stays at this share, and is judged by what is new.
        self.begin(self.step, now, counts);
        None
    }

    /// Does as someone wants.
    pub(super) fn steer(
        &mut self,
        order: ReleaseOrder,
        now: Duration,
        counts: &Both,
    ) -> Result<(), &'static str> {
        let over = match self.state {
            ReleaseState::Promoted => Some("it is promoted; restart begins again"),
            ReleaseState::RolledBack(_) => Some("it is rolled back; restart begins again"),
            ReleaseState::Running | ReleaseState::Paused => None,
        };
        match (order, over) {
            (ReleaseOrder::Pause | ReleaseOrder::Resume, Some(why)) => return Err(why),
            (ReleaseOrder::Pause, None) => self.state = ReleaseState::Paused,
            (ReleaseOrder::Resume, None) => self.state = ReleaseState::Running,
            (ReleaseOrder::Promote, _) => self.state = ReleaseState::Promoted,
            (ReleaseOrder::Rollback, _) => self.state = ReleaseState::RolledBack("by order".to_owned()),
            (ReleaseOrder::Restart, _) => {
                self.state = ReleaseState::Running;
                self.old = None;
                self.begin(0, now, counts);
            }
        }
        Ok(())
    }

    fn begin(&mut self, step: usize, now: Duration, counts: &Both) {
        self.step = step;
        self.since = Some(now);
        self.before = counts.clone();
    }

    /// The bound that the new version does not keep.
    fn fault(&self, new: &Counts) -> Option<String> {
        let bounds = &self.course.bounds;
        let least = self.course.min_requests;
        if let Some(allowed) = bounds.failures
            && new.failures > allowed
        {
            let times = if new.failures == 1 { "time" } else { "times" };
            let are = if allowed == 1 { "is" } else { "are" };
            return Some(format!("the module broke off {} {times}, {allowed} {are} allowed", new.failures));
        }
        // More errors than that many requests may have are enough, however many come yet.
        let judged = new.requests.max(least);
        if Share::of(new.errors, judged).is_over(bounds.errors) {
            let share = Share::of(new.errors, new.requests);
            return Some(format!("{share} of its requests failed, {} are allowed", Share(bounds.errors)));
        }
        if let Some(bound) = bounds.p99
            && self.is_slow(new, bound)
        {
            return Some(format!("its p99 is {:?}, {bound:?} is allowed", new.p99().unwrap_or_default()));
        }
        self.worse(new, judged)
    }

    /// What the new version does worse than the old one.
    fn worse(&self, new: &Counts, judged: u64) -> Option<String> {
        let bounds = &self.course.bounds;
        let old = self.old.as_ref()?;
        let share = Share::of(old.errors, old.requests);
        let expected = share.0.saturating_add(bounds.errors_over_old);
        if is_more(new.errors, f64::from(expected) / f64::from(WHOLE) * judged as f64) {
            let own = Share::of(new.errors, new.requests);
            return Some(format!("{own} of its requests failed, {share} of the old version's"));
        }
        let (times, before) = (bounds.p99_over_old?, old.p99()?);
        if self.is_slow(new, before.saturating_mul(times) / 100) {
            let p99 = new.p99().unwrap_or_default();
            return Some(format!("its p99 is {p99:?}, that of the old version {before:?}"));
        }
        None
    }

    /// Whether more than one of a hundred requests took longer, once there are enough to tell.
    fn is_slow(&self, new: &Counts, bound: Duration) -> bool {
        let slow = new.times.above(bound);
        new.requests >= self.course.min_requests && is_more(slow, new.requests as f64 / 100.0)
    }
}

/// Whether there are more than were to be expected. Of few requests a few are bad by chance, so twice the spread of what
/// is expected is allowed on top.
fn is_more(count: u64, expected: f64) -> bool {
    count as f64 > expected + 2.0 * expected.sqrt()
}

/// A share of requests, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share(u32);

impl Share {
    fn of(part: u64, of: u64) -> Self {
        let share = u128::from(part) * u128::from(WHOLE) / u128::from(of.max(1));
        Self(u32::try_from(share).unwrap_or(u32::MAX))
    }

    fn is_over(self, bound: u32) -> bool {
        self.0 > bound
    }
}

impl fmt::Display for Share {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} %", f64::from(self.0) / 10_000.0)
    }
}

#[cfg(test)]
mod tests;
