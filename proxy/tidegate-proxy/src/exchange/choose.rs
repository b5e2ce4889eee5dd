//! Which of a rule's upstreams a request is for.

use crate::exchange::Exchange;
use crate::snapshot::Targets;

impl Exchange {
    /// The upstream whose turn it is, where no filter has chosen one.
    pub(crate) fn choose(&self, targets: &Targets) -> Option<usize> {
        targets.next(self.record.client.local.shard.worker)
    }
}
