//! The places for records, in shared data of the host: a fixed number, each for the keys that fall into it, and a limit of
//! all bytes. Shared data cannot be listed nor removed, so a hand goes round the places and empties them when room is
//! needed, as a clock's.

use tidegate_sdk::{Outcome, shared};

use crate::record::Record;

/// The cache's memory.
#[derive(Debug)]
pub struct Store {
    places: u32,
    limit: u64,
}

impl Store {
    /// With so many places and bytes.
    pub fn new(places: u32, limit: usize) -> Self {
        Store { places, limit: limit as u64 }
    }

    /// The record of a key.
    pub fn get(&self, key: &[u8]) -> Option<Record> {
        let found = shared::get(&self.place(key)).ok()??;
        Record::read(&found.value, key)
    }

    /// Keeps a record in its place, whatever was there.
    pub fn put(&self, key: &[u8], record: &Record) -> Outcome<()> {
        let place = self.place(key);
        let bytes = record.write(key);
        let old = replace(&place, &bytes)?;
        self.count(old, bytes.len() as u64, &place)
    }

    /// Changes the sum, and makes room where it is too large.
    fn count(&self, old: u64, new: u64, kept: &str) -> Outcome<()> {
        let mut total = add(old, new)?;
        // Each place is looked at once at the most.
        for _ in 0..self.places {
            if total <= self.limit {
                break;
            }
            let hand = shared::update(HAND, |hand| number(hand).wrapping_add(1).to_le_bytes().to_vec())?;
            let place = format!("e/{}", number(Some(&hand)) % u64::from(self.places));
            if place != kept {
                let freed = replace(&place, b"")?;
                if freed > 0 {
                    total = add(freed, 0)?;
                }
            }
        }
        Ok(())
    }

    fn place(&self, key: &[u8]) -> String {
        format!("e/{}", hash(key) % u64::from(self.places))
    }
}

/// Sets a value and tells how long the old one was, as one step.
fn replace(place: &str, bytes: &[u8]) -> Outcome<u64> {
    loop {
        let (old, version) = match shared::get(place)? {
            Some(old) => (old.value.len() as u64, old.version),
            // A version that nothing has: succeeds only while there is no value.
            None => (0, u32::MAX),
        };
        if old == 0 && bytes.is_empty() || shared::set_if(place, bytes, version)? {
            return Ok(old);
        }
    }
}

fn add(old: u64, new: u64) -> Outcome<u64> {
    let sum = shared::update(SUM, |sum| {
        number(sum).saturating_sub(old).saturating_add(new).to_le_bytes().to_vec()
    })?;
    Ok(number(Some(&sum)))
}

fn number(bytes: Option<&[u8]>) -> u64 {
    bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// FNV-1a with a last stir, so that keys which differ at their end fall apart.
pub fn hash(bytes: &[u8]) -> u64 {
    let sum = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    (sum ^ sum >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16
}

/// The bytes of all records.
const SUM: &str = "sum";

/// Where the hand is.
const HAND: &str = "hand";
