//! A server as one worker sees it: its connections, the requests that are there, and how it fares.
//!
//! Requests hold it, so that it outlives its place in the list until the last of them is over.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::upstream::balance::latency::Latency;
use crate::upstream::ejection;
use crate::upstream::outliers::tally::Tally;
use crate::upstream::pool::Connections;
use crate::upstream::roster::Entry;
use crate::upstream::server::{Identity, Server};

/// See the module.
// In this order: what picks look at is in one line of the cache with the counts of who holds it. Among ten thousand
// servers each further line, and each pointer that is followed, is memory that no cache holds.
#[repr(C)]
pub(crate) struct Member {
    /// Of its identity.
    id: usize,
    /// Of what the list says.
    weight: Cell<u32>,
    /// Requests in flight.
    pub(crate) in_flight: Cell<u32>,
    /// As the balancer knows it: it can be used.
    well: Cell<bool>,
    gone: Cell<bool>,
    /// How long its answers take, where that counts.
    pub(crate) latency: Latency,
    /// Who it is.
    pub(crate) identity: Arc<Identity>,
    /// What the list says of it.
    server: RefCell<Arc<Server>>,
    pub(crate) connections: Connections,
    /// Whether this worker leaves it out.
    pub(crate) ejection: ejection::State,
    /// What is counted for comparisons, where servers are compared.
    pub(crate) tally: Option<Arc<Tally>>,
    /// Since when it comes to its whole share.
    young: Cell<Option<Duration>>,
}

impl Member {
    /// Without a connection. `compared`: what it does is counted for comparisons.
    pub(crate) fn new(entry: Entry, compared: bool) -> Rc<Self> {
        Rc::new(Self {
            tally: compared.then(|| entry.identity.tallies.join()),
            well: Cell::new(entry.identity.is_usable()),
            young: Cell::default(),
            latency: Latency::default(),
            id: entry.identity.id,
            weight: Cell::new(entry.server.weight),
            identity: entry.identity,
            server: RefCell::new(entry.server),
            in_flight: Cell::default(),
            connections: Connections::default(),
            ejection: ejection::State::default(),
            gone: Cell::default(),
        })
    }

    /// Of no other server of the upstream, ever.
    #[inline]
    pub(crate) fn id(&self) -> usize {
        self.id
    }

    /// What the list says of it.
    pub(crate) fn server(&self) -> Arc<Server> {
        self.server.borrow().clone()
    }

    /// The list says something else; what it said before.
    pub(super) fn becomes(&self, server: Arc<Server>) -> Arc<Server> {
        self.weight.set(server.weight);
        self.server.replace(server)
    }

    /// Whether it can be used, as far as this worker knows: no cause against it, and not left out.
    pub(crate) fn is_well(&self) -> bool {
        self.well.get()
    }

    /// Looks whether it can be used: whether that has changed.
    pub(super) fn looks_well(&self) -> bool {
        let well = self.identity.is_usable() && !self.ejection.is_out();
        self.well.replace(well) != well
    }

    /// Since when it comes to its whole share of requests; none: it has it.
    pub(super) fn young_since(&self) -> Option<Duration> {
        self.young.get()
    }

    /// Sets that; what it was before.
    pub(super) fn set_young(&self, since: Option<Duration>) -> Option<Duration> {
        self.young.replace(since)
    }

    /// Its share.
    pub(crate) fn weight(&self) -> u32 {
        self.weight.get()
    }

    /// Where it can be reached as well.
    pub(crate) fn also(&self) -> Vec<SocketAddr> {
        self.server.borrow().also.clone()
    }

    /// It is no longer in the list: connections that idle are closed, others when they become free.
    pub(super) fn leave(&self) {
        self.gone.set(true);
        self.connections.close();
    }

    /// Whether it has left.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.get()
    }
}
