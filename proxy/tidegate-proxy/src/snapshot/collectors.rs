//! Who sends to the collectors of a plan: an exporter of the snapshot before where nothing about it has changed.

use rustls::pki_types::ServerName;
use tidegate_config::plan::{Otlp, UpstreamProtocol};

use super::build::BuildError;
use super::{Assets, tls};
use crate::telemetry::otlp::{Exporter, Secured, Signal};

/// One of `known`, or another one.
pub(super) fn exporter<'a, S: Signal>(
    otlp: &Otlp,
    assets: &Assets,
    mut known: impl Iterator<Item = &'a Exporter<S>>,
) -> Result<Exporter<S>, BuildError> {
    let made_of = otlp.tls.as_ref().map_or_else(Vec::new, |tls| tls::files_of_client(tls, assets));
    if let Some(same) = known.find(|exporter| exporter.is_of(otlp, &made_of)) {
        return Ok(same.clone());
    }
    let secured = match &otlp.tls {
        None => None,
        Some(tls) => {
            let protocol = if otlp.grpc { UpstreamProtocol::Http2 } else { UpstreamProtocol::Http1 };
            let host = otlp.authority.rsplit_once(':').map_or(&*otlp.authority, |(host, _)| host);
            let name = tls.server_name.as_deref().unwrap_or_else(|| host.trim_matches(['[', ']']));
            let name = ServerName::try_from(name.to_owned()).map_err(BuildError::plan)?;
            Some(Secured { config: tls::client(tls, protocol, assets)?, name, made_of })
        }
    };
    Exporter::start(otlp, secured).map_err(BuildError::plan)
}
