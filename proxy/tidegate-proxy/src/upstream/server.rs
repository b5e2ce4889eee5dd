//! A server of an upstream: what a list says of it, who it is, and whether it may be used.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::pki_types::ServerName;

use crate::upstream::dial;
use crate::upstream::failure::Last;
use crate::upstream::outliers::tally::Tallies;

/// A server as a list names it; see [`crate::Gateway::put_servers`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Where it is.
    pub address: SocketAddr,
    /// Where it can be reached as well: tried beside the first address when that does not answer soon (RFC 8305).
    pub also: Vec<SocketAddr>,
    /// The name by which it was found: over TLS its certificate must have it, unless the upstream names another.
    pub host: Option<String>,
    /// Its share; 0: it gets no requests.
    pub weight: u32,
    /// Where it stands.
    pub zone: Option<Arc<str>>,
    /// 0 is asked first; those of a higher number when too few of the lower ones can be used.
    pub priority: u32,
    /// What subsets are chosen by.
    pub labels: BTreeMap<String, String>,
}

impl Server {
    /// One at this address, of weight 1 and priority 0.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            also: Vec::new(),
            host: None,
            weight: 1,
            zone: None,
            priority: 0,
            labels: BTreeMap::new(),
        }
    }

    /// One that can be reached at all of these; none without an address.
    #[must_use]
    pub fn together(addresses: &[SocketAddr]) -> Option<Self> {
        let mut all = dial::interleaved(addresses).into_iter();
        Some(Self { also: all.by_ref().skip(1).collect(), ..Self::new(*addresses.first()?) })
    }
}

/// Why a server is not used, for whichever worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// An active check failed.
    Check,
    /// It is worse than the others.
    Outlier,
    /// The list's source says that it is not well.
    Source,
}

impl Cause {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Check, Self::Outlier, Self::Source];

    /// As logs and metrics call it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Outlier => "outlier",
            Self::Source => "source",
        }
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// What tells one server from another, whatever list it is in: address and TLS name.
pub(crate) type Key = (SocketAddr, Option<ServerName<'static>>);

/// Who a server is. There is one for as long as it is in its upstream's lists; all workers share it.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Of no other server that its upstream ever had.
    pub(crate) id: usize,
    /// Where it is.
    pub(crate) address: SocketAddr,
    /// The name that its certificate must have.
    pub(crate) name: Option<ServerName<'static>>,
    /// What workers count of it, where servers are compared.
    pub(crate) tallies: Tallies,
    /// The causes for which it is not used. Zero, it is.
    causes: AtomicU32,
    /// Workers that leave it out because it failed.
    left_out: AtomicU32,
    /// For what one of them did so last.
    pub(crate) failure: Last,
    /// Of these, those that try it with a request now.
    tried: AtomicU32,
}

/// Whether requests go to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Circuit {
    /// They do.
    Closed,
    /// They do not, of one worker at least.
    Open,
    /// One request is trying it.
    HalfOpen,
}

impl Circuit {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// As the admin API and metrics call it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

impl Identity {
    /// A server that can be used.
    pub(crate) fn new(id: usize, (address, name): Key) -> Self {
        Self {
            id,
            address,
            name,
            causes: AtomicU32::default(),
            left_out: AtomicU32::default(),
            failure: Last::default(),
            tried: AtomicU32::default(),
            tallies: Tallies::default(),
        }
    }

    /// Whether requests may go there, as far as all workers know.
    #[inline]
    pub(crate) fn is_usable(&self) -> bool {
        self.causes.load(Ordering::Relaxed) == 0
    }

    /// A worker leaves it out from now on, or no longer.
    pub(crate) fn leave_out(&self, out: bool) {
        count(&self.left_out, out);
    }

    /// A worker tries it with a request, or that is over.
    pub(crate) fn attempt(&self, begins: bool) {
        count(&self.tried, begins);
    }

    /// Workers that leave it out because it failed.
    pub(crate) fn left_out_by(&self) -> u32 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Whether requests go there.
    pub(crate) fn circuit(&self) -> Circuit {
        if self.tried.load(Ordering::Relaxed) > 0 {
            Circuit::HalfOpen
        } else if !self.is_usable() || self.left_out_by() > 0 {
            Circuit::Open
        } else {
            Circuit::Closed
        }
    }

    /// Why it is not used.
    pub(crate) fn causes(&self) -> Vec<Cause> {
        let causes = self.causes.load(Ordering::Relaxed);
        Cause::ALL.into_iter().filter(|cause| causes & cause.bit() != 0).collect()
    }

    /// Sets a cause or takes it away; whether that changed anything. By [`super::roster::Roster::mark`] only.
    pub(super) fn mark(&self, cause: Cause, bad: bool) -> bool {
        let before = match bad {
            true => self.causes.fetch_or(cause.bit(), Ordering::Relaxed),
            false => self.causes.fetch_and(!cause.bit(), Ordering::Relaxed),
        };
        (before & cause.bit() != 0) != bad
    }
}

/// Spreads a number over all of its bits (the finalizer of MurmurHash3).
#[inline]
pub(crate) fn mixed(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

fn count(cell: &AtomicU32, up: bool) {
    let change = |known: u32| Some(if up { known.saturating_add(1) } else { known.saturating_sub(1) });
    // The function always has a next value.
    _ = cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
}
