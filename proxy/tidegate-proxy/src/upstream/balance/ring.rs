//! A ring of hashes on which each server has points by its weight; a key belongs to the server of the next point.
//!
//! The ring is cut into buckets of a few points each, so that finding, adding and removing a point take O(1) however many
//! servers there are. A bucket is a line of the CPU's cache: with ten thousand servers the ring is larger than that.

use std::rc::Rc;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::key;
use crate::upstream::member::Member;
use crate::upstream::server::mixed;

/// Points of a server of average weight, or up to twice as many.
const POINTS: u64 = 160;
/// Points in a bucket, on average at most.
const FULL: usize = 4;

/// Points in order with their owners' numbers. Of a point it has the 32 bits behind those that tell the bucket, which is
/// so much that the others never decide.
#[derive(Default, Clone)]
#[repr(align(64))]
struct Bucket(SmallVec<[(u32, u32); 7]>);

/// What a server on the ring has of it.
struct Share {
    weight: u64,
    points: u64,
}

/// See the module. Servers of weight 0 are not on it.
#[derive(Default)]
pub(super) struct Ring {
    /// Their number is a power of two.
    buckets: Vec<Bucket>,
    points: usize,
    /// By number, close together for who looks for a server.
    owners: Vec<Option<Rc<Member>>>,
    shares: Vec<Share>,
    free: Vec<u32>,
    numbers: FxHashMap<usize, u32>,
    total: u64,
    /// The weight that has [`POINTS`] points: a power of two, so that it seldom changes.
    unit: u64,
}

impl Ring {
    /// One more, by its present weight.
    pub(super) fn add(&mut self, member: &Rc<Member>) {
        let weight = u64::from(member.weight());
        if weight == 0 || self.numbers.contains_key(&member.id()) {
            return;
        }
        let (owner, share) = (Some(member.clone()), Share { weight, points: 0 });
        let number = self.free.pop().unwrap_or(u32::try_from(self.owners.len()).unwrap_or(u32::MAX));
        match (self.owners.get_mut(number as usize), self.shares.get_mut(number as usize)) {
            (Some(place), Some(own)) => (*place, *own) = (owner, share),
            _ => {
                self.owners.push(owner);
                self.shares.push(share);
            }
        }
        self.numbers.insert(member.id(), number);
        self.total += weight;
        if !self.scale() {
            self.place(number);
        }
    }

    /// One less.
    pub(super) fn remove(&mut self, member: &Member) {
        let Some(number) = self.numbers.remove(&member.id()) else { return };
        let Some(owner) = self.owners.get_mut(number as usize).and_then(Option::take) else { return };
        let Some(share) = self.shares.get(number as usize) else { return };
        self.free.push(number);
        self.total -= share.weight;
        let hash = key::of_server(&owner.identity);
        for n in 0..share.points {
            let (bucket, rest) = self.spot(point(hash, n));
            if let Some(Bucket(bucket)) = self.buckets.get_mut(bucket)
                && let Some(at) = bucket.iter().position(|known| *known == (rest, number))
            {
                bucket.remove(at);
                self.points -= 1;
            }
        }
        self.scale();
    }

    /// Whose the key is, then who would be next, and so on; some more than once.
    pub(super) fn from(&self, key: u64) -> impl Iterator<Item = &Rc<Member>> {
        let (first, rest) = self.spot(key);
        let (before, after) = self.buckets.split_at_checked(first).unwrap_or((&[], &[]));
        let mine = after.first().map(|bucket| bucket.0.as_slice()).unwrap_or_default();
        let (low, high) = mine.split_at(mine.partition_point(|(point, _)| *point < rest));
        let others = after.iter().skip(1).chain(before).flat_map(|bucket| &bucket.0);
        let owner = |(_, number): &(u32, u32)| self.owners.get(*number as usize)?.as_ref();
        high.iter().chain(others).chain(low).filter_map(owner)
    }

    /// The bucket of a point, and what the bucket has of it.
    fn spot(&self, point: u64) -> (usize, u32) {
        let bits = self.buckets.len().max(1).trailing_zeros();
        // The buckets are fewer than 2^32.
        (point.checked_shr(64 - bits).unwrap_or(0) as usize, (point << bits >> 32) as u32)
    }

    fn place(&mut self, number: u32) {
        let Some(share) = self.shares.get_mut(number as usize) else { return };
        share.points = (POINTS * share.weight / self.unit.max(1)).max(1);
        let points = self.points + share.points as usize;
        if points > self.buckets.len() * FULL {
            self.grow(points);
        } else {
            self.insert(number);
        }
    }

    /// Puts a server's points on the ring.
    fn insert(&mut self, number: u32) {
        let (Some(Some(owner)), Some(share)) =
            (self.owners.get(number as usize), self.shares.get(number as usize))
        else {
            return;
        };
        let hash = key::of_server(&owner.identity);
        for n in 0..share.points {
            let (bucket, rest) = self.spot(point(hash, n));
            if let Some(Bucket(bucket)) = self.buckets.get_mut(bucket) {
                bucket.insert(bucket.partition_point(|known| *known < (rest, number)), (rest, number));
                self.points += 1;
            }
        }
    }

    /// Makes room for so many points, and puts those of all servers there anew: a bucket has not all of a point.
    fn grow(&mut self, points: usize) {
        self.buckets = vec![Bucket::default(); (points / FULL + 1).next_power_of_two()];
        self.points = 0;
        let placed = |(number, share): (u32, &Share)| (share.points > 0).then_some(number);
        let numbers: Vec<u32> = (0..).zip(&self.shares).filter_map(placed).collect();
        numbers.into_iter().for_each(|number| self.insert(number));
    }

    /// Begins anew where the average weight has left its power of two: whether it has.
    fn scale(&mut self) -> bool {
        let average = self.total / (self.numbers.len() as u64).max(1);
        let unit = 1 << average.max(1).ilog2();
        if unit == self.unit {
            return false;
        }
        self.unit = unit;
        self.buckets.iter_mut().for_each(|bucket| bucket.0.clear());
        self.shares.iter_mut().for_each(|share| share.points = 0);
        self.points = 0;
        let numbers: Vec<u32> = self.numbers.values().copied().collect();
        numbers.into_iter().for_each(|number| self.place(number));
        true
    }
}

fn point(hash: u64, n: u64) -> u64 {
    mixed(hash ^ mixed(n + 1))
}
