//! PEM files -> TLS configurations, with errors that say which file and what would be right.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tidegate_config::plan::{self, UpstreamProtocol};
use tidegate_wasm::CertificateDetails;

use crate::http::certificate;
use crate::snapshot::Assets;
use crate::snapshot::build::BuildError;

/// Where distributions keep the authorities that the system trusts.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Empty where the system has none.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    if let Some(certificates) = BUNDLES.iter().find_map(|bundle| CertificateDer::pem_file_iter(bundle).ok()) {
        roots.add_parsable_certificates(certificates.filter_map(Result::ok));
    }
    roots
}

fn bytes<'a>(assets: &'a Assets, path: &Path) -> Result<&'a [u8], BuildError> {
    assets.files.get(path).map(AsRef::as_ref).ok_or_else(|| BuildError::Missing { path: path.into() })
}

fn wrong(path: &Path, problem: impl ToString) -> BuildError {
    BuildError::Tls { path: path.into(), problem: problem.to_string() }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// What is wrong with a PEM file; the library shows its lines as the numbers of their bytes.
fn why(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("the line that ends {} is missing; is it cut off?", String::from_utf8_lossy(end_marker))
        }
        pem::Error::IllegalSectionStart { line } => {
            format!("\"{}\" begins no part", String::from_utf8_lossy(line).trim_end())
        }
        pem::Error::NoItemsFound => "there is none in it".to_owned(),
        error => error.to_string(),
    }
}

fn chain(assets: &Assets, path: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(bytes(assets, path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(path, format!("not a PEM file of certificates: {}", why(&error))))?;
    if chain.is_empty() {
        return Err(wrong(path, "no certificate in it; wanted: a PEM file, leaf first"));
    }
    Ok(chain)
}

fn key(assets: &Assets, path: &Path) -> Result<PrivateKeyDer<'static>, BuildError> {
    PrivateKeyDer::from_pem_slice(bytes(assets, path)?)
        .map_err(|error| wrong(path, format!("not a PEM file with a private key: {}", why(&error))))
}

fn roots(assets: &Assets, path: &Path) -> Result<RootCertStore, BuildError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(assets, path)? {
        roots.add(certificate).map_err(|error| wrong(path, format!("not an authority: {error}")))?;
    }
    Ok(roots)
}

fn certified(assets: &Assets, files: &plan::CertificateFiles) -> Result<Arc<CertifiedKey>, BuildError> {
    let chain = chain(assets, &files.cert)?;
    let cert = files.cert.display();
    let certified = CertifiedKey::from_der(chain, key(assets, &files.key)?, &provider());
    certified.map(Arc::new).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => wrong(
            &files.key,
            format!("is the private key of another certificate than the first one in {cert}"),
        ),
        error => wrong(&files.key, format!("does not go with {cert}: {error}")),
    })
}

fn contents<'a>(assets: &Assets, paths: impl Iterator<Item = &'a PathBuf>) -> Vec<Arc<[u8]>> {
    paths.filter_map(|path| assets.files.get(path).cloned()).collect()
}

/// The files that [`server`] reads.
pub(crate) fn files_of_server(tls: &plan::ServerTls, assets: &Assets) -> Vec<Arc<[u8]>> {
    let pairs = tls.certificates.iter().flat_map(|files| [&files.cert, &files.key]);
    contents(assets, pairs.chain(tls.client_auth.iter().map(|auth| &auth.ca)))
}

/// The files that [`client`] reads.
pub(crate) fn files_of_client(tls: &plan::ClientTls, assets: &Assets) -> Vec<Arc<[u8]>> {
    let pair = tls.certificate.iter().flat_map(|files| [&files.cert, &files.key]);
    contents(assets, pair.chain(&tls.ca))
}

/// The TLS side of a listener.
pub(crate) fn server(
    tls: &plan::ServerTls,
    protocol: plan::Protocol,
    assets: &Assets,
) -> Result<(Arc<ServerConfig>, Arc<ByName>), BuildError> {
    let certificates = tls
        .certificates
        .iter()
        .map(|files| Certificate::new(certified(assets, files)?, &files.cert))
        .collect::<Result<Vec<_>, _>>()?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(BuildError::plan)?;
    let builder = match &tls.client_auth {
        None => builder.with_no_client_auth(),
        Some(auth) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots(assets, &auth.ca)?), provider());
            let verifier = if auth.required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| wrong(&auth.ca, error))?)
        }
    };
    let names = Arc::new(ByName(certificates));
    let mut config = builder.with_cert_resolver(names.clone());
    if protocol.is_http() {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    // Tickets hold the session, so that nothing is kept in memory for clients that do not come back.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(BuildError::plan)?;
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    Ok((Arc::new(config), names))
}

/// The TLS side towards servers.
pub(crate) fn client(
    tls: &plan::ClientTls,
    protocol: UpstreamProtocol,
    assets: &Assets,
) -> Result<Arc<ClientConfig>, BuildError> {
    let roots = match &tls.ca {
        Some(ca) => roots(assets, ca)?,
        None => system_roots(),
    };
    if roots.is_empty() {
        return Err(BuildError::plan("the system has no trusted authorities; name some by `ca`"));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(BuildError::plan)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(BuildError::plan)?
        .with_webpki_verifier(verifier);
    let mut config = match &tls.certificate {
        None => builder.with_no_client_auth(),
        Some(files) => builder
            .with_client_auth_cert(chain(assets, &files.cert)?, key(assets, &files.key)?)
            .map_err(|error| wrong(&files.key, error))?,
    };
    config.alpn_protocols = match protocol {
        UpstreamProtocol::Http1 => vec![b"http/1.1".to_vec()],
        UpstreamProtocol::Http2 => vec![b"h2".to_vec()],
        UpstreamProtocol::Redis => Vec::new(),
        UpstreamProtocol::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

/// What the gateway's own certificate towards servers says, where it has one.
pub(crate) fn identity(
    tls: &plan::ClientTls,
    assets: &Assets,
) -> Result<Option<Arc<CertificateDetails>>, BuildError> {
    let Some(files) = &tls.certificate else { return Ok(None) };
    Ok(chain(assets, &files.cert)?.first().map(|leaf| Arc::new(certificate::details(leaf))))
}

/// The same without a protocol: what the bytes are is between client and server.
pub(crate) fn client_for_bytes(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols.clear();
    // A session of one protocol must not be resumed for another.
    config.resumption = rustls::client::Resumption::default();
    Arc::new(config)
}

/// A certificate with the names that it is for.
#[derive(Debug)]
struct Certificate {
    key: Arc<CertifiedKey>,
    leaf: CertificateDer<'static>,
}

impl Certificate {
    fn new(key: Arc<CertifiedKey>, path: &Path) -> Result<Self, BuildError> {
        let leaf = key.end_entity_cert().map_err(|error| wrong(path, error))?.clone().into_owned();
        rustls::server::ParsedCertificate::try_from(&leaf)
            .map_err(|error| wrong(path, format!("not a certificate that can be used: {error}")))?;
        Ok(Self { key, leaf })
    }

    fn is_for(&self, name: &str) -> bool {
        let Ok(name) = rustls::pki_types::ServerName::try_from(name) else { return false };
        rustls::server::ParsedCertificate::try_from(&self.leaf)
            .is_ok_and(|leaf| rustls::client::verify_server_name(&leaf, &name).is_ok())
    }
}

/// Picks the first certificate that is for the client's server name, else the first one.
#[derive(Debug)]
pub(crate) struct ByName(Vec<Certificate>);

impl ByName {
    /// Whether the name matters at all.
    pub(crate) fn is_many(&self) -> bool {
        self.0.len() > 1
    }

    /// The certificate that a client is shown which asks for this name, or for none.
    pub(crate) fn leaf(&self, name: Option<&str>) -> Option<&CertificateDer<'static>> {
        let index = name.filter(|_| self.is_many()).map_or(0, |name| self.index(name));
        self.0.get(index).map(|certificate| &certificate.leaf)
    }

    /// Those of all certificates, in the order of the configuration.
    pub(crate) fn leaves(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0.iter().map(|certificate| &certificate.leaf)
    }

    /// The number of the certificate that a client is shown which asks for this name.
    pub(crate) fn index(&self, name: &str) -> usize {
        self.0.iter().position(|certificate| certificate.is_for(name)).unwrap_or(0)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let index = match hello.server_name() {
            Some(name) if self.is_many() => self.index(name),
            _ => 0,
        };
        self.0.get(index).map(|certificate| certificate.key.clone())
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::why;

    #[test]
    fn a_broken_pem_file_is_told_in_words() {
        let of = |text: &str| {
            let first = CertificateDer::pem_slice_iter(text.as_bytes()).next().expect("something is there");
            why(&first.expect_err("it is broken"))
        };
        let told = of("-----BEGIN CERTIFICATE-----\nMIIB\n");
        assert_eq!(told, "the line that ends CERTIFICATE is missing; is it cut off?");
        let told = of("-----BEGIN CERTIFICATE--\nMIIB\n-----END CERTIFICATE-----\n");
        assert_eq!(told, "\"-----BEGIN CERTIFICATE--\" begins no part");
        let none = PrivateKeyDer::from_pem_slice(b"nothing").expect_err("there is no key");
        assert_eq!(why(&none), "there is none in it");
    }
}
