//! A table by numbers that the host gives, which need no hashing.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub(super) struct Ids<T>(HashMap<u32, T, BuildHasherDefault<Number>>);

impl<T> Ids<T> {
    pub(super) const fn new() -> Self {
        Ids(HashMap::with_hasher(BuildHasherDefault::new()))
    }

    #[inline]
    pub(super) fn get(&self, id: u32) -> Option<&T> {
        if self.0.is_empty() { None } else { self.0.get(&id) }
    }

    pub(super) fn insert(&mut self, id: u32, value: T) {
        self.0.insert(id, value);
    }

    #[inline]
    pub(super) fn remove(&mut self, id: u32) -> Option<T> {
        if self.0.is_empty() { None } else { self.0.remove(&id) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.0.iter().map(|(id, value)| (*id, value))
    }
}

/// Spreads consecutive numbers over the whole range.
#[derive(Default)]
pub(super) struct Number(u64);

impl Hasher for Number {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
