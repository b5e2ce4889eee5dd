//! `tls` of listeners and of upstreams. Certificates and keys are named by file; nothing is read here.

use schemars::JsonSchema;
use serde::Deserialize;

/// The TLS side of a listener.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerTls {
    /// Picked by server name; the first one where no name fits.
    #[schemars(length(min = 1))]
    pub certificates: Vec<Certificate>,
    /// Ask clients for a certificate.
    pub client_auth: Option<ClientAuthDocument>,
}

/// PEM files of a certificate chain and its private key.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Certificate {
    /// File with the chain, leaf first.
    pub cert: String,
    /// File with the private key.
    pub key: String,
}

/// Client certificates.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ClientAuth")]
pub struct ClientAuthDocument {
    /// PEM file of the authorities that clients' certificates come from.
    pub ca: String,
    /// Whether clients without a certificate are refused. Default: `required`.
    pub mode: Option<ClientAuthMode>,
}

/// Whether clients without a certificate are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ClientAuthMode {
    /// Refused.
    Required,
    /// Served; a certificate that is shown must still be valid.
    Optional,
}

/// TLS towards servers.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpstreamTls {
    /// Name that is asked for and verified. Default: the host of the server's address.
    pub server_name: Option<String>,
    /// PEM file of trusted authorities. Default: those of the system.
    pub ca: Option<String>,
    /// The gateway's own certificate.
    pub client_certificate: Option<Certificate>,
}
