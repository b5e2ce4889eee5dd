//! Where the servers of an upstream come from, and how they are checked.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where the servers of an upstream come from when they are not written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discover {
    /// Names in DNS.
    Dns(DnsSource),
    /// A file with a list.
    File(PathBuf),
    /// A web server that answers with a list.
    Http(HttpSource),
    /// A service in Consul's catalog.
    Consul(ConsulSource),
}

impl Discover {
    /// `dns`, `srv`, `file`, `http` or `consul`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dns(DnsSource { records: DnsRecords::Addresses { .. }, .. }) => "dns",
            Self::Dns(DnsSource { records: DnsRecords::Srv, .. }) => "srv",
            Self::File(_) => "file",
            Self::Http(_) => "http",
            Self::Consul(_) => "consul",
        }
    }

    /// What is asked, as it may be shown.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            Self::Dns(source) => source.name.clone(),
            Self::File(path) => path.display().to_string(),
            // A query may hold a secret.
            Self::Http(source) => source.url.split('?').next().unwrap_or_default().to_owned(),
            Self::Consul(source) => format!("{}/{}", source.address, source.service),
        }
    }
}

impl fmt::Display for Discover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.place())
    }
}

/// Who is asked for names, and for how long answers hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolver {
    /// None: the system's name servers.
    pub address: Option<SocketAddr>,
    /// Answers are kept at least this long (default 5 s).
    pub min_ttl: Duration,
    /// Answers are kept at most this long (default 5 min).
    pub max_ttl: Duration,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { address: None, min_ttl: Duration::from_secs(5), max_ttl: Duration::from_secs(300) }
    }
}

/// A name in DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsSource {
    /// The name.
    pub name: String,
    /// The records that are asked for.
    pub records: DnsRecords,
    /// Who is asked; none: the system's name servers.
    pub resolver: Option<SocketAddr>,
    /// Answers are kept at least this long (default 5 s).
    pub min_ttl: Duration,
    /// Answers are kept at most this long (default 5 min).
    pub max_ttl: Duration,
}

/// Records of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DnsRecords {
    /// Addresses; servers are at this port.
    Addresses {
        /// The port of all servers.
        port: u16,
        /// A records.
        ipv4: bool,
        /// AAAA records.
        ipv6: bool,
    },
    /// SRV: names with ports, weights and priorities.
    Srv,
}

/// A web server that answers with a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSource {
    /// `http://` or `https://`.
    pub url: String,
    /// Header fields of the requests.
    pub headers: SecretFields,
    /// How long the server may hold a request (default 30 s).
    pub wait: Duration,
    /// The shortest time between requests to a server that does not hold them (default 5 s).
    pub interval: Duration,
    /// Trusted authorities; none: the system's.
    pub ca: Option<PathBuf>,
}

/// A service in Consul's catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsulSource {
    /// The URL of the HTTP API, without a slash at its end.
    pub address: String,
    /// The service's name.
    pub service: String,
    /// None: the agent's own.
    pub datacenter: Option<String>,
    /// An instance must have all of them.
    pub tags: Vec<String>,
    /// Only instances that pass all of their checks (default true).
    pub passing: bool,
    /// The fields of the requests that hold the token.
    pub headers: SecretFields,
    /// How long a query waits for a change (default 5 min).
    pub wait: Duration,
    /// Trusted authorities; none: the system's.
    pub ca: Option<PathBuf>,
}

/// Header fields whose values may be secrets: their `Debug` form does not show them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretFields(pub Vec<(String, String)>);

impl fmt::Debug for SecretFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// How servers are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// What is done.
    pub probe: Probe,
    /// Time between checks of a settled server (default 10 s).
    pub interval: Duration,
    /// Time between checks of one that is not settled (default 1 s).
    pub unsettled_interval: Duration,
    /// The longest time of a check (default 2 s).
    pub timeout: Duration,
    /// How far an interval may differ by chance, in percent (default 10).
    pub jitter: u32,
    /// Good results in a row that make a server healthy (default 2).
    pub healthy_after: u32,
    /// Bad results in a row that make a server unhealthy (default 3).
    pub unhealthy_after: u32,
    /// Whether a new server gets requests before it was checked (default true).
    pub initially_healthy: bool,
    /// The port; none: the server's.
    pub port: Option<u16>,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.probe {
            Probe::Http { path, method, .. } => write!(f, "checked by {method} {path}")?,
            Probe::Grpc { service, .. } if service.is_empty() => f.write_str("checked by gRPC")?,
            Probe::Grpc { service, .. } => write!(f, "checked by gRPC for {service}")?,
            Probe::Tcp { .. } => f.write_str("checked by TCP")?,
        }
        write!(f, " every {:?}", self.interval)
    }
}

/// What a check does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// A request.
    Http {
        /// With a query, if wanted.
        path: String,
        /// None: the server's address.
        host: Option<String>,
        /// The method.
        method: String,
        /// Further header fields.
        headers: SecretFields,
        /// Statuses of a good answer; empty: 200 to 299.
        statuses: Vec<u16>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// Empty: the server as a whole.
        service: String,
        /// None: the server's address.
        authority: Option<String>,
    },
    /// A connection.
    Tcp {
        /// What is sent.
        send: Vec<u8>,
        /// What must come back; empty: nothing is waited for.
        expect: Vec<u8>,
    },
}

/// Servers that are left out because they differ from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outliers {
    /// How often the servers are compared (default 10 s).
    pub interval: Duration,
    /// By the share of requests that succeed.
    pub success_rate: Option<SuccessRate>,
    /// By how long answers take.
    pub latency: Option<Latency>,
}

/// Servers that fail much more often than the others are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuccessRate {
    /// A server is looked at when it had so many requests in an interval (default 100).
    pub requests: u64,
    /// They are compared when so many servers can be looked at (default 5).
    pub servers: usize,
    /// How many standard deviations below the mean is too low, in thousandths (default 1900).
    pub deviations: u32,
}

/// Servers that are much slower than the others are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// A server is looked at when it had so many requests in an interval (default 20).
    pub requests: u64,
    /// They are compared when so many servers can be looked at (default 3).
    pub servers: usize,
    /// How many times the others' median is too slow, in thousandths (default 3000).
    pub factor: u32,
    /// What is compared, in thousandths: 990 is the time that 99 of 100 answers stay below (default 900).
    pub quantile: u32,
    /// A server that answers within this time is not slow, whatever the others do (default 10 ms).
    pub least: Duration,
}
