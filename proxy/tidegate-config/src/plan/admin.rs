//! The admin API.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::{ClientTls, ServerTls};

/// Where the admin API is and who may use it. Its `Debug` form does not show the token.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; none: at no address.
    pub address: Option<SocketAddr>,
    /// The TLS side of `address`; none: clear text.
    pub tls: Option<ServerTls>,
    /// The Unix socket at which it listens as well.
    pub socket: Option<PathBuf>,
    /// What clients must know; none: whoever reaches it may use it.
    pub token: Option<String>,
    /// What the gateway is called beside others; none: as the machine is.
    pub name: Option<String>,
    /// The admin API that is told what this gateway counts: `http` or `https`, host, no path.
    pub push: Option<Push>,
    /// Names of plugins, or VM ids, whose shared data is shown and set.
    pub shared_data: Vec<String>,
    /// Whether releases and canaries are steered by it.
    pub steers: bool,
    /// Whether it sets log levels, reloads and ends the process.
    pub operates: bool,
    /// What taps may show.
    pub tap: TapSettings,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Admin { address, tls, socket, token, name, push, shared_data, steers, operates, tap } = self;
        f.debug_struct("Admin")
            .field("address", address)
            .field("tls", tls)
            .field("socket", socket)
            .field("name", name)
            .field("push", &push.as_ref().map(|push| &push.url))
            .field("shared_data", shared_data)
            .field("steers", steers)
            .field("operates", operates)
            .field("tap", tap)
            .field("has_token", &token.is_some())
            .finish()
    }
}

/// Where a gateway pushes what it counts.
#[derive(Clone, PartialEq, Eq)]
pub struct Push {
    /// The other's admin API, without a slash at its end.
    pub url: String,
    /// What it wants to be told.
    pub token: Option<String>,
    /// How it is asked by `https`; none: the system's authorities are trusted.
    pub tls: Option<ClientTls>,
}

/// What taps may show of live requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapSettings {
    /// Whether first bytes of bodies may be asked for.
    pub bodies: bool,
    /// Names, in lower case, of fields whose values are taken out; one that ends in `*` stands for all that begin so.
    pub secret_headers: Vec<String>,
    /// Names of query parameters whose values are taken out.
    pub secret_query: Vec<String>,
}

impl Default for TapSettings {
    fn default() -> Self {
        let secret_headers = SECRETS.map(str::to_owned).to_vec();
        Self { bodies: false, secret_headers, secret_query: Vec::new() }
    }
}

/// Fields whose values are taken out unless something else is said.
pub(crate) const SECRETS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];
