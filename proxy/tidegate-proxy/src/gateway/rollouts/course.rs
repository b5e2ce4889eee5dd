//! The way of a new version: when it goes on, and what sends it back. Pure: counts and time come in, a share comes out.

mod waiting;

use std::fmt;
use std::time::Duration;

use tidegate_config::plan::{Course, WHOLE};

use crate::shared::Counts;
use waiting::Waiting;

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
    old: Option<Seen>,
    /// How long the requests of both have waited.
    old_waiting: Waiting,
    new_waiting: Waiting,
}

/// What a version was like in a step.
#[derive(Debug, Clone)]
struct Seen {
    counts: Counts,
    /// Requests that have waited for longer than the new version's may, so many at least.
    late: u64,
}

impl Way {
    /// At the first step.
    pub(super) fn new(course: Course) -> Self {
        let before = Both::default();
        let (old_waiting, new_waiting) = Default::default();
        let state = ReleaseState::Running;
        Self { course, state, step: 0, since: None, before, old: None, old_waiting, new_waiting }
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
        self.old_waiting.look(now, &seen.old);
        self.new_waiting.look(now, &seen.new);
        self.see_old(now, &seen.old);
        if let Some(why) = self.fault(now, &seen.new) {
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
        self.old_waiting.clear();
        self.new_waiting.clear();
    }

    /// Keeps what the old version was like, once there is enough of it.
    fn see_old(&mut self, now: Duration, counts: &Counts) {
        let last = || self.old.as_ref().and_then(|old| old.counts.p99());
        let p99 = counts.p99().or_else(last);
        let bound = p99.zip(self.course.bounds.p99_over_old).map(|(p99, times)| multiple(p99, times));
        let late = bound.map_or(0, |bound| self.old_waiting.longer_than(bound, now, counts));
        if counts.requests + late >= self.course.min_requests {
            self.old = Some(Seen { counts: counts.clone(), late });
        }
    }

    /// The bound that the new version does not keep.
    fn fault(&self, now: Duration, new: &Counts) -> Option<String> {
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
            && let Some(slow) = self.slow((now, new), bound, HUNDREDTH)
        {
            return Some(format!("{slow}, {} is allowed", short(bound)));
        }
        self.worse(now, new, judged)
    }

    /// What the new version does worse than the old one.
    fn worse(&self, now: Duration, new: &Counts, judged: u64) -> Option<String> {
        let bounds = &self.course.bounds;
        let Seen { counts: old, late } = self.old.as_ref()?;
        let share = Share::of(old.errors, old.requests);
        let expected = share.0.saturating_add(bounds.errors_over_old);
        if is_more(new.errors, f64::from(expected) / f64::from(WHOLE) * judged as f64) {
            let own = Share::of(new.errors, new.requests);
            return Some(format!("{own} of its requests failed, {share} of the old version's"));
        }
        let (times, p99) = (bounds.p99_over_old?, old.p99()?);
        let bound = multiple(p99, times);
        // Where many of the old version's wait, as those of long polls do, its p99 is that of the others.
        let slow = (old.times.above(bound) + late) as f64 / (old.requests + late).max(1) as f64;
        let slow = self.slow((now, new), bound, slow.max(HUNDREDTH))?;
        Some(format!("{slow}, the old version's p99 is {}", short(p99)))
    }

    /// Says how slow it is when more requests than this share take longer, once there are enough to tell.
    fn slow(&self, (now, new): (Duration, &Counts), bound: Duration, share: f64) -> Option<String> {
        let (above, late) = (new.times.above(bound), self.new_waiting.longer_than(bound, now, new));
        let requests = new.requests + late;
        if requests < self.course.min_requests || !is_more(above + late, share * requests as f64) {
            return None;
        }
        if late > above {
            return Some(format!("{late} of its requests have no answer after {}", short(bound)));
        }
        Some(format!("its p99 is {}", short(new.p99().unwrap_or_default())))
    }
}

/// Answers that come within this time are not slow compared with others: a short pause of the machine is many times the p99
/// of a server that answers within a millisecond, and says nothing of its version.
const QUICK: Duration = Duration::from_millis(10);

/// Of the requests, so many may be slow where nothing else is known.
const HUNDREDTH: f64 = 0.01;

/// A time as people read it: buckets are no more exact.
fn short(time: Duration) -> String {
    format!("{time:.1?}").replace(".0", "")
}

/// What is slow where the old version's p99 is this and so many percent of it are allowed.
fn multiple(of: Duration, percent: u32) -> Duration {
    (of.saturating_mul(percent) / 100).max(QUICK)
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
