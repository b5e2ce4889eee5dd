//! A table of places among which keys are shared out, as Maglev has one, and one step from key to server.
//!
//! Each server wants all places in an order of its own; a place is whose it is soonest, those of larger weight being
//! faster. So a server that comes or goes moves its own places and no other. Made by whoever changes the servers, for
//! all workers.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use crate::upstream::balance::key;
use crate::upstream::roster::{Entry, Roster};
use crate::upstream::server::{Server, mixed};

/// Places: a prime, so that each step leads through all of them.
const PLACES: u64 = 65_537;
/// A place that is nobody's.
pub(crate) const NOBODY: u32 = u32::MAX;
/// How many times its share of the places a server asks for, so that none is left over.
const ASKED: u64 = 20;

/// When a server of weight 1 is at the `n`th place of its order, as if it went at random times (an exponential
/// distribution, by which shares follow weights exactly).
static TIMES: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let time = |n: u64| -(1.0 - (n as f64 + 0.5) / PLACES as f64).ln();
    (0..PLACES).map(|n| time(n) as f32).collect()
});

/// The table of a cluster, as it is now.
#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<Table>);

impl Shared {
    /// Takes the changes of the servers since the last time.
    pub(crate) fn catch_up(&self, roster: &Roster, has: impl Fn(&Server) -> bool) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, changes) = roster.since(table.version);
        let wanted = |entry: &Entry| has(&entry.server);
        let changes: Vec<_> = changes.into_iter().map(|(slot, entry)| (slot, entry.filter(wanted))).collect();
        table.version = version;
        if !changes.is_empty() {
            table.change(changes);
            table.shown = table.places.iter().map(|(slot, _)| *slot).collect();
        }
    }

    /// By place: the roster's slot of the server whose it is. Held for as long as a pointer takes to be copied, but while
    /// servers change.
    pub(crate) fn places(&self) -> Arc<[u32]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).shown.clone()
    }
}

/// The place of a key.
#[inline]
pub(crate) fn place(key: u64) -> usize {
    (key % PLACES) as usize
}

#[derive(Debug, Default)]
struct Table {
    version: u64,
    shown: Arc<[u32]>,
    /// By place: whose it is, and since when.
    places: Vec<(u32, f32)>,
    /// By slot.
    owners: Vec<Option<Owner>>,
    total: u64,
}

/// A server: where its order begins, its step, and what undoes the step.
#[derive(Debug, Clone, Copy)]
struct Owner {
    slot: u32,
    hash: u64,
    first: u64,
    step: u64,
    back: u64,
    weight: u32,
}

impl Owner {
    fn new(slot: usize, entry: &Entry) -> Option<Self> {
        let hash = key::of_server(&entry.identity);
        let step = mixed(hash ^ 1) % (PLACES - 1) + 1;
        let weight = entry.server.weight;
        (weight > 0).then(|| Self {
            slot: u32::try_from(slot).unwrap_or(NOBODY),
            hash,
            first: hash % PLACES,
            step,
            back: power(step, PLACES - 2),
            weight,
        })
    }

    /// When it is at a place.
    fn time(&self, place: u64) -> f32 {
        let nth = (place + PLACES - self.first) % PLACES * self.back % PLACES;
        TIMES.get(nth as usize).copied().unwrap_or(f32::MAX) / self.weight as f32
    }
}

impl Table {
    fn change(&mut self, changes: Vec<(usize, Option<Entry>)>) {
        self.places.resize(PLACES as usize, (NOBODY, f32::MAX));
        let many = changes.len() > 8 && changes.len() * 4 > self.owners.len();
        for (slot, entry) in changes {
            if self.owners.len() <= slot {
                self.owners.resize(slot + 1, None);
            }
            let after = entry.and_then(|entry| Owner::new(slot, &entry));
            let Some(owner) = self.owners.get_mut(slot) else { continue };
            let before = std::mem::replace(owner, after);
            self.total += after.map_or(0, |owner| u64::from(owner.weight));
            self.total -= before.map_or(0, |owner| u64::from(owner.weight));
            if !many {
                before.iter().for_each(|owner| self.leave(owner.slot));
                after.iter().for_each(|owner| self.claim(owner));
            }
        }
        if many {
            self.places.fill((NOBODY, f32::MAX));
            let owners: Vec<Owner> = self.owners.iter().flatten().copied().collect();
            owners.iter().for_each(|owner| self.claim(owner));
            // What nobody asked for, which is next to never.
            self.leave(NOBODY);
        }
    }

    /// Takes the places at which a server is sooner than whose they are.
    fn claim(&mut self, owner: &Owner) {
        let asked = PLACES * ASKED * u64::from(owner.weight) / self.total.max(1) + ASKED;
        let mut place = owner.first;
        for time in TIMES.iter().take(asked.min(PLACES) as usize) {
            let time = time / owner.weight as f32;
            if self.is_sooner(owner, time, place)
                && let Some(known) = self.places.get_mut(place as usize)
            {
                *known = (owner.slot, time);
            }
            place = (place + owner.step) % PLACES;
        }
    }

    fn is_sooner(&self, owner: &Owner, time: f32, place: u64) -> bool {
        let Some((slot, known)) = self.places.get(place as usize) else { return false };
        let hash = || self.owners.get(*slot as usize).copied().flatten().map_or(u64::MAX, |other| other.hash);
        time < *known || time == *known && owner.hash < hash()
    }

    /// Gives the places of a slot to who is there next.
    fn leave(&mut self, slot: u32) {
        let owners: Vec<Owner> = self.owners.iter().flatten().copied().filter(|o| o.slot != slot).collect();
        for (place, known) in (0..).zip(&mut self.places).filter(|(_, known)| known.0 == slot) {
            let times = owners.iter().map(|owner| (owner.time(place), owner.hash, owner.slot));
            let soonest = times.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            *known = soonest.map_or((NOBODY, f32::MAX), |(time, _, slot)| (slot, time));
        }
    }
}

/// `base` to the power of `exponent`, modulo [`PLACES`].
fn power(mut base: u64, mut exponent: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = result * base % PLACES;
        }
        base = base * base % PLACES;
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(n: u16, weight: u32) -> Server {
        Server { weight, ..Server::new(([10, 1, 1, 1], n).into()) }
    }

    /// Ports by place.
    fn table(roster: &Roster, table: &Shared) -> Vec<u16> {
        table.catch_up(roster, |_| true);
        let entries = roster.since(0).1;
        let port = |slot: &u32| {
            let entry = entries.iter().find(|(known, _)| *known == *slot as usize);
            entry.and_then(|(_, entry)| Some(entry.as_ref()?.server.address.port())).unwrap_or(0)
        };
        table.places().iter().map(port).collect()
    }

    fn made(servers: &[Server]) -> Vec<u16> {
        let roster = Roster::default();
        roster.put(servers, None).expect("no TLS");
        table(&roster, &Shared::default())
    }

    fn share(table: &[u16], port: u16) -> f64 {
        table.iter().filter(|known| **known == port).count() as f64 / table.len() as f64
    }

    #[test]
    fn shares_follow_weights() {
        let all = made(&[server(1, 1), server(2, 2), server(3, 5)]);
        for (port, expected) in [(1, 0.125), (2, 0.25), (3, 0.625)] {
            let share = share(&all, port);
            assert!((share - expected).abs() < 0.01, "{port}: {share}");
        }
        let all = made(&(1..=20).map(|n| server(n, 1)).collect::<Vec<_>>());
        for port in 1..=20 {
            let share = share(&all, port);
            assert!((0.046..0.054).contains(&share), "{port}: {share}");
        }
    }

    #[test]
    fn one_that_goes_moves_its_own_places_only_and_comes_back_to_them() {
        let mut servers: Vec<Server> = (1..=10).map(|n| server(n, 1 + u32::from(n % 2))).collect();
        let roster = Roster::default();
        let shared = Shared::default();
        roster.put(&servers, None).expect("no TLS");
        let before = table(&roster, &shared);
        let gone = servers.remove(4);
        roster.put(&servers, None).expect("no TLS");
        let without = table(&roster, &shared);
        for (before, without) in before.iter().zip(&without) {
            assert!(before == without || *before == 5 && *without != 5);
        }
        roster.amend(&[gone], &[], None).expect("no TLS");
        assert!(table(&roster, &shared) == before, "the way that led here does not count");
    }

    #[test]
    fn the_same_servers_make_the_same_table_however_they_came() {
        let servers: Vec<Server> = (1..=30).map(|n| server(n, 1)).collect();
        let roster = Roster::default();
        let shared = Shared::default();
        for one in servers.iter().rev() {
            roster.amend(std::slice::from_ref(one), &[], None).expect("no TLS");
            shared.catch_up(&roster, |_| true);
        }
        assert!(table(&roster, &shared) == made(&servers));
        roster.put(&[], None).expect("no TLS");
        shared.catch_up(&roster, |_| true);
        assert!(shared.places().iter().all(|slot| *slot == NOBODY));
    }
}
