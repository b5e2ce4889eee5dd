//! The servers of upstreams, which change without a new snapshot.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::gateway::{CheckState, Gateway, Loads};
use crate::shared::Shard;
use crate::snapshot::Snapshot;
use crate::upstream::cluster::Cluster;
use crate::upstream::roster;
use crate::upstream::server::{Cause, Circuit, Server};

/// Why servers were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ServersError {
    /// The snapshot that was published last has no such upstream.
    #[error("there is no upstream \"{upstream}\"")]
    NoUpstream {
        /// The name.
        upstream: String,
    },
    /// TLS cannot ask for the host of a server.
    #[error("upstream \"{upstream}\": {problem}")]
    Name {
        /// Which upstream.
        upstream: String,
        /// Which name, and what is wrong with it.
        problem: String,
    },
}

/// A server and how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerState {
    /// As its list says.
    pub server: Server,
    /// Why it gets no requests; empty: it does.
    pub causes: Vec<Cause>,
    /// How its checks went; none: it was not checked yet.
    pub check: Option<CheckState>,
    /// Whether requests go there.
    pub circuit: Circuit,
    /// Workers that leave it out because requests to it failed.
    pub left_out_by: u32,
    /// What it did last for which one of them left it out: a status, or a reason as access logs have it.
    pub failure: Option<String>,
    /// What makes it worse than the others, while it is left out for that.
    pub outlier: Option<String>,
    /// Requests in flight there.
    pub in_flight: u64,
}

/// Puts the lists of a snapshot that is about to be served.
pub(super) fn plan(snapshot: &Snapshot, before: Option<&Snapshot>) {
    for (cluster, servers) in snapshot.clusters.iter().zip(&snapshot.servers) {
        if cluster.spec.subset.is_some() {
            cluster.settle();
            continue;
        }
        let (roster, tls) = (&cluster.roster, cluster.spec.tls.as_ref());
        let mut others = before.iter().flat_map(|before| &before.clusters);
        let other = others.find(|other| other.spec.name == cluster.spec.name);
        let put = match other.filter(|other| !Arc::ptr_eq(other, cluster)) {
            // Its source says nothing new by being asked in another way.
            Some(other) if cluster.spec.discover.is_some() => roster.inherit(&other.roster, tls),
            Some(other) => roster.follow(&other.roster, servers, tls),
            None => roster.plan(servers, tls),
        };
        cluster.settle();
        if let Err(error) = put {
            tracing::error!(upstream = %cluster.spec.name, %error, "servers are not used");
        }
    }
}

impl Gateway {
    /// Makes these the servers of an upstream. Requests in flight keep theirs. A server that stays (the same address,
    /// and over TLS the same name) keeps its connections, its load and its health; one that went gets no further
    /// request. Returns the number of the change; [`Gateway::has_taken`] tells when all workers have it.
    ///
    /// The list lasts until the next one, or until a snapshot has another one for this upstream than the snapshot
    /// before. Comparing takes time with the length of the list; see [`Gateway::amend_servers`].
    ///
    /// # Errors
    /// When there is no such upstream, or a server's host cannot be asked for over TLS. Nothing is changed then.
    pub fn put_servers(&self, upstream: &str, servers: &[Server]) -> Result<u64, ServersError> {
        self.change(upstream, |cluster| cluster.roster.put(servers, cluster.spec.tls.as_ref()))
    }

    /// As [`Gateway::put_servers`] for a part of the list: these are put, those are taken away, all others stay. It
    /// takes time with the number of these only.
    ///
    /// # Errors
    /// As for [`Gateway::put_servers`].
    pub fn amend_servers(
        &self,
        upstream: &str,
        put: &[Server],
        gone: &[Server],
    ) -> Result<u64, ServersError> {
        self.change(upstream, |cluster| cluster.roster.amend(put, gone, cluster.spec.tls.as_ref()))
    }

    fn change(
        &self,
        upstream: &str,
        change: impl FnOnce(&Cluster) -> Result<usize, roster::BadName>,
    ) -> Result<u64, ServersError> {
        let cluster = self.cluster(upstream)?;
        let changed = change(&cluster).map_err(|error| ServersError::Name {
            upstream: upstream.to_owned(),
            problem: error.to_string(),
        })?;
        let snapshot = self.state().snapshot.clone();
        let clusters = snapshot.iter().flat_map(|snapshot| &snapshot.clusters);
        clusters.filter(|other| Arc::ptr_eq(&other.roster, &cluster.roster)).for_each(|other| other.settle());
        let mut number = 0;
        self.0.changes.send_if_modified(|count| {
            *count += u64::from(changed > 0);
            number = *count;
            changed > 0
        });
        Ok(number)
    }

    /// Waits until every worker has taken the change of servers with this number.
    pub async fn has_taken(&self, change: u64) {
        let mut live = self.0.live.clone();
        let there = |shard: &Arc<Shard>| shard.changes.load(Ordering::Acquire) >= change;
        while !self.0.shards.iter().all(there) {
            if live.changed().await.is_err() {
                return;
            }
        }
    }

    /// The servers of an upstream, each once, with what keeps requests away from it; without their loads.
    ///
    /// # Errors
    /// When there is no such upstream.
    pub fn servers(&self, upstream: &str) -> Result<Vec<ServerState>, ServersError> {
        self.loaded_servers(upstream, &Loads::default())
    }

    /// As [`Gateway::servers`], with the loads that the workers have told.
    ///
    /// # Errors
    /// When there is no such upstream.
    pub fn loaded_servers(&self, upstream: &str, loads: &Loads) -> Result<Vec<ServerState>, ServersError> {
        let cluster = self.cluster(upstream)?;
        let entries = cluster.roster.entries();
        let state = |entry: roster::Entry| ServerState {
            server: (*entry.server).clone(),
            causes: entry.identity.causes(),
            check: self.0.checked.of(upstream, entry.identity.id),
            circuit: entry.identity.circuit(),
            left_out_by: entry.identity.left_out_by(),
            failure: entry
                .identity
                .failure
                .get()
                .filter(|_| entry.identity.left_out_by() > 0)
                .map(|f| f.to_string()),
            outlier: self.0.compared.why(upstream, entry.identity.id),
            in_flight: loads.at(cluster.counters.id(), entry.identity.id),
        };
        Ok(entries.into_iter().map(state).collect())
    }

    /// Says that a server of an upstream must not be used for this cause (`bad`), or that the cause is over. All workers
    /// see it at once. Whether that is news; a server that is not in the list is none.
    ///
    /// # Errors
    /// When there is no such upstream, or TLS cannot ask for the server's host.
    pub fn mark_server(
        &self,
        upstream: &str,
        server: &Server,
        cause: Cause,
        bad: bool,
    ) -> Result<bool, ServersError> {
        let cluster = self.cluster(upstream)?;
        let key = roster::key(server, cluster.spec.tls.as_ref()).map_err(|error| ServersError::Name {
            upstream: upstream.to_owned(),
            problem: error.to_string(),
        })?;
        let identity = cluster.roster.find(&key);
        Ok(identity.is_some_and(|identity| cluster.roster.mark(&identity, cause, bad)))
    }

    fn cluster(&self, upstream: &str) -> Result<Arc<Cluster>, ServersError> {
        let snapshot = self.state().snapshot.clone();
        let mut clusters = snapshot.iter().flat_map(|snapshot| &snapshot.clusters);
        let found = clusters.find(|cluster| cluster.spec.name == upstream).cloned();
        found.ok_or_else(|| ServersError::NoUpstream { upstream: upstream.to_owned() })
    }
}
