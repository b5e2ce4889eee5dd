//! What filters may choose for the requests of one listener, by name. Put together when the first filter chooses.

use std::cell::OnceCell;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use rustc_hash::FxHashMap;
use tidegate_wasm::Destinations;

use crate::route::{Found, NamedRules};
use crate::snapshot::Snapshot;
use crate::upstream::server::{Circuit, Identity};

/// The upstreams of a snapshot, and the rules of one of its listeners. It does not keep the snapshot, since idle
/// connections have it.
pub(crate) struct Reachable {
    snapshot: Weak<Snapshot>,
    listener: usize,
    upstreams: OnceCell<FxHashMap<String, usize>>,
    rules: OnceCell<NamedRules>,
}

impl Reachable {
    pub(crate) fn new(snapshot: &Arc<Snapshot>, listener: usize) -> Self {
        Self {
            snapshot: Arc::downgrade(snapshot),
            listener,
            upstreams: OnceCell::new(),
            rules: OnceCell::new(),
        }
    }

    fn rules(&self, snapshot: &Snapshot) -> &NamedRules {
        self.rules.get_or_init(|| NamedRules::new(&snapshot.plan, self.listener))
    }

    /// A rule that a filter has chosen, for a request with this path.
    pub(crate) fn found(&self, rule: usize, path: &str) -> Option<Found> {
        let snapshot = self.snapshot.upgrade()?;
        self.rules(&snapshot).found(&snapshot.plan, rule, path)
    }
}

impl Destinations for Reachable {
    fn upstream(&self, name: &str) -> Option<usize> {
        let snapshot = self.snapshot.upgrade()?;
        let all = || snapshot.plan.upstreams.iter().enumerate().map(|(index, own)| (own.name.clone(), index));
        self.upstreams.get_or_init(|| all().collect()).get(name).copied()
    }

    fn rule(&self, name: &str) -> Option<usize> {
        let snapshot = self.snapshot.upgrade()?;
        self.rules(&snapshot).find(name)
    }

    fn servers(&self, upstream: &str) -> Option<Vec<(SocketAddr, bool)>> {
        let index = self.upstream(upstream)?;
        let snapshot = self.snapshot.upgrade()?;
        let cluster = snapshot.clusters.get(index)?;
        let known = cluster.roster.entries().into_iter().filter(|entry| cluster.has(&entry.server));
        let state = |identity: &Identity| (identity.address, identity.circuit() == Circuit::Closed);
        Some(known.map(|entry| state(&entry.identity)).collect())
    }
}

impl fmt::Debug for Reachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reachable").field("listener", &self.listener).finish_non_exhaustive()
    }
}
