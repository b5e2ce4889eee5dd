//! A ring of hashes on which each server has points by its weight. A key has several places there, and belongs to the
//! server of the point that comes soonest after one of them (multi-probe consistent hashing, Appleton and O'Reilly): so
//! shares are as even as with many more points in memory.
//!
//! The ring is cut into buckets, each a line of the CPU's cache with its points in it. A key's places are looked at side by
//! side: none of these looks waits for another. Made by whoever changes the servers, for all workers.

mod walk;

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::upstream::balance::key;
use crate::upstream::roster::{Entry, Roster};
use crate::upstream::server::{Server, mixed};
use walk::{Head, Walk};

/// Points of a server of weight 1, while the average is at most [`LIGHT`].
const POINTS: u64 = 32;
/// The average weight beyond which a server of average weight has this many times [`POINTS`].
const LIGHT: u64 = 2;
/// Places of a key.
const PLACES: usize = 5;
/// Numbers in a line of the cache.
const LINE: usize = 16;
/// Points for which a bucket has room.
const ROOM: usize = LINE - 1;
/// Points in a bucket, on average at most; one in four of such buckets has more than it has room for.
const FULL: usize = 13;
/// The same of a ring that is made anew: one in ten.
const NEW: usize = 11;
/// Points in a bucket on average below which there are fewer buckets.
const SPARSE: usize = 3;
/// A change takes as long as copying the ring takes for so many servers.
const DEAR: usize = 64;
/// No point.
const NONE: u32 = u32::MAX;
/// The bit by which numbers with and without a sign differ in their order.
const SIGN: u32 = 1 << 31;
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

/// The points of one bucket in their order. Of a point it has 32 bits of where in the bucket it is, the lower of which are
/// the slot of the server whose it is. The last number is where that of which the bucket does not know begins: the first
/// point for which it has no room, or its end, both with a slot that is none.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Bucket([u32; LINE]);

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

    /// How many points it is to have, where so many are due to a weight of 1. Servers are rounded up from different shares
    /// of a point on: so they get another number one after the other, not all at once, when the average changes.
    fn due(self, density: f64) -> u32 {
        let phase = f64::from(self.hash as u32) / f64::from(u32::MAX);
        // Not negative, and cut off where there would be more.
        ((f64::from(self.weight) * density + phase) as u32).max(1)
    }
}

/// See the module. Servers of weight 0 are not on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ring {
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
    /// How many points are due to a weight of 1.
    density: f64,
}

impl Ring {
    /// Whose the key is: what [`Self::from`] begins with.
    #[inline]
    pub(crate) fn nearest(&self, key: u64) -> Option<usize> {
        // All places before the first look, and all looks before the first comparison.
        let places = places(key);
        let spots = places.map(|place| self.spot(place));
        let gaps = spots.map(|spot| self.gap(spot));
        let (mut gap, mut next) = (u32::MAX, u32::MAX);
        for known in gaps {
            next = next.min(gap.max(known));
            gap = gap.min(known);
        }
        // Without a jump, which nothing could foresee.
        let at = gaps.iter().zip(0..).fold(0, |at, (known, n)| if *known == gap { n } else { at });
        // What is cut off of a point and of a place makes a gap wrong by less than one.
        let sure = (next >> self.bits) - (gap >> self.bits) > 1
            && spots.get(at).is_some_and(|spot: &(usize, u32)| self.tells(*spot, gap));
        if sure { Some(self.slot(gap)) } else { self.nearest_beyond(places) }
    }

    /// The same where a bucket does not tell: about every eighth time.
    #[cold]
    fn nearest_beyond(&self, places: [u64; PLACES]) -> Option<usize> {
        let (mut least, mut next) = ((u64::MAX, 0), u64::MAX);
        for place in places {
            let spot = self.spot(place);
            let gap = self.gap(spot);
            let found = match self.tells(spot, gap) {
                true => (u64::from(gap >> self.bits), self.slot(gap)),
                false => Head::new(self, place).found()?,
            };
            next = next.min(least.0.max(found.0));
            least = least.min(found);
        }
        if next - least.0 > 1 { Some(least.1) } else { Walk::new(self, places).next() }
    }

    /// Whether a gap is that of one point, and of one that is behind the place.
    #[inline]
    fn tells(&self, (bucket, rest): (usize, u32), gap: u32) -> bool {
        let Some(Bucket(known)) = self.buckets.get(bucket) else { return false };
        let point = rest + (gap >> self.bits);
        let alike = known.iter().map(|known| u32::from(known >> self.bits == point)).sum::<u32>();
        gap >> self.bits > 0 && self.slot(gap) != self.no_slot() as usize && alike == 1
    }

    /// Whose the key is, then whose it would be without that point, and so on, by slots; some more than once. So a key goes
    /// to the same server whether another one is passed over or is not there.
    pub(crate) fn from(&self, key: u64) -> Walk<'_> {
        Walk::new(self, places(key))
    }

    /// The bucket of a point, and what the bucket has of it.
    #[inline]
    fn spot(&self, point: u64) -> (usize, u32) {
        let wide = u128::from(point) * self.buckets.len() as u128;
        ((wide >> 64) as usize, (wide as u64 >> 32) as u32 >> self.bits)
    }

    /// How far behind a place the next point of its bucket is, above that one's slot; no slot: it is not nearer than that.
    #[inline]
    fn gap(&self, (bucket, rest): (usize, u32)) -> u32 {
        let Some(Bucket(known)) = self.buckets.get(bucket) else { return self.no_slot() };
        let from = rest << self.bits;
        // The slot comes out as it is, since there are no bits below the place's own. What is before the place comes out
        // larger than the end of the bucket does. Compared with the sign turned: CPUs have that for many numbers at once.
        let turned = from ^ SIGN;
        let least =
            known.iter().map(|known| known.wrapping_sub(turned).cast_signed()).fold(i32::MAX, i32::min);
        let gap = least.cast_unsigned() ^ SIGN;
        if gap > !from { self.no_slot() } else { gap }
    }

    /// What stands for the slot of something that is no point.
    #[inline]
    fn no_slot(&self) -> u32 {
        (1 << self.bits) - 1
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
        let (before, alike) = self.alike((bucket, rest));
        before + alike.into_iter().filter(|known| *known < point).count()
    }

    /// How many points are before those of a bucket that have this rest, and all of these points in their order.
    fn alike(&self, (bucket, rest): (usize, u32)) -> (usize, Vec<u64>) {
        let before = self.points_of(bucket).take_while(|known| known >> self.bits < rest).count();
        let equal = self.points_of(bucket).skip(before).take_while(|known| known >> self.bits == rest);
        let mut slots: Vec<usize> = equal.map(|known| self.slot(known)).collect();
        slots.sort_unstable();
        slots.dedup();
        let owners = slots.into_iter().filter_map(|slot| self.owners.get(slot).copied().flatten());
        let points = owners.flat_map(|owner| (0..owner.points).map(move |n| place(owner.hash, n)));
        let mut points: Vec<u64> = points.filter(|known| self.spot(*known) == (bucket, rest)).collect();
        points.sort_unstable();
        (before, points)
    }

    /// The points of a bucket, those for which it has no room too.
    fn points_of(&self, bucket: usize) -> impl Iterator<Item = u32> {
        let here = self.buckets.get(bucket).and_then(|bucket| bucket.0.get(..ROOM)).unwrap_or_default();
        here.iter().chain(self.beyond.get(&bucket).into_iter().flatten()).copied().take_while(|p| *p != NONE)
    }

    fn slot(&self, point: u32) -> usize {
        (point & self.no_slot()) as usize
    }

    /// The `at`th point of a bucket.
    fn point(&self, bucket: usize, at: usize) -> Option<u32> {
        let here = self.buckets.get(bucket)?.0.get(..ROOM)?;
        match here.get(at) {
            Some(point) => Some(*point).filter(|point| *point != NONE),
            None => self.beyond.get(&bucket)?.get(at - ROOM).copied(),
        }
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
        let density = density(self.servers, self.total);
        if !self.has_room(density, changes) {
            return self.begin_anew(density, changes);
        }
        for (slot, after) in changes {
            let has = |owner: &Option<Owner>| owner.map(|owner| (owner.hash, owner.weight));
            if self.owners.get(*slot).and_then(has) != has(after) {
                self.fit(*slot, 0);
                self.set(*slot, *after);
                self.fit(*slot, after.map_or(0, |owner| owner.due(density)));
            }
        }
        if density.to_bits() != self.density.to_bits() {
            self.density = density;
            for slot in 0..self.owners.len() {
                let due = self.owners.get(slot).copied().flatten().map_or(0, |owner| owner.due(density));
                self.fit(slot, due);
            }
        }
    }

    /// Whether the buckets are as many as they should be after these changes, the bits tell all slots, and most points stay.
    fn has_room(&self, density: f64, changes: &[Change]) -> bool {
        let of = |owner: &Option<Owner>, density| owner.map_or(0, |owner| owner.due(density) as usize);
        let come: usize = changes.iter().map(|(_, after)| of(after, density)).sum();
        let gone = changes.iter().filter_map(|(slot, _)| self.owners.get(*slot));
        let gone: usize = gone.map(|owner| of(owner, density)).sum();
        let now = match density.to_bits() == self.density.to_bits() {
            true => self.points,
            false => self.owners.iter().map(|owner| of(owner, density)).sum(),
        };
        let (points, buckets) = ((now + come).saturating_sub(gone), self.buckets.len());
        points <= buckets * FULL
            && (points >= buckets * SPARSE || buckets == 1)
            && bits(self.owners.len()) <= self.bits
            && now.abs_diff(self.points) * 2 <= self.points
    }

    /// Puts all points onto a ring of as many buckets as they want.
    fn begin_anew(&mut self, density: f64, changes: &[Change]) {
        changes.iter().for_each(|(slot, after)| self.set(*slot, *after));
        self.density = density;
        let due: Vec<u32> =
            self.owners.iter().map(|owner| owner.map_or(0, |owner| owner.due(density))).collect();
        let points: usize = due.iter().map(|due| *due as usize).sum();
        // With room for as many servers again.
        self.bits = bits(self.owners.len() * 2);
        self.buckets = vec![Bucket([NONE; LINE]); points.div_ceil(NEW).max(1)];
        self.beyond.clear();
        self.points = 0;
        self.owners.iter_mut().flatten().for_each(|owner| owner.points = 0);
        due.into_iter().enumerate().for_each(|(slot, due)| self.fit(slot, due));
    }

    fn set(&mut self, slot: usize, owner: Option<Owner>) {
        if let Some(place) = self.owners.get_mut(slot) {
            *place = owner;
        }
    }

    /// Gives a slot's server so many points, by which of them are on the ring and which are not.
    fn fit(&mut self, slot: usize, due: u32) {
        let Some(mut owner) = self.owners.get(slot).copied().flatten() else { return };
        let Some(number) = u32::try_from(slot).ok().filter(|_| bits(slot + 1) <= self.bits) else { return };
        // One by one: those that are not there, or not any more, do not count where another one is put or found.
        while owner.points < due {
            let (spot, at) = self.seat(owner.hash, owner.points);
            self.insert(spot.0, at, spot.1 << self.bits | number);
            owner.points += 1;
            self.set(slot, Some(owner));
        }
        while owner.points > due {
            let (spot, at) = self.seat(owner.hash, owner.points - 1);
            self.remove(spot.0, at);
            owner.points -= 1;
            self.set(slot, Some(owner));
        }
    }

    /// Where the `n`th point of a server is, or is to be: its bucket, and what that has of it; how many are before it there.
    fn seat(&self, hash: u64, n: u32) -> ((usize, u32), usize) {
        let point = place(hash, n);
        let spot = self.spot(point);
        (spot, self.seek(spot, point))
    }

    fn insert(&mut self, bucket: usize, at: usize, point: u32) {
        let Some(known) = self.buckets.get_mut(bucket).and_then(|bucket| bucket.0.get_mut(..ROOM)) else {
            return;
        };
        self.points += 1;
        let Some(behind) = known.get_mut(at..).filter(|behind| !behind.is_empty()) else {
            let beyond = self.beyond.entry(bucket).or_default();
            beyond.insert((at - ROOM).min(beyond.len()), point);
            return self.end(bucket);
        };
        behind.rotate_right(1);
        let last = behind.first_mut().map_or(NONE, |first| std::mem::replace(first, point));
        if last != NONE {
            self.beyond.entry(bucket).or_default().insert(0, last);
            self.end(bucket);
        }
    }

    /// Sets where that of which a bucket does not know begins.
    fn end(&mut self, bucket: usize) {
        let first = self.beyond.get(&bucket).and_then(|beyond| beyond.first());
        let end = first.map_or(NONE, |first| first | self.no_slot());
        let last = self.buckets.get_mut(bucket).and_then(|bucket| bucket.0.last_mut());
        last.into_iter().for_each(|last| *last = end);
    }

    fn remove(&mut self, bucket: usize, at: usize) {
        let Some(known) = self.buckets.get_mut(bucket).and_then(|bucket| bucket.0.get_mut(..ROOM)) else {
            return;
        };
        self.points -= 1;
        let beyond = self.beyond.get_mut(&bucket);
        let next = beyond.map_or(NONE, |beyond| beyond.remove(at.saturating_sub(ROOM)));
        if let Some(behind) = known.get_mut(at..).filter(|behind| !behind.is_empty()) {
            behind.rotate_left(1);
            behind.last_mut().into_iter().for_each(|last| *last = next);
        }
        if next != NONE {
            if self.beyond.get(&bucket).is_some_and(Vec::is_empty) {
                self.beyond.remove(&bucket);
            }
            self.end(bucket);
        }
    }
}

/// How many points are due to a weight of 1: [`POINTS`] while weights are light, so that no server's points depend on the
/// others; else as many as give a server of average weight [`LIGHT`] times as many.
fn density(servers: u64, total: u64) -> f64 {
    if total <= LIGHT * servers {
        return POINTS as f64;
    }
    // Divided by what both have in common: the same for equal weights however many there are.
    let common = common_divisor(total, servers);
    (POINTS * LIGHT * (servers / common)) as f64 / (total / common) as f64
}

fn common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a.max(1) } else { common_divisor(b, a % b) }
}

/// The places of a key.
#[inline]
fn places(key: u64) -> [u64; PLACES] {
    // The first is the key. Not what `mixed` makes of it, by which parts of the requests are told.
    std::array::from_fn(|n| {
        if n == 0 { key } else { mixed(key ^ (n as u64).wrapping_mul(0xd1b5_4a32_d192_ed03)) }
    })
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
pub(crate) mod tests;
