//! A source of servers: what it is asked, what it says, and when it is asked again.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_config::plan::{self, Discover, DnsSource};

use super::consul::Catalog;
use super::file::ListFile;
use super::http::Endpoint;
use super::names::{self, NameServers};

/// A server as a source names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    /// `host:port`; the host is an address or a name.
    pub(super) address: String,
    /// The name by which the address was found.
    pub(super) host: Option<String>,
    /// Its share.
    pub(super) weight: u32,
    /// 0 is asked first.
    pub(super) priority: u32,
    /// Where it stands.
    pub(super) zone: Option<String>,
    /// What subsets are chosen by.
    pub(super) labels: BTreeMap<String, String>,
}

impl Found {
    /// Of weight 1 and priority 0.
    pub(super) fn new(address: String) -> Self {
        Self { address, host: None, weight: 1, priority: 0, zone: None, labels: BTreeMap::new() }
    }

    /// An address of a name.
    pub(super) fn of_name(name: &str, address: std::net::SocketAddr) -> Self {
        Self { host: Some(name.to_owned()), ..Self::new(address.to_string()) }
    }

    /// As a list names it.
    pub(super) fn listed(server: plan::Server) -> Self {
        let plan::Server { address, weight, zone, priority, labels } = server;
        Self { address, host: None, weight, priority, zone, labels }
    }
}

/// What came of asking.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// These are the servers.
    Servers(Vec<Found>),
    /// What it said before still holds.
    Same,
}

/// What a source says, and how long it is left alone then.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) told: Told,
    /// Shortened by chance where it is long.
    pub(super) pause: Duration,
}

/// Why a source says nothing.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) why: String,
    /// It is of no use to wait: the source says itself when it has changed.
    pub(super) at_once: bool,
}

impl From<String> for Trouble {
    fn from(why: String) -> Self {
        Self { why, at_once: false }
    }
}

/// A source that is being followed.
pub(super) enum Source {
    Dns(Box<Dns>),
    File(ListFile),
    Http(Endpoint),
    Consul(Catalog),
}

impl Source {
    /// Nothing is asked yet.
    pub(super) fn new(spec: &Discover) -> Result<Self, String> {
        Ok(match spec {
            Discover::Dns(spec) => Self::Dns(Box::new(Dns {
                servers: NameServers::new(spec.resolver)?,
                spec: spec.clone(),
                before: Vec::new(),
            })),
            Discover::File(path) => Self::File(ListFile::new(path)),
            Discover::Http(spec) => Self::Http(Endpoint::new(spec)?),
            Discover::Consul(spec) => Self::Consul(Catalog::new(spec)?),
        })
    }

    /// Asks. Sources that say when they have changed answer when they have.
    pub(super) async fn ask(&mut self) -> Result<Turn, Trouble> {
        match self {
            Self::Dns(dns) => dns.ask().await.map_err(Trouble::from),
            Self::File(file) => file.ask().await,
            Self::Http(endpoint) => endpoint.ask().await.map_err(Trouble::from),
            Self::Consul(catalog) => catalog.ask().await.map_err(Trouble::from),
        }
    }
}

/// A name that is asked for again and again.
pub(super) struct Dns {
    servers: NameServers,
    spec: DnsSource,
    before: Vec<std::net::IpAddr>,
}

impl Dns {
    async fn ask(&mut self) -> Result<Turn, String> {
        let named = self.servers.ask(&self.spec, &self.before).await?;
        self.before = named.addresses;
        let pause = names::due((self.spec.min_ttl, self.spec.max_ttl), named.ttl);
        Ok(Turn { told: Told::Servers(named.servers), pause })
    }
}
