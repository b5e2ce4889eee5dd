//! Where a rule's requests are copied to.

use std::sync::Arc;

use tidegate_config::plan::{self, WHOLE};

use crate::shared::{MirrorCells, PerWorker, Turns};

/// One upstream that gets copies.
pub(crate) struct Mirror {
    /// As it was written.
    pub(crate) spec: plan::Mirror,
    /// The rule that is mirrored, as `ROUTE/RULE`.
    pub(crate) rule: String,
    /// The upstream's name.
    pub(crate) upstream: String,
    /// What is counted of it.
    pub(crate) counters: Arc<PerWorker<MirrorCells>>,
    turns: Arc<Turns>,
}

impl Mirror {
    /// The mirrors of a rule. What is counted of one goes on from `previous`.
    pub(crate) fn all(
        plan: &plan::Plan,
        (rule, specs): (&str, &[plan::Mirror]),
        previous: &[Arc<Self>],
        workers: usize,
    ) -> Vec<Arc<Self>> {
        let mut all: Vec<Arc<Self>> = Vec::with_capacity(specs.len());
        for spec in specs {
            let Some(upstream) = plan.upstreams.get(spec.upstream) else { continue };
            let before = previous.iter().find(|before| before.upstream == upstream.name);
            let counters = all.iter().chain(before).find(|other| other.upstream == upstream.name);
            all.push(Arc::new(Self {
                spec: spec.clone(),
                rule: rule.to_owned(),
                upstream: upstream.name.clone(),
                counters: counters
                    .map_or_else(|| Arc::new(PerWorker::new(workers)), |other| other.counters.clone()),
                turns: before
                    .map_or_else(|| Turns::new(u64::from(WHOLE), workers), |before| before.turns.clone()),
            }));
        }
        all
    }

    /// Whether the request that comes to this worker is among those that are copied.
    pub(crate) fn draws(&self, worker: usize) -> bool {
        match self.spec.share {
            WHOLE => true,
            0 => false,
            share => self.turns.next(worker) < u64::from(share),
        }
    }
}
