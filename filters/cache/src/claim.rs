//! Who of several requests for the same goes to the upstream. A claim is a value of shared data with an end, so that one
//! whose request broke off is free again. Instances with requests that wait for it note their queues in it ([`tidegate_sdk::signal`]).

use std::time::Duration;

use tidegate_sdk::{Outcome, shared, time};

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
            Some((TAKEN, until, known, _)) if until > now => {
                // Another key in the same place: it need not wait for that.
                return if known == hash(key) { Claim::Taken } else { Claim::Open };
            }
            Some((OPEN, until, known, _)) if until > now && known == hash(key) => return Claim::Open,
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

/// Whether the one that is waited for is not over yet; a `queue` to be told of its end is noted in the claim.
pub fn goes_on(key: &[u8], places: u32, queue: Option<u32>) -> Outcome<bool> {
    let place = place(key, places);
    loop {
        let Some(found) = shared::get(&place)? else { return Ok(false) };
        let Some((TAKEN, until, known, queues)) = read(&found.value) else { return Ok(false) };
        if until <= nanos() || known != hash(key) {
            return Ok(false);
        }
        let Some(queue) = queue.filter(|queue| !queues.contains(queue)) else { return Ok(true) };
        let noted = [&found.value[..], &queue.to_le_bytes()].concat();
        if shared::set_if(&place, noted, found.version)? {
            return Ok(true);
        }
    }
}

/// Lets go of a claim; the queues of those who wait for it. Where the response was not `kept`, nobody waits for the next
/// ones for a while.
pub fn release(key: &[u8], places: u32, end: u64, kept: bool) -> Outcome<Vec<u32>> {
    let place = place(key, places);
    let state = match kept {
        true => Vec::new(),
        false => write(OPEN, nanos().saturating_add(NOT_KEPT), hash(key)),
    };
    loop {
        let Some(found) = shared::get(&place)? else { return Ok(Vec::new()) };
        let queues = match read(&found.value) {
            Some((TAKEN, until, known, queues)) if until == end && known == hash(key) => queues,
            // Somebody else has it by now.
            _ => return Ok(Vec::new()),
        };
        if shared::set_if(&place, &state, found.version)? {
            return Ok(queues);
        }
    }
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

/// State, end, the key's hash, and the queues of those who wait.
fn read(bytes: &[u8]) -> Option<(u8, u64, u64, Vec<u32>)> {
    let (state, rest) = bytes.split_first()?;
    let (until, rest) = rest.split_first_chunk()?;
    let (key, queues) = rest.split_first_chunk()?;
    let queue = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
    let queues = queues.chunks_exact(4).filter_map(queue).collect();
    Some((*state, u64::from_le_bytes(*until), u64::from_le_bytes(*key), queues))
}

/// For how long nobody waits after a response that was not kept: ten seconds.
const NOT_KEPT: u64 = 10_000_000_000;
