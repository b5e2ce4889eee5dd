//! A ring of hashes on which each server has points by its weight; a key belongs to the server of the next point.
//!
//! The ring is cut into buckets, each a line of the CPU's cache with its points in it, so that a key's server is found by
//! one look into memory that no cache holds. Made by whoever changes the servers, for all workers.

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::upstream::balance::key;
use crate::upstream::roster::{Entry, Roster};
use crate::upstream::server::{Server, mixed};

/// Points of a server of average weight, or up to twice as many.
const POINTS: u64 = 160;
/// Points for which a bucket has room.
const ROOM: usize = 16;
/// Points in a bucket, on average at most; one in eight of such buckets has more than it has room for.
const FULL: usize = 13;
/// Points in a bucket on average below which there are fewer buckets.
const SPARSE: usize = 3;
/// A change takes as long as copying the ring takes for so many servers.
const DEAR: usize = 64;
/// No point.
const NONE: u32 = u32::MAX;
/// Bits of a point's 32 that may tell whose it is. Slots beyond them, 268 million, have no points.
const MOST_BITS: u32 = 28;

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
        let few = kept.missed.len() * DEAR <= kept.shown.owners.len();
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

/// The points of one bucket in their order. Of a point it has the bits behind those that tell the bucket, above the slot of
/// the server whose it is.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Bucket([u32; ROOM]);

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

    /// How many points it is to have, where those of one weight are [`POINTS`].
    fn due(self, unit: u64) -> u32 {
        u32::try_from((POINTS * u64::from(self.weight) / unit.max(1)).max(1)).unwrap_or(u32::MAX)
    }
}

/// See the module. Servers of weight 0 are not on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ring {
    /// Their number is a power of two.
    buckets: Vec<Bucket>,
    /// By bucket: the points for which it has no room, behind those that it has.
    beyond: FxHashMap<usize, Vec<u32>>,
    points: usize,
    /// The lowest bits of a point, which tell whose it is.
    bits: u32,
    /// By slot.
    owners: Vec<Option<Owner>>,
    servers: u64,
    total: u64,
    /// The weight that has [`POINTS`] points: a power of two, so that it seldom changes.
    unit: u64,
}

impl Ring {
    /// Whose the key is, then who would be next, and so on, by slots; some more than once.
    pub(crate) fn from(&self, key: u64) -> Walk<'_> {
        let (bucket, rest) = self.spot(key);
        Walk { ring: self, bucket, at: self.seek((bucket, rest), key), left: self.points }
    }

    /// The bucket of a point, and what the bucket has of it.
    #[inline]
    fn spot(&self, point: u64) -> (usize, u32) {
        // The buckets are fewer than 2^32. Twice, since none of 64 bits can be shifted by 64.
        let bits = self.buckets.len().max(1).trailing_zeros();
        ((point >> 1 >> (63 - bits)) as usize, (point << bits >> 32) as u32 >> self.bits)
    }

    /// How many points of its bucket are before this one.
    #[inline]
    fn seek(&self, (bucket, rest): (usize, u32), point: u64) -> usize {
        let Some(Bucket(known)) = self.buckets.get(bucket) else { return 0 };
        let least = rest << self.bits;
        let before = known.iter().map(|known| u32::from(*known < least)).sum::<u32>() as usize;
        match known.get(before) {
            Some(next) if next >> self.bits != rest => before,
            _ => self.seek_exactly((bucket, rest), point),
        }
    }

    /// The same where the bucket does not tell, since it has not all of a point, or is not all there is.
    #[cold]
    fn seek_exactly(&self, (bucket, rest): (usize, u32), point: u64) -> usize {
        let before = self.points_of(bucket).take_while(|known| known >> self.bits < rest).count();
        let equal = self.points_of(bucket).skip(before).take_while(|known| known >> self.bits == rest);
        let mut slots: Vec<usize> = equal.map(|known| self.slot(known)).collect();
        slots.sort_unstable();
        slots.dedup();
        let owners = slots.into_iter().filter_map(|slot| self.owners.get(slot).copied().flatten());
        let points = owners.flat_map(|owner| (0..owner.points).map(move |n| place(owner.hash, n)));
        before + points.filter(|known| self.spot(*known) == (bucket, rest) && *known < point).count()
    }

    fn points_of(&self, bucket: usize) -> impl Iterator<Item = u32> {
        let here = self.buckets.get(bucket).map(|bucket| bucket.0.as_slice()).unwrap_or_default();
        here.iter().chain(self.beyond.get(&bucket).into_iter().flatten()).copied().take_while(|p| *p != NONE)
    }

    fn slot(&self, point: u32) -> usize {
        (point & ((1 << self.bits) - 1)) as usize
    }

    /// The `at`th point of a bucket that has no room for it.
    #[cold]
    fn beyond(&self, bucket: usize, at: usize) -> Option<u32> {
        self.beyond.get(&bucket)?.get(at.checked_sub(ROOM)?).copied()
    }

    /// Slots have other servers, or other weights, each slot once.
    fn change(&mut self, changes: &[Change]) {
        for (slot, after) in changes {
            if self.owners.len() <= *slot {
                self.owners.resize(slot + 1, None);
            }
            let before = self.owners.get(*slot).copied().flatten();
            self.servers = self.servers + u64::from(after.is_some()) - u64::from(before.is_some());
            let weight = |owner: Option<Owner>| owner.map_or(0, |owner| u64::from(owner.weight));
            self.total = self.total + weight(*after) - weight(before);
        }
        let average = self.total / self.servers.max(1);
        let unit = 1 << average.max(1).ilog2();
        if unit != self.unit || !self.has_room(changes) {
            return self.begin_anew(unit, changes);
        }
        for (slot, after) in changes {
            let has = |owner: &Option<Owner>| owner.map(|owner| (owner.hash, owner.weight));
            if self.owners.get(*slot).and_then(has) != has(after) {
                self.leave(*slot);
                self.set(*slot, *after);
                self.enter(*slot);
            }
        }
    }

    /// Whether the buckets are as many as they should be after these changes, and the bits tell all slots.
    fn has_room(&self, changes: &[Change]) -> bool {
        let of = |owner: &Option<Owner>| owner.map_or(0, |owner| owner.due(self.unit) as usize);
        let come: usize = changes.iter().map(|(_, after)| of(after)).sum();
        let gone = changes.iter().filter_map(|(slot, _)| self.owners.get(*slot));
        let points = (self.points + come).saturating_sub(gone.map(of).sum());
        let buckets = self.buckets.len();
        points <= buckets * FULL
            && (points >= buckets * SPARSE || buckets == 1)
            && bits(self.owners.len()) <= self.bits
    }

    /// Puts all points onto a ring of as many buckets as they want.
    fn begin_anew(&mut self, unit: u64, changes: &[Change]) {
        changes.iter().for_each(|(slot, after)| self.set(*slot, *after));
        self.unit = unit;
        let points: usize = self.owners.iter().flatten().map(|owner| owner.due(unit) as usize).sum();
        // With room for as many servers again.
        self.bits = bits(self.owners.len() * 2);
        self.buckets = vec![Bucket([NONE; ROOM]); points.div_ceil(FULL).next_power_of_two()];
        self.beyond.clear();
        self.points = 0;
        self.owners.iter_mut().flatten().for_each(|owner| owner.points = 0);
        (0..self.owners.len()).for_each(|slot| self.enter(slot));
    }

    fn set(&mut self, slot: usize, owner: Option<Owner>) {
        if let Some(place) = self.owners.get_mut(slot) {
            *place = owner;
        }
    }

    /// Puts the points of a slot's server on the ring.
    fn enter(&mut self, slot: usize) {
        let Some(owner) = self.owners.get(slot).copied().flatten() else { return };
        let Some(number) = u32::try_from(slot).ok().filter(|_| bits(slot + 1) <= self.bits) else { return };
        for n in 0..owner.due(self.unit) {
            let point = place(owner.hash, n);
            let (bucket, rest) = self.spot(point);
            let at = self.seek((bucket, rest), point);
            self.insert(bucket, at, rest << self.bits | number);
            // One by one: those that are not there yet do not count where another one is put.
            self.set(slot, Some(Owner { points: n + 1, ..owner }));
        }
    }

    fn insert(&mut self, bucket: usize, at: usize, point: u32) {
        let Some(Bucket(known)) = self.buckets.get_mut(bucket) else { return };
        self.points += 1;
        let Some(behind) = known.get_mut(at..).filter(|behind| !behind.is_empty()) else {
            let beyond = self.beyond.entry(bucket).or_default();
            return beyond.insert((at - ROOM).min(beyond.len()), point);
        };
        behind.rotate_right(1);
        let last = behind.first_mut().map_or(NONE, |first| std::mem::replace(first, point));
        if last != NONE {
            self.beyond.entry(bucket).or_default().insert(0, last);
        }
    }

    /// Takes the points of a slot's server from the ring.
    fn leave(&mut self, slot: usize) {
        let Some(owner) = self.owners.get(slot).copied().flatten() else { return };
        for n in 0..owner.points {
            let (bucket, rest) = self.spot(place(owner.hash, n));
            let mut points = self.points_of(bucket);
            // Which of several that are alike does not matter: all of them go.
            let found = points.position(|known| known >> self.bits == rest && self.slot(known) == slot);
            drop(points);
            if let Some(at) = found {
                self.remove(bucket, at);
            }
        }
    }

    fn remove(&mut self, bucket: usize, at: usize) {
        let Some(Bucket(known)) = self.buckets.get_mut(bucket) else { return };
        self.points -= 1;
        let Some(beyond) = self.beyond.get_mut(&bucket) else {
            if let Some(behind) = known.get_mut(at..) {
                behind.rotate_left(1);
                behind.last_mut().into_iter().for_each(|last| *last = NONE);
            }
            return;
        };
        let next = beyond.remove(at.saturating_sub(ROOM));
        if let Some(behind) = known.get_mut(at..).filter(|behind| !behind.is_empty()) {
            behind.rotate_left(1);
            behind.last_mut().into_iter().for_each(|last| *last = next);
        }
        if beyond.is_empty() {
            self.beyond.remove(&bucket);
        }
    }
}

/// The points from one on, once around the ring: the slots of those whose they are.
pub(crate) struct Walk<'a> {
    ring: &'a Ring,
    bucket: usize,
    at: usize,
    left: usize,
}

impl Iterator for Walk<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        loop {
            let Bucket(known) = self.ring.buckets.get(self.bucket)?;
            let point = match known.get(self.at) {
                Some(point) => Some(*point).filter(|point| *point != NONE),
                None => self.ring.beyond(self.bucket, self.at),
            };
            if let Some(point) = point {
                self.at += 1;
                return Some(self.ring.slot(point));
            }
            self.at = 0;
            self.bucket = (self.bucket + 1) & (self.ring.buckets.len() - 1);
        }
    }
}

/// The `n`th point of a server.
fn place(hash: u64, n: u32) -> u64 {
    mixed(hash ^ mixed(u64::from(n) + 1))
}

/// How many bits tell so many slots, and no slot from a point that is none.
fn bits(slots: usize) -> u32 {
    (slots + 1).next_power_of_two().trailing_zeros().clamp(1, MOST_BITS)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The ring of these servers, by slots.
    pub(crate) fn ring_of(entries: impl IntoIterator<Item = (usize, Entry)>) -> Arc<Ring> {
        let mut ring = Ring::default();
        let changes: Vec<Change> =
            entries.into_iter().map(|(slot, entry)| (slot, Owner::new(&entry))).collect();
        ring.change(&changes);
        Arc::new(ring)
    }

    fn owner(n: u64, weight: u32) -> Option<Owner> {
        // Not a hash that a number of a point has too.
        Some(Owner { hash: mixed(n + (1 << 40)), weight, points: 0 })
    }

    /// What a ring is to say: all points in one order.
    fn all_points(owners: &[Option<Owner>], unit: u64) -> BTreeMap<u64, usize> {
        let of =
            |(slot, owner): (usize, Owner)| (0..owner.due(unit)).map(move |n| (place(owner.hash, n), slot));
        owners.iter().enumerate().filter_map(|(slot, owner)| Some((slot, (*owner)?))).flat_map(of).collect()
    }

    fn is_right(ring: &Ring, what: &str) {
        let all = all_points(&ring.owners, ring.unit);
        assert_eq!(ring.points, all.len(), "{what}");
        // Keys anywhere, at points, and around them, where a bucket does not know enough.
        let near =
            all.keys().step_by(all.len() / 200 + 1).flat_map(|p| [*p, p.wrapping_sub(1), p.wrapping_add(1)]);
        for key in (0..300).map(mixed).chain(near).chain([0, 1, u64::MAX]) {
            let expected = all.range(key..).chain(all.range(..key)).map(|(_, slot)| *slot);
            let (wanted, found): (Vec<_>, Vec<_>) =
                (expected.take(90).collect(), ring.from(key).take(90).collect());
            assert_eq!(found, wanted, "{what}: {key:x}");
        }
        assert_eq!(ring.from(7).count(), all.len(), "{what}: once around");
    }

    #[test]
    fn it_says_what_a_sorted_list_of_all_points_says_through_all_changes() {
        let mut ring = Ring::default();
        is_right(&ring, "nobody");
        for n in 0..60 {
            ring.change(&[(n, owner(n as u64, 1 + n as u32 % 5))]);
            is_right(&ring, &format!("{n} has come"));
        }
        for n in (0..60).step_by(3) {
            ring.change(&[(n, owner(n as u64, 9)), (n + 1, None), (n + 2, owner(n as u64 + 900, 2))]);
            is_right(&ring, &format!("{n} and two more have changed"));
        }
        for n in 0..60 {
            ring.change(&[(n, None)]);
            is_right(&ring, &format!("{n} has gone"));
        }
    }

    #[test]
    fn points_that_a_bucket_cannot_tell_apart_are_in_their_order() {
        // Of the points of slots that large a bucket knows few bits: most of them look alike to it.
        let mut ring = Ring::default();
        let far = (1 << (MOST_BITS - 6)) - 20;
        for n in 0..20 {
            ring.change(&[(far + n, owner(n as u64, 1))]);
        }
        let bits = ring.bits;
        assert!(bits >= 22 && !ring.beyond.is_empty(), "{bits}");
        is_right(&ring, "many alike");
        for n in (0..20).step_by(2) {
            ring.change(&[(far + n, owner(n as u64 + 100, 1))]);
            is_right(&ring, &format!("{n} is another one"));
        }
    }

    #[test]
    fn a_ring_that_a_worker_still_has_does_not_change() {
        let roster = Roster::default();
        let shared = Shared::default();
        let server = |n: u16| Server::new(([10, 2, 3, 4], n).into());
        let keys = |ring: &Ring| (0..200).map(|key| ring.from(mixed(key)).next()).collect::<Vec<_>>();
        roster.put(&(1..=200).map(server).collect::<Vec<_>>(), None).expect("no TLS");
        shared.catch_up(&roster, |_| true);
        let mut held = Vec::new();
        for n in 201..=230 {
            roster.amend(&[server(n)], &[server(n - 200)], None).expect("no TLS");
            shared.catch_up(&roster, |_| true);
            let ring = shared.ring();
            is_right(&ring, &format!("change {n}"));
            // Some workers are slow, others have let go before the next change.
            if n % 3 > 0 {
                held.push((keys(&ring), ring));
            }
            assert!(held.iter().all(|(keys_then, ring)| keys(ring) == *keys_then), "change {n}");
            if n % 5 == 0 {
                held.clear();
            }
        }
    }

    #[test]
    fn a_thousand_servers_have_their_shares_and_one_that_goes_moves_no_others() {
        let all: Vec<Change> = (0..1000).map(|n| (n, owner(n as u64, 1))).collect();
        let mut ring = Ring::default();
        ring.change(&all);
        let keys = |ring: &Ring| {
            (0..100_000).map(|key| ring.from(mixed(key + (1 << 50))).next()).collect::<Vec<_>>()
        };
        let before = keys(&ring);
        let count = |slot| before.iter().filter(|known| **known == Some(slot)).count();
        let most = (0..1000).map(count).max();
        assert!(most < Some(160), "{most:?} of 100 on average");
        let mut moved = 0;
        for one in all.iter().take(10) {
            let gone = one.0;
            ring.change(&[(gone, None)]);
            let without = keys(&ring);
            let differ = |(one, other): &(&Option<usize>, &Option<usize>)| one != other;
            let moves: Vec<_> = before.iter().zip(&without).filter(differ).collect();
            assert!(moves.iter().all(|(before, _)| **before == Some(gone)), "only its own keys");
            moved += moves.len();
            ring.change(&[*one]);
        }
        assert!(
            moved * 10 <= 100_000 * 10 * 11 / 1000,
            "{moved} of 100,000 keys by ten of a thousand servers"
        );
        assert!(keys(&ring) == before);
    }
}
