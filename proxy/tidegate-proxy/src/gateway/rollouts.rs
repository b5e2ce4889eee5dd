//! New versions on their way: what workers count of them is looked at now and then, and their shares follow. It runs on
//! the control thread; workers read a share, and that is all.

mod course;

use std::sync::Arc;
use std::time::Duration;

use crate::shared::{Arm, Counts, Rollout};
use crate::snapshot::Snapshot;
use course::{Both, Event, Way};
pub use course::{ReleaseOrder, ReleaseState};

/// A new version, as it is at this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseUse {
    /// `route/ROUTE/RULE` or `plugin/NAME`.
    pub id: String,
    /// Where it is.
    pub state: ReleaseState,
    /// The number of its step, from 0.
    pub step: usize,
    /// All steps, in percent.
    pub steps: Vec<f64>,
    /// Its share of requests now, in percent.
    pub percent: f64,
    /// Whether there is such a version; if not, all requests have the old one.
    pub loaded: bool,
    /// The old version, since the step began.
    pub old: ArmUse,
    /// The new one.
    pub new: ArmUse,
}

/// What was counted of a version.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ArmUse {
    /// Requests.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Guests that broke off.
    pub failures: u64,
    /// The time to the head of the answer that 99 of 100 requests keep; none: there was none.
    pub p99: Option<Duration>,
}

impl ArmUse {
    fn of(counts: &Counts) -> Self {
        let Counts { requests, errors, failures, .. } = *counts;
        Self { requests, errors, failures, p99: counts.p99() }
    }
}

/// Why an order was not followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SteerError {
    /// No release has this name.
    #[error("there is no release \"{0}\"")]
    Unknown(String),
    /// It makes no sense where the release is.
    #[error("{0}")]
    State(&'static str),
}

/// All releases of what was published last.
#[derive(Default)]
pub(super) struct Rollouts(Vec<Pilot>);

/// One of them.
struct Pilot {
    rollout: Arc<Rollout>,
    way: Way,
}

impl Rollouts {
    /// A snapshot is published: what it took over goes on, the rest begins or ends.
    pub(super) fn publish(&mut self, snapshot: &Snapshot) {
        let mut before = std::mem::take(&mut self.0);
        for rollout in &snapshot.rollouts {
            let known = before.iter().position(|pilot| pilot.rollout.is_same(rollout));
            self.0.push(match known {
                Some(at) => Pilot { rollout: rollout.clone(), ..before.swap_remove(at) },
                None => Pilot { rollout: rollout.clone(), way: Way::new(rollout.course.clone()) },
            });
        }
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks at all of them.
    pub(super) fn judge(&mut self, now: Duration) {
        for pilot in &mut self.0 {
            let counts = pilot.counts();
            let Some(event) = pilot.way.judge(now, &counts) else { continue };
            pilot.rollout.set_share(pilot.way.share());
            let id = &pilot.rollout.id;
            match event {
                Event::Next(share) => {
                    tracing::info!(release = id, percent = percent(share), "release goes on");
                }
                Event::Promoted => tracing::info!(release = id, "release has taken over"),
                Event::Back(why) => tracing::warn!(release = id, why, "release is rolled back"),
            }
        }
    }

    /// Does as someone wants with one of them.
    pub(super) fn steer(&mut self, id: &str, order: ReleaseOrder, now: Duration) -> Result<(), SteerError> {
        let pilot = self.0.iter_mut().find(|pilot| pilot.rollout.id == id);
        let pilot = pilot.ok_or_else(|| SteerError::Unknown(id.to_owned()))?;
        let counts = pilot.counts();
        pilot.way.steer(order, now, &counts).map_err(SteerError::State)?;
        pilot.rollout.set_share(pilot.way.share());
        tracing::info!(
            release = id,
            order = order.word(),
            percent = percent(pilot.way.share()),
            "release steered"
        );
        Ok(())
    }

    /// As they are.
    pub(super) fn all(&self) -> Vec<ReleaseUse> {
        self.0.iter().map(Pilot::shown).collect()
    }

    /// Each with its state, for metrics.
    pub(super) fn each(&self) -> impl Iterator<Item = (Arc<Rollout>, ReleaseState)> {
        self.0.iter().map(|pilot| (pilot.rollout.clone(), pilot.way.state.clone()))
    }
}

impl Pilot {
    fn counts(&self) -> Both {
        Both { old: self.rollout.counts(Arm::Old), new: self.rollout.counts(Arm::New) }
    }

    fn shown(&self) -> ReleaseUse {
        let counts = self.way.in_step(&self.counts());
        ReleaseUse {
            id: self.rollout.id.clone(),
            state: self.way.state.clone(),
            step: self.way.step,
            steps: self.rollout.course.steps.iter().map(|&share| percent(share)).collect(),
            percent: percent(self.rollout.actual_share()),
            loaded: self.rollout.is_loaded(),
            old: ArmUse::of(&counts.old),
            new: ArmUse::of(&counts.new),
        }
    }
}

fn percent(share: u32) -> f64 {
    f64::from(share) / 10_000.0
}
