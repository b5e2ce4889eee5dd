//! A server as one worker sees it: its connections, the requests that are there, and how it fares.
//!
//! Requests hold it, so that it outlives its place in the list until the last of them is over.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::upstream::ejection;
use crate::upstream::outliers::tally::Tally;
use crate::upstream::pool::Connections;
use crate::upstream::roster::Entry;
use crate::upstream::server::{Identity, Server};

/// See the module.
pub(crate) struct Member {
    /// Who it is.
    pub(crate) identity: Arc<Identity>,
    /// What the list says of it.
    server: RefCell<Arc<Server>>,
    /// Requests in flight.
    pub(crate) in_flight: Cell<u32>,
    pub(crate) connections: Connections,
    /// Whether this worker leaves it out.
    pub(crate) ejection: ejection::State,
    /// What is counted for comparisons, where servers are compared.
    pub(crate) tally: Option<Arc<Tally>>,
    gone: Cell<bool>,
}

impl Member {
    /// Without a connection. `compared`: what it does is counted for comparisons.
    pub(crate) fn new(entry: Entry, compared: bool) -> Rc<Self> {
        Rc::new(Self {
            tally: compared.then(|| entry.identity.tallies.join()),
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
        self.identity.id
    }

    /// The list says something else.
    pub(super) fn becomes(&self, server: Arc<Server>) {
        *self.server.borrow_mut() = server;
    }

    /// Its share.
    pub(crate) fn weight(&self) -> u32 {
        self.server.borrow().weight
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
