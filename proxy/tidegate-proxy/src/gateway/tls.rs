//! TLS of the admin API and of those who ask one: made as for listeners and upstreams, and served by whoever asks for it.

use std::fmt;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use tidegate_config::plan::{self, Protocol, UpstreamProtocol};

use super::certificates::{CertificateUse, of_files};
use crate::snapshot::{Assets, BuildError, tls};

/// The TLS side of a server that is no listener. It speaks HTTP/1.1.
pub struct ServerSide {
    /// For handshakes.
    pub config: Arc<ServerConfig>,
    /// What clients are shown.
    pub certificates: Vec<CertificateUse>,
}

impl fmt::Debug for ServerSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerSide").field("certificates", &self.certificates).finish_non_exhaustive()
    }
}

impl ServerSide {
    /// Of files that were read. `name` stands where a listener's would in what is told of certificates.
    ///
    /// # Errors
    /// When a file is missing, or is not what it is meant for.
    pub fn build(name: &str, settings: &plan::ServerTls, assets: &Assets) -> Result<Self, BuildError> {
        let (config, names) = tls::server(settings, Protocol::Tls, assets)?;
        let mut config = Arc::unwrap_or_clone(config);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let certificates = of_files(name, settings, &names);
        Ok(Self { config: Arc::new(config), certificates })
    }
}

/// The TLS side of a client that asks by HTTP/1.1.
///
/// # Errors
/// When a file is missing, or is not what it is meant for.
pub fn client_side(settings: &plan::ClientTls, assets: &Assets) -> Result<Arc<ClientConfig>, BuildError> {
    tls::client(settings, UpstreamProtocol::Http1, assets)
}
