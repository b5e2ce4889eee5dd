//! How a server of an upstream is chosen.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Session;

/// How a server is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// In turn, by weight.
    RoundRobin,
    /// The one with fewest requests of some random ones (default).
    LeastRequest,
    /// The one of two random ones whose answer is likely to come first.
    PeakEwma,
    /// Any, by weight.
    Random,
    /// By a hash of the request, on a ring.
    RingHash,
    /// By a hash of the request, in a table.
    Maglev,
}

impl Balance {
    /// As it is written in a document.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::RoundRobin => "roundRobin",
            Self::LeastRequest => "leastRequest",
            Self::PeakEwma => "peakEwma",
            Self::Random => "random",
            Self::RingHash => "ringHash",
            Self::Maglev => "maglev",
        }
    }

    /// Whether requests are told apart by a key.
    #[must_use]
    pub fn is_by_key(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev)
    }
}

/// The details of the choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balancing {
    /// Of how many random servers the least loaded one is taken (default 2).
    pub choices: usize,
    /// How fast latencies are forgotten (default 10 s).
    pub decay: Duration,
    /// What requests are known by: the first that is there (default: the client's address).
    pub hash: Vec<HashOn>,
    /// The most of the mean load that one server gets by its hash, in percent; none: no bound.
    pub bounded_load: Option<u32>,
    /// The time in which a new server comes to its whole share; none: it has it at once.
    pub slow_start: Option<Duration>,
    /// Where less of the servers, in percent, can be used, all are (default 0).
    pub panic_threshold: u32,
    /// Where the gateway is, whose servers are preferred.
    pub zone: Option<String>,
    /// Requests of a client stay at one server.
    pub session: Option<Session>,
}

impl Default for Balancing {
    fn default() -> Self {
        Self {
            choices: 2,
            decay: Duration::from_secs(10),
            hash: vec![HashOn::Address],
            bounded_load: None,
            slow_start: None,
            panic_threshold: 0,
            zone: None,
            session: None,
        }
    }
}

/// Something that a request is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashOn {
    /// The client's address, without its port.
    Address,
    /// The value of a header; the name is valid and lower case.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
    /// The value of a query parameter.
    Query(String),
}

impl std::fmt::Display for HashOn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address => f.write_str("address"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
            Self::Query(name) => write!(f, "query {name}"),
        }
    }
}

/// An upstream that is a part of another one's servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subset {
    /// The other one, which comes before it.
    pub of: usize,
    /// What its servers have.
    pub labels: BTreeMap<String, String>,
}
