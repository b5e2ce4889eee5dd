//! What commands show a gateway's admin API: a token, a certificate, or both; and whom they trust.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue};
use tidegate_config::plan::{CertificateFiles, ClientTls};
use tidegate_proxy::{Assets, client_side};

use crate::fetch::Client;

/// How a command asks an admin API.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Credentials {
    /// The admin API's token, where it wants one.
    #[arg(long, env = "TIDEGATE_ADMIN_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// PEM file of the authorities that the admin API's certificate comes from; else those of the system.
    #[arg(long, value_name = "FILE", env = "TIDEGATE_ADMIN_CA")]
    pub(crate) ca: Option<PathBuf>,
    /// PEM file of the certificate to show, with its chain.
    #[arg(long, value_name = "FILE", env = "TIDEGATE_ADMIN_CERT", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// PEM file of its private key.
    #[arg(long, value_name = "FILE", env = "TIDEGATE_ADMIN_KEY", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// Name that the admin API's certificate must be for; else the host of its address.
    #[arg(long, value_name = "NAME")]
    pub(crate) server_name: Option<String>,
}

impl Credentials {
    /// A client that trusts and shows what was said.
    pub(crate) fn client(&self) -> Result<Client> {
        let Self { ca, cert, key, server_name, .. } = self;
        if ca.is_none() && cert.is_none() && server_name.is_none() {
            return Client::new(None).map_err(anyhow::Error::msg);
        }
        let mut files = HashMap::new();
        for path in [ca, cert, key].into_iter().flatten() {
            files.insert(path.clone(), read(path)?);
        }
        let certificate = cert.clone().zip(key.clone()).map(|(cert, key)| CertificateFiles { cert, key });
        let settings = ClientTls { server_name: server_name.clone(), ca: ca.clone(), certificate };
        let assets = Assets { files, ..Assets::default() };
        let config = client_side(&settings, &assets).map_err(|error| anyhow!("{error}"))?;
        Ok(Client::with(config, server_name.clone()))
    }

    /// The fields that every request has.
    pub(crate) fn headers(&self) -> Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.token {
            let mut value =
                HeaderValue::try_from(format!("Bearer {token}")).context("the token is no header value")?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(headers)
    }
}

fn read(path: &Path) -> Result<Arc<[u8]>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes.into())
}
