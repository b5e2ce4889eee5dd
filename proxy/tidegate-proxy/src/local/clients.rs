//! The connections of clients to one worker, for those who ask what there is. Each is entered when it is accepted and taken
//! out at its end; requests do nothing for that. Bytes are those of its stream, which counts them to see that something moves.

use std::cell::RefCell;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use serde::Serialize;
use slab::Slab;

use crate::local::{Client, Site};
use crate::shared::PROTOCOLS;
use crate::transport::Pulse;

/// Which connections are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConnectionsWanted {
    /// At most so many.
    pub limit: usize,
    /// Those that have been there for longest; else the newest.
    pub oldest: bool,
    /// Those of this listener only.
    pub listener: Option<String>,
}

/// A client's connection.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionUse {
    /// The other end.
    pub client: SocketAddr,
    /// Which listener took it.
    pub listener: String,
    /// `http1`, `http2` or `bytes`; none: it shakes hands, or has said nothing yet.
    pub protocol: Option<&'static str>,
    /// It speaks TLS.
    pub tls: bool,
    /// Since it was accepted.
    pub age_seconds: f64,
    /// Requests that have begun on it.
    pub requests: u32,
    /// Of these, those that are not over.
    pub active: u32,
    /// Bytes that the client has sent, inside TLS.
    pub received: u64,
    /// Bytes that it was sent.
    pub sent: u64,
    /// The worker that serves it.
    pub worker: usize,
    /// Of no other connection of this worker; greater than those of all before it.
    pub id: u64,
}

/// A worker's.
#[derive(Default)]
pub(crate) struct Clients(RefCell<Slab<Entry>>);

/// What is known of a connection from its begin.
pub(crate) struct Entry {
    pub(crate) id: u64,
    pub(crate) address: SocketAddr,
    pub(crate) site: Rc<Site>,
    pub(crate) tls: bool,
    /// On the worker's clock.
    pub(crate) opened: Duration,
    /// What it speaks, once that is known.
    pub(crate) speaks: Option<Speaks>,
}

/// What a connection speaks.
pub(crate) struct Speaks {
    /// One of [`PROTOCOLS`].
    protocol: usize,
    client: Weak<Client>,
    pulse: Pulse,
}

impl Clients {
    /// A connection has come: its place here.
    pub(crate) fn enter(&self, entry: Entry) -> usize {
        self.0.borrow_mut().insert(entry)
    }

    /// It speaks one of [`PROTOCOLS`].
    pub(crate) fn speaks(&self, client: &Rc<Client>, protocol: usize, pulse: Pulse) {
        if let Some(entry) = self.0.borrow_mut().get_mut(client.entry) {
            entry.speaks = Some(Speaks { protocol, client: Rc::downgrade(client), pulse });
        }
    }

    /// It has ended.
    pub(crate) fn leave(&self, place: usize) {
        drop(self.0.borrow_mut().try_remove(place));
    }

    /// Those that are wanted, in the order in which they are.
    pub(crate) fn list(
        &self,
        wanted: &ConnectionsWanted,
        worker: usize,
        now: Duration,
    ) -> Vec<ConnectionUse> {
        let entries = self.0.borrow();
        let mut known: Option<(&Rc<Site>, bool)> = None;
        let is_of = |place| {
            let (Some(name), Some(entry)) = (&wanted.listener, entries.get(place)) else { return true };
            match known {
                // As that of the one before, mostly.
                Some((site, is_of)) if Rc::ptr_eq(site, &entry.site) => is_of,
                _ => known.insert((&entry.site, entry.site.is_named(name))).1,
            }
        };
        let ids = entries.iter().map(|(place, entry)| (entry.id, place));
        let first = first(ids, wanted, is_of).into_iter();
        first.filter_map(|place| Some(entries.get(place)?.told(worker, now))).collect()
    }
}

/// The places of those that are wanted, in the order in which they are. Whether one is of the listener is asked only where
/// that matters.
fn first(
    mut ids: impl DoubleEndedIterator<Item = (u64, usize)> + ExactSizeIterator,
    wanted: &ConnectionsWanted,
    mut is_of: impl FnMut(usize) -> bool,
) -> Vec<usize> {
    let mut first = BinaryHeap::with_capacity(wanted.limit.min(ids.len()));
    // From the end where they are mostly, so that few take the place of another.
    while let Some((id, place)) = if wanted.oldest { ids.next() } else { ids.next_back() } {
        let next = (if wanted.oldest { id } else { u64::MAX - id }, place);
        if first.len() < wanted.limit {
            if is_of(place) {
                first.push(next);
            }
        } else if let Some(mut last) = first.peek_mut()
            && next < *last
            && is_of(place)
        {
            *last = next;
        }
    }
    first.into_sorted_vec().into_iter().map(|(_, place)| place).collect()
}

impl Entry {
    fn told(&self, worker: usize, now: Duration) -> ConnectionUse {
        let speaks = self.speaks.as_ref();
        let client = speaks.and_then(|speaks| speaks.client.upgrade());
        let (requests, active) =
            client.map_or((0, 0), |client| (client.exchanges.begun(), client.exchanges.active()));
        let (received, sent) = speaks.map_or((0, 0), |speaks| (speaks.pulse.read(), speaks.pulse.written()));
        ConnectionUse {
            client: self.address,
            listener: self.site.name(),
            protocol: speaks.and_then(|speaks| PROTOCOLS.get(speaks.protocol).copied()),
            tls: self.tls,
            age_seconds: now.saturating_sub(self.opened).as_secs_f64(),
            requests,
            active,
            received,
            sent,
            worker,
            id: self.id,
        }
    }
}

/// The exchanges of a connection: how many have begun and how many are not over, in one number, so that both cost as much as
/// one of them.
#[derive(Debug, Default)]
pub(crate) struct Exchanges(std::cell::Cell<u64>);

/// One that has begun and is not over; the upper half counts what has begun.
const BEGINS: u64 = 1 << 32 | 1;

impl Exchanges {
    /// One more.
    #[inline]
    pub(crate) fn begin(&self) {
        self.0.set(self.0.get().wrapping_add(BEGINS));
    }

    /// One is over.
    #[inline]
    pub(crate) fn end(&self) {
        self.0.set(self.0.get().wrapping_sub(1));
    }

    /// Those that are not over.
    pub(crate) fn active(&self) -> u32 {
        self.0.get() as u32
    }

    /// All that have begun.
    pub(crate) fn begun(&self) -> u32 {
        (self.0.get() >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_found_wherever_they_are_and_the_others_cost_little() {
        let wanted = |limit, oldest| ConnectionsWanted { limit, oldest, listener: None };
        let ids = || vec![(5, 0), (3, 1), (9, 2), (1, 3), (7, 4)].into_iter();
        assert_eq!(first(ids(), &wanted(2, true), |_| true), [3, 1]);
        assert_eq!(first(ids(), &wanted(2, false), |_| true), [2, 4]);
        assert_eq!(first(ids(), &wanted(2, true), |place| place != 3), [1, 0]);
        assert_eq!(first(ids(), &wanted(9, false), |_| true), [2, 4, 0, 1, 3]);
        assert!(first(ids(), &wanted(0, true), |_| true).is_empty());

        for oldest in [true, false] {
            let mut asked = 0;
            let is_of = |_| {
                asked += 1;
                true
            };
            let many: Vec<_> = (0..100_000).zip(0..).collect();
            assert_eq!(first(many.into_iter(), &wanted(10, oldest), is_of).len(), 10);
            assert_eq!(asked, 10);
        }
    }

    #[test]
    fn exchanges_are_counted_from_both_ends() {
        let exchanges = Exchanges::default();
        (0..5).for_each(|_| exchanges.begin());
        (0..3).for_each(|_| exchanges.end());
        assert_eq!((exchanges.begun(), exchanges.active()), (5, 2));
        (0..2).for_each(|_| exchanges.end());
        assert_eq!((exchanges.begun(), exchanges.active()), (5, 0));
    }
}
