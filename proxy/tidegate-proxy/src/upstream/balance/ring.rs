//! A ring of hashes on which each server has points by its weight; a key belongs to the server of the next point.
//!
//! The ring is cut into buckets of a few points each, so that finding, adding and removing a point take O(1) however many
//! servers there are.

use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::key;
use crate::upstream::member::Member;
use crate::upstream::server::mixed;

/// Points of a server of average weight, or up to twice as many.
const POINTS: u64 = 160;
/// Points in a bucket, on average at most.
const FULL: usize = 4;

/// A server on the ring.
struct Owner {
    member: Rc<Member>,
    weight: u64,
    points: u64,
}

/// See the module. Servers of weight 0 are not on it.
#[derive(Default)]
pub(super) struct Ring {
    /// Points in order, with their owners' numbers; the number of buckets is a power of two.
    buckets: Vec<Vec<(u64, u32)>>,
    points: usize,
    owners: Vec<Option<Owner>>,
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
        let owner = Some(Owner { member: member.clone(), weight, points: 0 });
        let number = self.free.pop().unwrap_or(u32::try_from(self.owners.len()).unwrap_or(u32::MAX));
        match self.owners.get_mut(number as usize) {
            Some(place) => *place = owner,
            None => self.owners.push(owner),
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
        self.free.push(number);
        self.total -= owner.weight;
        let hash = key::of_server(&owner.member.identity);
        for n in 0..owner.points {
            let point = point(hash, n);
            let bucket = self.bucket(point);
            if let Some(bucket) = self.buckets.get_mut(bucket)
                && let Some(at) = bucket.iter().position(|known| *known == (point, number))
            {
                bucket.remove(at);
                self.points -= 1;
            }
        }
        self.scale();
    }

    /// Whose the key is, then who would be next, and so on; some more than once.
    pub(super) fn from(&self, key: u64) -> impl Iterator<Item = &Rc<Member>> {
        let first = self.bucket(key);
        let (before, after) = self.buckets.split_at_checked(first).unwrap_or((&[], &[]));
        let mine = after.first().map(Vec::as_slice).unwrap_or_default();
        let (low, high) = mine.split_at(mine.partition_point(|(point, _)| *point < key));
        let others = after.iter().skip(1).chain(before).flatten();
        let owner = |(_, number): &(u64, u32)| self.owners.get(*number as usize)?.as_ref();
        high.iter().chain(others).chain(low).filter_map(owner).map(|owner| &owner.member)
    }

    fn bucket(&self, point: u64) -> usize {
        let bits = self.buckets.len().max(1).trailing_zeros();
        // The buckets are fewer than 2^32.
        point.checked_shr(64 - bits).unwrap_or(0) as usize
    }

    fn place(&mut self, number: u32) {
        let Some(Some(owner)) = self.owners.get_mut(number as usize) else { return };
        owner.points = (POINTS * owner.weight / self.unit.max(1)).max(1);
        let (points, hash) = (owner.points, key::of_server(&owner.member.identity));
        if self.points + points as usize > self.buckets.len() * FULL {
            self.grow(self.points + points as usize);
        }
        for n in 0..points {
            let point = point(hash, n);
            let bucket = self.bucket(point);
            if let Some(bucket) = self.buckets.get_mut(bucket) {
                bucket.insert(bucket.partition_point(|known| *known < (point, number)), (point, number));
                self.points += 1;
            }
        }
    }

    fn grow(&mut self, points: usize) {
        let count = (points / FULL + 1).next_power_of_two();
        let before = std::mem::replace(&mut self.buckets, vec![Vec::new(); count]);
        // In order, so that each bucket is.
        for (point, number) in before.into_iter().flatten() {
            let bucket = self.bucket(point);
            if let Some(bucket) = self.buckets.get_mut(bucket) {
                bucket.push((point, number));
            }
        }
    }

    /// Begins anew where the average weight has left its power of two: whether it has.
    fn scale(&mut self) -> bool {
        let average = self.total / (self.numbers.len() as u64).max(1);
        let unit = 1 << average.max(1).ilog2();
        if unit == self.unit {
            return false;
        }
        self.unit = unit;
        self.buckets.iter_mut().for_each(Vec::clear);
        self.points = 0;
        let numbers: Vec<u32> = self.numbers.values().copied().collect();
        numbers.into_iter().for_each(|number| self.place(number));
        true
    }
}

fn point(hash: u64, n: u64) -> u64 {
    mixed(hash ^ mixed(n + 1))
}
