//! A cluster: an upstream as every worker sees it. Immutable but for its roster; what else changes is each worker's pool.

use std::sync::Arc;

use rustls::ClientConfig;
use tidegate_config::plan;
use tidegate_wasm::CertificateDetails;

use crate::shared::UpstreamCounters;
use crate::upstream::roster::Roster;

/// One upstream.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// As it was written, without its servers.
    pub(crate) spec: plan::Upstream,
    /// Its servers. A cluster whose list alone has changed is the same one.
    pub(crate) roster: Roster,
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
