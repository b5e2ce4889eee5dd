//! Servers picked without a gateway: for measurements.

use std::rc::Rc;
use std::sync::Arc;

use crate::shared::Shard;
use crate::snapshot::Snapshot;
use crate::time::{Clock, Deadlines};
use crate::upstream::balance::Wish;
use crate::upstream::cluster::Cluster;
use crate::upstream::pool::Pool;
use crate::upstream::server::Server;

/// The first upstream of a snapshot as one worker has it.
pub struct ServerPicker {
    cluster: Arc<Cluster>,
    pool: Rc<Pool>,
}

impl std::fmt::Debug for ServerPicker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerPicker").field("servers", &self.pool.servers()).finish_non_exhaustive()
    }
}

impl ServerPicker {
    /// With the servers that the snapshot has for it; none: the snapshot has no upstream, or one that cannot be asked.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Option<Self> {
        let cluster = snapshot.clusters.first()?.clone();
        cluster.roster.plan(snapshot.servers.first()?, cluster.spec.tls.as_ref()).ok()?;
        cluster.settle();
        let deadlines = Deadlines::new(Clock::new());
        let pool = Pool::new(cluster.clone(), 1, &Shard::new(0), &deadlines, 1);
        Some(Self { cluster, pool })
    }

    /// The number of the server of a request that is known by this key, and over at once.
    #[must_use]
    pub fn pick(&self, key: u64) -> Option<usize> {
        let wish = Wish { key: Some(key), ..Wish::default() };
        self.pool.place(&wish).ok().map(|place| place.member.id())
    }

    /// These servers come or change, those go, and the worker takes that. How many changed.
    pub fn amend(&self, put: &[Server], gone: &[Server]) -> usize {
        let changed = self.cluster.roster.amend(put, gone, self.cluster.spec.tls.as_ref()).unwrap_or(0);
        self.cluster.settle();
        self.pool.catch_up();
        changed
    }
}
