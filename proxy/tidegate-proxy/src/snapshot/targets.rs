//! The upstreams of a rule by weight, whose turn it is, and which of them is on its way to take over.

use std::sync::Arc;

use tidegate_config::plan::{Sticky, UpstreamIndex, WHOLE, WeightedUpstream};

use super::sessions::Sessions;
use crate::shared::{Arm, Rollout, Turns};

/// Upstreams by weight.
pub(crate) struct Targets {
    /// Upstream and the sum of the weights up to and with its own; without the one that takes over.
    until: Vec<(UpstreamIndex, u64)>,
    /// Whose turn it is; none: there is nothing to choose.
    turns: Option<Arc<Turns>>,
    /// What keeps a client with one of them.
    pub(crate) sticky: Option<Sticky>,
    /// The one that takes over.
    pub(crate) release: Option<(UpstreamIndex, Arc<Rollout>)>,
    /// What keeps a client at one server.
    pub(crate) sessions: Sessions,
    /// None of all that.
    plain: bool,
}

impl Targets {
    /// Those that have a weight. With the same weights as `previous`, the shares go on where they were.
    pub(crate) fn new(written: &[WeightedUpstream], workers: usize, previous: Option<&Self>) -> Self {
        let mut total = 0;
        let weighted = written.iter().filter(|target| target.weight > 0);
        let until: Vec<_> = weighted
            .map(|target| {
                total += u64::from(target.weight);
                (target.upstream, total)
            })
            .collect();
        let same = previous.and_then(|previous| previous.turns.as_ref());
        let turns = (until.len() > 1).then(|| match same {
            Some(same) if same.length() == total => same.clone(),
            _ => Turns::new(total, workers),
        });
        Self { until, turns, sticky: None, release: None, sessions: Sessions::default(), plain: true }
    }

    /// The same where a client stays with one upstream or server, and where one takes over.
    pub(super) fn with(
        self,
        sticky: Option<Sticky>,
        release: Option<(UpstreamIndex, Arc<Rollout>)>,
        sessions: Sessions,
    ) -> Self {
        let plain = sticky.is_none() && release.is_none() && sessions.is_empty();
        Self { sticky, release, sessions, plain, ..self }
    }

    /// Whether weights alone decide.
    pub(crate) fn is_by_weight(&self) -> bool {
        self.plain
    }

    /// The upstream that all requests go to, unless a filter chooses another one; none: it is chosen for each.
    pub(crate) fn only(&self) -> Option<UpstreamIndex> {
        match &*self.until {
            [(only, _)] if self.release.is_none() => Some(*only),
            _ => None,
        }
    }

    /// The upstream for a request that comes to this worker.
    pub(crate) fn next(&self, worker: usize) -> Option<UpstreamIndex> {
        match &self.turns {
            None => self.until.first().map(|(only, _)| *only),
            Some(turns) => self.at(turns.next(worker)),
        }
    }

    /// The upstream for requests with this key.
    pub(crate) fn of(&self, key: u64) -> Option<UpstreamIndex> {
        match &self.turns {
            None => self.until.first().map(|(only, _)| *only),
            Some(turns) => self.at(turns.of(key)),
        }
    }

    /// The upstream that a session is with, as its ticket names it, and which of two versions that is; none: it is not to
    /// have requests now.
    pub(crate) fn kept(&self, upstream: u32) -> Option<(UpstreamIndex, Option<Arm>)> {
        let index = self.sessions.named(upstream)?;
        let has_weight = || self.until.iter().any(|(own, _)| *own == index);
        match &self.release {
            None => has_weight().then_some((index, None)),
            Some((to, rollout)) if *to == index => (rollout.share() > 0).then_some((index, Some(Arm::New))),
            Some((_, rollout)) => {
                (rollout.share() < WHOLE && has_weight()).then_some((index, Some(Arm::Old)))
            }
        }
    }

    /// The upstream at a point below the sum of the weights.
    fn at(&self, point: u64) -> Option<UpstreamIndex> {
        self.until.iter().find(|(_, until)| point < *until).map(|(index, _)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(weights: &[u32]) -> Vec<WeightedUpstream> {
        let weighted = |(upstream, &weight)| WeightedUpstream { upstream, weight };
        weights.iter().enumerate().map(weighted).collect()
    }

    #[test]
    fn weights_are_exact_over_workers() {
        let targets = Targets::new(&weights(&[90, 0, 10]), 2, None);
        let mut counts = [0_i64; 3];
        for request in 0..10_000 {
            // Three of four requests come to one worker.
            counts[targets.next(usize::from(request % 4 == 0)).expect("has a weight")] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((counts[2] - 1000).abs() <= 3, "{counts:?}");
    }

    #[test]
    fn keys_are_shared_out_by_weight_and_stay() {
        let targets = Targets::new(&weights(&[3, 1]), 2, None);
        let keys = (1..=4000_u64).map(|key| key.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let second = keys.clone().filter(|key| targets.of(*key) == Some(1)).count();
        assert!(second.abs_diff(1000) < 50, "{second} of 4000");
        assert!(keys.clone().all(|key| targets.of(key) == targets.of(key)));
    }

    #[test]
    fn one_is_always_it_and_none_is_none() {
        assert_eq!(Targets::new(&weights(&[0, 7]), 2, None).next(0), Some(1));
        assert_eq!(Targets::new(&weights(&[0]), 2, None).next(0), None);
        assert_eq!(Targets::new(&[], 2, None).next(0), None);
    }

    #[test]
    fn the_same_weights_go_on_where_they_were() {
        let whole = Targets::new(&weights(&[3, 1]), 1, None);
        let expected: Vec<_> = (0..8).map(|_| whole.next(0)).collect();
        let mut targets = Targets::new(&weights(&[3, 1]), 1, None);
        let mut got = Vec::new();
        for _ in 0..8 {
            got.push(targets.next(0));
            targets = Targets::new(&weights(&[3, 1]), 1, Some(&targets));
        }
        assert_eq!(got, expected, "reloads must not take the same turn again and again");
    }
}
