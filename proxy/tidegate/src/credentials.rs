//! What commands show a gateway's admin API: a token, a certificate, or both; and whom they trust.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{HeaderMap, Uri};
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

/// An admin API as a command asks it.
pub(crate) struct Asking {
    pub(crate) client: Client,
    /// What is asked for, there.
    pub(crate) url: Uri,
    /// The fields that every request has.
    pub(crate) headers: HeaderMap,
}

impl Credentials {
    /// How to ask the API at `admin`, the address of one or `unix:` and the path of its socket, for `path`.
    pub(crate) fn asking(&self, admin: &str, path: &str) -> Result<Asking> {
        let wrong = || {
            format!(
                "{admin:?} is not the address of an admin API, as http://127.0.0.1:9900 and unix:/run/tidegate.sock are"
            )
        };
        let (client, base) = match admin.strip_prefix("unix:") {
            Some("") => bail!("{}", wrong()),
            // The API is asked for by a name that it goes by.
            Some(socket) => (self.client()?.at_socket(PathBuf::from(socket)), "http://localhost"),
            None => (self.client()?, admin.trim_end_matches('/')),
        };
        let url: Uri = format!("{base}{path}").parse().with_context(wrong)?;
        if !matches!(url.scheme_str(), Some("http" | "https")) {
            bail!("{}", wrong());
        }
        Ok(Asking { client, url, headers: self.headers()? })
    }

    /// A client that trusts and shows what was said.
    fn client(&self) -> Result<Client> {
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

    fn headers(&self) -> Result<HeaderMap> {
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
