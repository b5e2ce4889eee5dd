//! Certificates for tests, made on the spot.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::client::WantsClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, SupportedCipherSuite};

/// A certificate authority of one test.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate chain and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The chain.
    pub cert: String,
    /// The private key.
    pub key: String,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one.
    ///
    /// # Panics
    /// If no key can be made.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names is valid");
        // Named as what it issues, it would make that look signed by itself to OpenSSL's kin.
        params.distinguished_name.push(DnType::CommonName, "authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().expect("keys can be made");
        Self { issuer: CertifiedIssuer::self_signed(params, key).expect("the parameters are complete") }
    }

    /// The authority's own certificate in PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for these names; those with a scheme are URIs.
    ///
    /// # Panics
    /// If a name is not valid.
    pub fn issue(&self, names: &[&str]) -> Certificate {
        let (uris, names): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
        let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names).expect("a test uses valid names");
        let uris = uris.into_iter().map(|uri| uri.try_into().expect("a test uses valid names"));
        params.subject_alt_names.extend(uris.map(SanType::URI));
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("the parameters are complete");
        Certificate { cert: certificate.pem(), key: key.serialize_pem() }
    }

    /// A client's configuration that trusts this authority.
    pub fn client_config(&self, protocols: &[&str]) -> ClientConfig {
        let mut config = self.client_builder().with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// The same for HTTP/1.1 with a certificate of the client's own.
    ///
    /// # Panics
    /// If the certificate was changed.
    pub fn client_config_with(&self, certificate: &Certificate) -> ClientConfig {
        let (chain, key) = certificate.parts();
        let config = self.client_builder().with_client_auth_cert(chain, key);
        config.expect("key and certificate belong together")
    }

    fn client_builder(&self) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("the authority is a certificate");
        ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("there are default versions")
            .with_root_certificates(roots)
    }
}

impl Certificate {
    /// The leaf in DER.
    ///
    /// # Panics
    /// If the PEM was changed.
    pub fn leaf(&self) -> Vec<u8> {
        CertificateDer::from_pem_slice(self.cert.as_bytes()).expect("made by this module").as_ref().to_vec()
    }

    /// SHA-256 of the leaf, in hexadecimal.
    ///
    /// # Panics
    /// If the PEM was changed.
    pub fn sha256(&self) -> String {
        let SupportedCipherSuite::Tls13(suite) = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 else {
            unreachable!("its name says so")
        };
        let digest = suite.common.hash_provider.hash(&self.leaf());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A server's configuration with this certificate.
    ///
    /// # Panics
    /// If rustls has no protocol version.
    pub fn server_config(&self, protocols: &[&str]) -> ServerConfig {
        let (chain, key) = self.parts();
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("there are default versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("key and certificate belong together");
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::pem_slice_iter(self.cert.as_bytes()).collect::<Result<_, _>>();
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        (chain.expect("made by this module"), key.expect("made by this module"))
    }
}
