//! A cluster: the servers of an upstream as every worker sees them. Immutable; what changes is each worker's pool.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tidegate_config::plan;

use crate::shared::UpstreamCounters;

/// The servers of one upstream.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// As it was written.
    pub(crate) spec: plan::Upstream,
    /// One for each address that a server's name has.
    pub(crate) servers: Vec<Server>,
    /// TLS towards the servers.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// The same for clients' bytes, of which nobody knows what they speak.
    pub(crate) tls_for_bytes: Option<Arc<ClientConfig>>,
    /// The files that TLS was made of.
    pub(crate) made_of: Vec<Arc<[u8]>>,
    /// What the metrics show of it.
    pub(crate) counters: Arc<UpstreamCounters>,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// Its share.
    pub(crate) weight: u32,
    /// The name that its certificate must have.
    pub(crate) name: Option<ServerName<'static>>,
}
