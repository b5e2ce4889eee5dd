//! Who of several requests for the same goes to the upstream. A claim is a value of shared data with an end, so that one
//! whose request broke off is free again.
//!
//! Waiters look again and again, at growing distances: hosts of proxy-wasm can wake instances by queues, but a queue has
//! one reader, so each waiting request on each worker would need one of its own, and queues are never removed.

use std::time::Duration;

use tidegate_sdk::{shared, time};

use crate::store::hash;

/// What became of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// This request is the one. The number is its end, by which it is known.
    Mine(u64),
    /// Another one is under way.
    Taken,
    /// The last response could not be kept, so nobody waits.
    Open,
}

const TAKEN: u8 = 1;
const OPEN: u8 = 2;

/// Tries to be the one.
pub fn claim(key: &[u8], places: u32, lasts: Duration) -> Claim {
    let place = place(key, places);
    let now = nanos();
    let end = now.saturating_add(u64::try_from(lasts.as_nanos()).unwrap_or(u64::MAX));
    for _ in 0..shared::TRIES {
        let Ok(old) = shared::get(&place) else { return Claim::Open };
        let version = old.as_ref().map_or(u32::MAX, |old| old.version);
        match old.as_ref().and_then(|old| read(&old.value)) {
            Some((TAKEN, until, known)) if until > now => {
                // Another key in the same place: it need not wait for that.
                return if known == hash(key) { Claim::Taken } else { Claim::Open };
            }
            Some((OPEN, until, known)) if until > now && known == hash(key) => return Claim::Open,
            _ => {}
        }
        match shared::set_if(&place, write(TAKEN, end, hash(key)), version) {
            Ok(true) => return Claim::Mine(end),
            Ok(false) => {}
            Err(_) => return Claim::Open,
        }
    }
    Claim::Open
}

/// Whether the one that was waited for is over.
pub fn is_over(key: &[u8], places: u32) -> bool {
    let Ok(Some(found)) = shared::get(&place(key, places)) else { return true };
    !matches!(read(&found.value), Some((TAKEN, until, known)) if until > nanos() && known == hash(key))
}

/// Lets go of a claim. Where the response was not `kept`, nobody waits for the next ones for a while.
pub fn release(key: &[u8], places: u32, end: u64, kept: bool) {
    let place = place(key, places);
    let Ok(Some(found)) = shared::get(&place) else { return };
    if read(&found.value) != Some((TAKEN, end, hash(key))) {
        return;
    }
    let state = match kept {
        true => Vec::new(),
        false => write(OPEN, nanos().saturating_add(NOT_KEPT), hash(key)),
    };
    // Somebody else may have it by now.
    let _ = shared::set_if(&place, state, found.version);
}

fn place(key: &[u8], places: u32) -> String {
    format!("c/{}", hash(key) % u64::from(places))
}

fn nanos() -> u64 {
    u64::try_from(time::now().as_nanos()).unwrap_or(u64::MAX)
}

fn write(state: u8, until: u64, key: u64) -> Vec<u8> {
    let mut bytes = vec![state];
    bytes.extend_from_slice(&until.to_le_bytes());
    bytes.extend_from_slice(&key.to_le_bytes());
    bytes
}

fn read(bytes: &[u8]) -> Option<(u8, u64, u64)> {
    let (state, rest) = bytes.split_first()?;
    let (until, key) = rest.split_first_chunk()?;
    Some((*state, u64::from_le_bytes(*until), u64::from_le_bytes(key.try_into().ok()?)))
}

/// For how long nobody waits after a response that was not kept: ten seconds.
const NOT_KEPT: u64 = 10_000_000_000;
