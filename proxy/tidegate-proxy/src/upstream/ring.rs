//! Rings of hashes on which each server has points by its weight. A key has several places there, and belongs to the
//! server of the point that comes soonest after one of them (multi-probe consistent hashing, Appleton and O'Reilly): so
//! shares are as even as with many more points in memory.
//!
//! Weights may be anything, points are memory. So each power of four of weights has a **tier**, a ring of its own, whose
//! points count for as much more than one of the first tier as its weights are larger: the way to one is so many times
//! shorter. A server's points follow from its own weight alone, and who comes, goes or gets another weight moves no key from
//! one other server to another. Made by whoever changes the servers, for all workers.

mod tier;
mod walk;

use std::sync::{Arc, Mutex, PoisonError};

use crate::upstream::balance::key;
use crate::upstream::roster::{Entry, Roster};
use crate::upstream::server::{Server, mixed};
use tier::{Look, Tier};
use walk::Walk;

/// Points of a server of weight 1. In each tier the lightest has so many; the heaviest has almost four times as many.
const POINTS: u64 = 32;
/// Bits by which the weights of one tier are larger than those of the one before.
const TIER_BITS: u32 = 2;
/// Tiers that there can be.
const TIERS: usize = (u32::BITS / TIER_BITS + 1) as usize;
/// Places of a key.
const PLACES: usize = 5;
/// A change takes as long as copying the ring takes for so many servers.
const DEAR: usize = 64;

/// The ring of a cluster, as it is now.
#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    version: u64,
    shown: Arc<Ring>,
    /// The ring before that. Once no worker has it any more it becomes the next one by the changes that it has missed.
    spare: Arc<Ring>,
    missed: Vec<Change>,
}

/// A slot of the roster, and whose it is now.
type Change = (usize, Option<Owner>);

impl Shared {
    /// Takes the changes of the servers since the last time.
    pub(crate) fn catch_up(&self, roster: &Roster, has: impl Fn(&Server) -> bool) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (version, changes) = roster.since(kept.version);
        let owner = |entry: Entry| if has(&entry.server) { Owner::new(&entry) } else { None };
        let changes: Vec<Change> =
            changes.into_iter().map(|(slot, entry)| (slot, entry.and_then(owner))).collect();
        kept.version = version;
        if changes.is_empty() {
            return;
        }
        let mut next = std::mem::take(&mut kept.spare);
        let few = kept.missed.len() * DEAR <= kept.shown.slots();
        match Arc::get_mut(&mut next) {
            Some(spare) if few => spare.change(&kept.missed),
            _ => next = kept.shown.clone(),
        }
        // Copies the one that is shown, where it did not become of the spare one.
        Arc::make_mut(&mut next).change(&changes);
        kept.spare = std::mem::replace(&mut kept.shown, next);
        kept.missed = changes;
    }

    /// The ring. Held for as long as a pointer takes to be copied, but while servers change.
    pub(crate) fn ring(&self) -> Arc<Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).shown.clone()
    }
}

/// A server on the ring.
#[derive(Debug, Clone, Copy)]
struct Owner {
    hash: u64,
    weight: u32,
    /// So many of its points are on the ring.
    points: u32,
}

impl Owner {
    fn new(entry: &Entry) -> Option<Self> {
        let weight = entry.server.weight;
        (weight > 0).then(|| Self { hash: key::of_server(&entry.identity), weight, points: 0 })
    }

    /// The number of its tier: how often its weight can be divided by four.
    fn level(self) -> u32 {
        self.weight.max(1).ilog2() / TIER_BITS
    }

    /// How many points it is to have. What does not come out even is rounded up from a share of its own on: so the shares
    /// of all come out right.
    fn due(self) -> u32 {
        let phase = self.hash & ((1 << (TIER_BITS * self.level())) - 1);
        let due = (u64::from(self.weight) * POINTS + phase) >> (TIER_BITS * self.level());
        // Less than five times `POINTS`.
        u32::try_from(due).unwrap_or(u32::MAX)
    }
}

/// See the module. Servers of weight 0 are not on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ring {
    /// Those that have servers, by their levels.
    tiers: Vec<Tier>,
}

impl Ring {
    /// Whose the key is: what [`Self::from`] begins with.
    #[inline]
    pub(crate) fn nearest(&self, key: u64) -> Option<usize> {
        match self.tiers.as_slice() {
            [only] => only.near(places(key)).map(|(_, slot)| slot),
            tiers => self.nearest_of(tiers, places(key)),
        }
    }

    /// The same of several tiers: looks into all of them first, then only where a nearer point may be.
    fn nearest_of(&self, tiers: &[Tier], places: [u64; PLACES]) -> Option<usize> {
        let mut looks = [Look::default(); TIERS];
        let mut bound = f64::INFINITY;
        // All that will be looked at is on its way to the CPU before the first of it is waited for.
        std::hint::black_box(tiers.iter().fold(0, |sum, tier| sum ^ tier.touch(places)));
        for (tier, look) in tiers.iter().zip(&mut looks) {
            *look = tier.look(places);
            if look.sure {
                bound = bound.min(tier.way(look.gap).1);
            }
        }
        let (mut best, mut next) = ((f64::INFINITY, f64::INFINITY, None), f64::INFINITY);
        for (tier, look) in tiers.iter().zip(looks) {
            if tier.way(look.gap).0 > bound {
                continue;
            }
            let Some((gap, slot)) = tier.found(look, places) else { continue };
            let (least, most) = tier.way(gap);
            if least < best.0 {
                next = best.0.min(next);
                best = (least, most, Some(slot));
            } else {
                next = least.min(next);
            }
        }
        if best.1 < next { best.2 } else { Walk::new(tiers, places).next() }
    }

    /// Whose the key is, then whose it would be without that point, and so on, by slots; some more than once. So a key goes
    /// to the same server whether another one is passed over or is not there.
    pub(crate) fn from(&self, key: u64) -> Walk<'_> {
        Walk::new(&self.tiers, places(key))
    }

    /// Slots have other servers, or other weights, each slot once.
    fn change(&mut self, changes: &[Change]) {
        for level in changes.iter().filter_map(|(_, after)| after.map(Owner::level)) {
            if let Err(at) = self.tiers.binary_search_by_key(&level, Tier::level) {
                self.tiers.insert(at, Tier::new(level));
            }
        }
        for tier in &mut self.tiers {
            let of_tier = |after: &Option<Owner>| after.filter(|owner| owner.level() == tier.level());
            let changes: Vec<Change> = changes.iter().map(|(slot, after)| (*slot, of_tier(after))).collect();
            tier.change(&changes);
        }
        self.tiers.retain(|tier| !tier.is_empty());
    }

    /// How many slots there are at least.
    fn slots(&self) -> usize {
        self.tiers.iter().map(Tier::slots).max().unwrap_or(0)
    }
}

/// The places of a key.
#[inline]
fn places(key: u64) -> [u64; PLACES] {
    // The first is the key. Not what `mixed` makes of it, by which parts of the requests are told.
    let mut places = [key; PLACES];
    for (n, place) in places.iter_mut().enumerate().skip(1) {
        *place = mixed(key ^ (n as u64).wrapping_mul(0xd1b5_4a32_d192_ed03));
    }
    places
}

/// The `n`th point of a server.
fn place(hash: u64, n: u32) -> u64 {
    mixed(hash ^ mixed(u64::from(n) + 1))
}

#[cfg(test)]
pub(crate) mod tests;
