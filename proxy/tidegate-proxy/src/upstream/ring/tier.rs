//! The points of the servers of one power of four of weights.
//!
//! The ring is cut into buckets, each a line of the CPU's cache with its points in it. A key's places are looked at side by
//! side: none of these looks waits for another.

use rustc_hash::FxHashMap;

use super::walk::{Head, Walk};
use super::{Change, Owner, PLACES, place};

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
/// No point.
const NONE: u32 = u32::MAX;
/// The bit by which numbers with and without a sign differ in their order.
const SIGN: u32 = 1 << 31;
/// Bits of a point's 32 that may tell whose it is. Slots beyond them, 268 million, have no points.
pub(super) const MOST_BITS: u32 = 28;

/// The points of one bucket in their order. Of a point it has 32 bits of where in the bucket it is, the lower of which are
/// the slot of the server whose it is. The last number is where that of which the bucket does not know begins: the first
/// point for which it has no room, or its end, both with a slot that is none.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
struct Bucket([u32; LINE]);

/// What buckets tell of the nearest point.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Look {
    /// It is at least so far away; if that is sure, so far.
    pub(super) gap: u64,
    slot: usize,
    pub(super) sure: bool,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tier {
    level: u32,
    buckets: Vec<Bucket>,
    /// By bucket: the points for which it has no room, behind those that it has.
    beyond: FxHashMap<usize, Vec<u32>>,
    points: usize,
    /// The lowest bits of a point, which tell whose it is.
    bits: u32,
    /// What one step of a gap is of the way around, beside other tiers.
    step: f64,
    /// By slot: those of this tier.
    owners: Vec<Option<Owner>>,
}

impl Tier {
    /// Without a server.
    pub(super) fn new(level: u32) -> Self {
        Self { level, ..Self::default() }
    }

    pub(super) fn level(&self) -> u32 {
        self.level
    }

    pub(super) fn is_empty(&self) -> bool {
        self.points == 0
    }

    pub(super) fn slots(&self) -> usize {
        self.owners.len()
    }

    pub(super) fn points(&self) -> usize {
        self.points
    }

    /// The least and the most that a gap in its buckets can be of the way around, as it counts beside other tiers.
    pub(super) fn way(&self, gap: u64) -> (f64, f64) {
        // Both ends are cut off, so it is wrong by less than one; by two with what is rounded here.
        ((gap as f64 - 2.0) * self.step, (gap as f64 + 2.0) * self.step)
    }

    /// The point that is soonest after one of these places: how far it is behind it, give or take less than one, and the
    /// slot whose it is.
    #[inline]
    pub(super) fn near(&self, places: [u64; PLACES]) -> Option<(u64, usize)> {
        self.found(self.look(places), places)
    }

    /// What a look into the buckets of these places tells.
    #[inline]
    pub(super) fn look(&self, places: [u64; PLACES]) -> Look {
        // All looks before the first comparison.
        let (mut spots, mut gaps) = ([(0, 0); PLACES], [0; PLACES]);
        // Loops: the closures of `map` are calls where the compiler thinks this large enough.
        for (spot, place) in spots.iter_mut().zip(places) {
            *spot = self.spot(place);
        }
        for (gap, spot) in gaps.iter_mut().zip(spots) {
            *gap = self.gap(spot);
        }
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
        Look { gap: u64::from(gap >> self.bits), slot: self.slot(gap), sure }
    }

    /// Has the buckets of these places read, whatever is in them.
    #[inline]
    pub(super) fn touch(&self, places: [u64; PLACES]) -> u32 {
        places.iter().fold(0, |sum, place| {
            sum ^ self.buckets.get(self.spot(*place).0).map_or(0, |Bucket(known)| known[0])
        })
    }

    /// What [`Self::near`] says, after that look.
    #[inline]
    pub(super) fn found(&self, look: Look, places: [u64; PLACES]) -> Option<(u64, usize)> {
        if look.sure { Some((look.gap, look.slot)) } else { self.near_beyond(places) }
    }

    /// The same where a bucket does not tell: about every eighth time.
    #[cold]
    fn near_beyond(&self, places: [u64; PLACES]) -> Option<(u64, usize)> {
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
        if next - least.0 > 1 {
            return Some(least);
        }
        let slot = Walk::new(std::slice::from_ref(self), places).next()?;
        Some((least.0, slot))
    }

    /// Whether a gap is that of one point, and of one that is behind the place.
    #[inline]
    fn tells(&self, (bucket, rest): (usize, u32), gap: u32) -> bool {
        let Some(Bucket(known)) = self.buckets.get(bucket) else { return false };
        let point = rest + (gap >> self.bits);
        let alike = known.iter().map(|known| u32::from(known >> self.bits == point)).sum::<u32>();
        gap >> self.bits > 0 && self.slot(gap) != self.no_slot() as usize && alike == 1
    }

    /// The bucket of a point, and what the bucket has of it.
    #[inline]
    pub(super) fn spot(&self, point: u64) -> (usize, u32) {
        let wide = u128::from(point) * self.buckets.len() as u128;
        ((wide >> 64) as usize, (wide as u64 >> 32) as u32 >> self.bits)
    }

    /// How far behind a place the next point of its bucket is, above that one's slot; no slot: it is not nearer than that.
    #[inline(always)]
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
    pub(super) fn seek(&self, (bucket, rest): (usize, u32), point: u64) -> usize {
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
    pub(super) fn alike(&self, (bucket, rest): (usize, u32)) -> (usize, Vec<u64>) {
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

    pub(super) fn slot(&self, point: u32) -> usize {
        (point & self.no_slot()) as usize
    }

    /// The `at`th point of a bucket.
    pub(super) fn point(&self, bucket: usize, at: usize) -> Option<u32> {
        let here = self.buckets.get(bucket)?.0.get(..ROOM)?;
        match here.get(at) {
            Some(point) => Some(*point).filter(|point| *point != NONE),
            None => self.beyond.get(&bucket)?.get(at - ROOM).copied(),
        }
    }

    /// Slots have other servers of this tier, or other weights, each slot once.
    pub(super) fn change(&mut self, changes: &[Change]) {
        let last = changes.iter().filter(|(_, after)| after.is_some()).map(|(slot, _)| slot + 1).max();
        if let Some(slots) = last.filter(|slots| *slots > self.owners.len()) {
            self.owners.resize(slots, None);
        }
        if !self.has_room(changes) {
            return self.begin_anew(changes);
        }
        for (slot, after) in changes {
            let before = self.owners.get(*slot).copied().flatten();
            let is_same = before.zip(*after).is_some_and(|(before, after)| before.hash == after.hash);
            let points = before.filter(|_| is_same).map_or(0, |owner| owner.points);
            if !is_same {
                self.fit(*slot, 0);
            }
            self.set(*slot, after.map(|owner| Owner { points, ..owner }));
            self.fit(*slot, after.map_or(0, Owner::due));
        }
    }

    /// Whether the buckets are as many as they should be after these changes, and the bits tell all slots.
    fn has_room(&self, changes: &[Change]) -> bool {
        let come: usize = changes.iter().filter_map(|(_, after)| Some(after.as_ref()?.due() as usize)).sum();
        let gone = changes.iter().filter_map(|(slot, _)| self.owners.get(*slot)?.as_ref());
        let gone: usize = gone.map(|owner| owner.points as usize).sum();
        let (points, buckets) = ((self.points + come).saturating_sub(gone), self.buckets.len());
        points <= buckets * FULL
            && (points >= buckets * SPARSE || buckets == 1)
            && bits(self.owners.len()) <= self.bits
    }

    /// Puts all points onto a ring of as many buckets as they want.
    fn begin_anew(&mut self, changes: &[Change]) {
        changes.iter().for_each(|(slot, after)| self.set(*slot, *after));
        let due: Vec<u32> = self.owners.iter().map(|owner| owner.map_or(0, Owner::due)).collect();
        let points: usize = due.iter().map(|due| *due as usize).sum();
        // With room for as many servers again.
        self.bits = bits(self.owners.len() * 2);
        self.buckets = vec![Bucket([NONE; LINE]); points.div_ceil(NEW).max(1)];
        self.step = (self.around() as f64 * 4_f64.powi(self.level.cast_signed())).recip();
        self.beyond.clear();
        self.points = 0;
        self.owners.iter_mut().flatten().for_each(|owner| owner.points = 0);
        due.into_iter().enumerate().for_each(|(slot, due)| self.fit(slot, due));
    }

    /// How far it is once around, as gaps are counted.
    pub(super) fn around(&self) -> u64 {
        (self.buckets.len() as u64) << (32 - self.bits)
    }

    /// What is known of a point, without whose it is.
    pub(super) fn rest(&self, point: u32) -> u32 {
        point >> self.bits
    }

    /// How far it is to a point from where the ring begins, as gaps are counted.
    pub(super) fn way_to(&self, (bucket, rest): (usize, u32)) -> u64 {
        (bucket as u64) << (32 - self.bits) | u64::from(rest)
    }

    pub(super) fn bucket_after(&self, bucket: usize) -> usize {
        (bucket + 1) % self.buckets.len().max(1)
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

#[cfg(test)]
impl Tier {
    pub(super) fn owner(&self, slot: usize) -> Option<Owner> {
        self.owners.get(slot).copied().flatten()
    }

    pub(super) fn bits(&self) -> u32 {
        self.bits
    }

    /// Whether a bucket has more points than it has room for.
    pub(super) fn is_crowded(&self) -> bool {
        !self.beyond.is_empty()
    }
}

/// How many bits tell so many slots, and no slot from a point that is none.
fn bits(slots: usize) -> u32 {
    (slots + 1).next_power_of_two().trailing_zeros().clamp(1, MOST_BITS)
}
