//! A cluster: an upstream as every worker sees it. Immutable but for its roster; what else changes is each worker's pool.

use std::sync::Arc;

use rustls::ClientConfig;
use tidegate_config::plan;
use tidegate_wasm::CertificateDetails;

use crate::shared::UpstreamCounters;
use crate::upstream::ring;
use crate::upstream::roster::Roster;
use crate::upstream::server::Server;
use crate::upstream::session::Session;
use crate::upstream::table;

/// One upstream.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// As it was written, without its servers.
    pub(crate) spec: plan::Upstream,
    /// Its servers, those of another cluster where it is a subset. A cluster whose list alone has changed is the same one.
    pub(crate) roster: Arc<Roster>,
    /// What keys they have, where a table says that.
    pub(crate) table: Option<table::Shared>,
    /// The same, where a ring says it.
    pub(crate) ring: Option<ring::Shared>,
    /// What keeps a client at one server.
    pub(crate) session: Option<Arc<Session>>,
    /// TLS towards the servers.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// The same for clients' bytes, of which nobody knows what they speak.
    pub(crate) tls_for_bytes: Option<Arc<ClientConfig>>,
    /// The gateway's certificate towards the servers, for guests that ask.
    pub(crate) identity: Option<Arc<CertificateDetails>>,
    /// The files that TLS was made of.
    pub(crate) made_of: Vec<Arc<[u8]>>,
    /// What the metrics show of it.
    pub(crate) counters: Arc<UpstreamCounters>,
}

impl Cluster {
    /// The servers have changed: what is made of all of them follows. Workers are told afterwards.
    pub(crate) fn settle(&self) {
        if let Some(table) = &self.table {
            table.catch_up(&self.roster, |server| self.has(server));
        }
        if let Some(ring) = &self.ring {
            ring.catch_up(&self.roster, |server| self.has(server));
        }
    }

    /// Whether a server of the roster is one of the cluster's.
    pub(crate) fn has(&self, server: &Server) -> bool {
        let Some(subset) = &self.spec.subset else { return true };
        subset.labels.iter().all(|(label, value)| server.labels.get(label) == Some(value))
    }
}
