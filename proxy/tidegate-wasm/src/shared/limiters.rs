//! Limiters of one plugin: what was taken of each limit by each key, on all workers together. Kept by the plugin's name,
//! so that a reload of the configuration begins nothing anew.
//!
//! Keys are spread over shards, each with a lock that is held for the decision. A question about several limits locks
//! their shards in order, so it is decided as one.

use super::{SpaceState, lock};
use sha2::{Digest, Sha256};
use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tidegate_abi::Status;
use tidegate_limiter::{
    Algorithm, Limit, Moment, State, Verdict,
    wire::{self, Act, Entry, Question},
};

/// Parts with a lock each; as many as bits of a mask.
const SHARDS: usize = 16;

/// Keys of one shard: 131,072 for a plugin.
const KEYS: usize = 8192;

/// Bytes of one shard: 64 MiB for a plugin.
const BYTES: usize = 4 << 20;

/// What a key costs besides its own bytes and its log.
const OVERHEAD: usize = 128;

/// Of longer keys a digest is kept.
const KEY_BYTES: usize = 64;

/// What the limiters of a plugin hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimiterCounts {
    /// Keys that something was taken by, some of them perhaps over.
    pub keys: usize,
    /// Keys that were forgotten before their time, because there were too many.
    pub evicted: u64,
}

#[derive(Default)]
pub(super) struct Limiters {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    evicted: AtomicU64,
}

#[derive(Default)]
struct Shard {
    states: HashMap<Box<[u8]>, State>,
    bytes: usize,
    /// With so many keys those that are over are looked for.
    sweep_at: usize,
}

/// Shards that are locked for a question.
struct Held<'a>([Option<MutexGuard<'a, Shard>>; SHARDS]);

impl Held<'_> {
    fn shard(&mut self, place: usize) -> Result<&mut Shard, Status> {
        self.0.get_mut(place).and_then(Option::as_deref_mut).ok_or(Status::InternalFailure)
    }
}

/// Units that a stream holds of a limit for things that go on at the same time. It gives them back when it is dropped.
pub(crate) struct Lease {
    space: Arc<SpaceState>,
    limit: Limit,
    key: Box<[u8]>,
    units: i64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let limiters = &self.space.limiters;
        let mut shard = lock(limiters.shard(limiters.place(&self.key)));
        // Time does not matter here.
        shard.charge(&self.key, &self.limit, -self.units, Moment::default());
    }
}

/// Answers a question; see [`wire`].
pub(super) fn answer(
    space: &Arc<SpaceState>,
    question: &Question<'_>,
    now: Moment,
    leases: Option<&mut Vec<Lease>>,
    out: &mut Vec<u8>,
) -> Result<(), Status> {
    let concurrent = |entry: &Entry<'_>| entry.limit.algorithm == Algorithm::Concurrency;
    match question.act {
        Act::Look => {}
        Act::Leave => {
            let leases = leases.ok_or(Status::NotFound)?;
            for entry in question.entries() {
                let key = short(entry.key);
                leases.retain(|lease| *lease.key != *key.as_ref());
            }
            return Ok(());
        }
        Act::Take if leases.is_none() && question.entries().any(|entry| concurrent(&entry)) => {
            return Err(Status::NotFound);
        }
        Act::Charge if question.entries().any(|entry| concurrent(&entry)) => return Err(Status::BadArgument),
        Act::Take | Act::Charge => {}
    }
    let taken = space.limiters.decide(question, now, out)?;
    if let (true, Some(leases), Act::Take) = (taken, leases, question.act) {
        let lease = |entry: Entry<'_>| Lease {
            space: space.clone(),
            limit: entry.limit,
            key: short(entry.key).as_ref().into(),
            units: entry.cost,
        };
        let verdicts = wire::verdicts(out);
        let held =
            question.entries().zip(verdicts).filter(|(entry, verdict)| concurrent(entry) && verdict.allowed);
        leases.extend(held.map(|(entry, _)| lease(entry)));
    }
    Ok(())
}

impl Limiters {
    /// None: they were never used.
    pub(super) fn counts(&self) -> Option<LimiterCounts> {
        let mut used = false;
        let mut keys = 0;
        for shard in &self.shards {
            let shard = lock(shard);
            used |= shard.states.capacity() > 0;
            keys += shard.states.len();
        }
        used.then(|| LimiterCounts { keys, evicted: self.evicted.load(Relaxed) })
    }

    /// Whether all that is not advisory was allowed; then what was allowed is taken.
    fn decide(&self, question: &Question<'_>, now: Moment, out: &mut Vec<u8>) -> Result<bool, Status> {
        let mut entries = question.entries();
        if let (Some(entry), None, Act::Take) = (entries.next(), entries.next(), question.act)
            && let Some(verdict) = self.take_known(&entry, now)
        {
            wire::put_verdict(&verdict, out);
            return Ok(verdict.allowed || entry.advisory);
        }
        let mut held = self.hold(question);
        let mut all = true;
        if question.act == Act::Take {
            for entry in question.entries() {
                let key = short(entry.key);
                let shard = held.shard(self.place(key.as_ref()))?;
                let verdict = shard.look(key.as_ref(), &entry.limit, entry.cost.unsigned_abs(), now);
                all &= verdict.allowed || entry.advisory;
            }
        }
        for entry in question.entries() {
            let key = short(entry.key);
            let key = key.as_ref();
            let shard = held.shard(self.place(key))?;
            let mut verdict = match question.act {
                Act::Charge => Verdict { allowed: true, ..Verdict::default() },
                _ => shard.look(key, &entry.limit, entry.cost.unsigned_abs(), now),
            };
            let takes = question.act == Act::Charge || (question.act == Act::Take && all && verdict.allowed);
            if takes && entry.cost != 0 {
                self.make_room(shard, key, now);
                shard.charge(key, &entry.limit, entry.cost, now);
            }
            if takes {
                let rest = shard.look(key, &entry.limit, 0, now);
                verdict = Verdict { allowed: verdict.allowed, retry_after: 0, ..rest };
            }
            wire::put_verdict(&verdict, out);
        }
        Ok(all)
    }

    /// The usual question, of one limit by a key from which something was taken before, with fewer looks than others need.
    fn take_known(&self, entry: &Entry<'_>, now: Moment) -> Option<Verdict> {
        let key = short(entry.key);
        let key = key.as_ref();
        let mut shard = lock(self.shard(self.place(key)));
        let shard = &mut *shard;
        if shard.bytes >= BYTES || entry.cost == 0 {
            return None;
        }
        let state = shard.states.get_mut(key)?;
        let before = state.heap_bytes();
        let verdict = state.take(&entry.limit, entry.cost.unsigned_abs(), now);
        shard.bytes = (shard.bytes + state.heap_bytes()).saturating_sub(before);
        Some(verdict)
    }

    /// Locks the shards of all keys, in their order, so that two questions cannot wait for each other.
    fn hold(&self, question: &Question<'_>) -> Held<'_> {
        let mut mask = 0_u16;
        for entry in question.entries() {
            mask |= 1 << self.place(short(entry.key).as_ref());
        }
        let mut held = Held([const { None }; SHARDS]);
        for (place, (guard, shard)) in held.0.iter_mut().zip(&self.shards).enumerate() {
            if mask >> place & 1 == 1 {
                *guard = Some(lock(shard));
            }
        }
        held
    }

    fn place(&self, key: &[u8]) -> usize {
        usize::try_from(self.hasher.hash_one(key) >> 7).unwrap_or_default() % SHARDS
    }

    fn shard(&self, place: usize) -> &Mutex<Shard> {
        // Places are below SHARDS, whatever the key.
        self.shards.get(place).unwrap_or(&self.shards[0])
    }

    /// Forgets what is over before another key comes, and if that is not enough, what will be over first.
    fn make_room(&self, shard: &mut Shard, key: &[u8], now: Moment) {
        let full = |shard: &Shard| shard.states.len() >= KEYS || shard.bytes >= BYTES;
        if shard.states.contains_key(key) && shard.bytes < BYTES {
            return;
        }
        if shard.states.len() >= shard.sweep_at || full(shard) {
            shard.keep(|state| !state.is_over(now));
            shard.sweep_at = (shard.states.len() * 2).max(64);
        }
        if !full(shard) {
            return;
        }
        let mut rests: Vec<u64> = shard.states.values().filter_map(|state| state.rest(now)).collect();
        let part = rests.len() / 8;
        let Some((_, border, _)) = (part < rests.len()).then(|| rests.select_nth_unstable(part)) else {
            return;
        };
        let (border, before) = (*border, shard.states.len());
        shard.keep(|state| state.rest(now).is_none_or(|rest| rest > border));
        self.evicted.fetch_add((before - shard.states.len()) as u64, Relaxed);
    }
}

impl Shard {
    fn look(&mut self, key: &[u8], limit: &Limit, cost: u64, now: Moment) -> Verdict {
        match self.states.get_mut(key) {
            Some(state) => state.look(limit, cost, now),
            None => State::new(limit).look(limit, cost, now),
        }
    }

    fn charge(&mut self, key: &[u8], limit: &Limit, cost: i64, now: Moment) {
        if let Some(state) = self.states.get_mut(key) {
            let before = state.heap_bytes();
            state.charge(limit, cost, now);
            self.bytes = (self.bytes + state.heap_bytes()).saturating_sub(before);
            if let State::Held(0) = state {
                self.states.remove(key);
                self.bytes = self.bytes.saturating_sub(key.len() + OVERHEAD);
            }
        } else if cost > 0 {
            let mut state = State::new(limit);
            state.charge(limit, cost, now);
            self.bytes += key.len() + OVERHEAD + state.heap_bytes();
            self.states.insert(key.into(), state);
        }
    }

    fn keep(&mut self, keep: impl Fn(&State) -> bool) {
        let mut freed = 0;
        self.states.retain(|key, state| {
            let keep = keep(state);
            if !keep {
                freed += key.len() + OVERHEAD + state.heap_bytes();
            }
            keep
        });
        self.bytes = self.bytes.saturating_sub(freed);
    }
}

/// A key as it is kept.
enum Key<'a> {
    Own(&'a [u8]),
    Digest([u8; KEY_BYTES + 1]),
}

impl AsRef<[u8]> for Key<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Key::Own(key) => key,
            Key::Digest(digest) => digest,
        }
    }
}

fn short(key: &[u8]) -> Key<'_> {
    if key.len() <= KEY_BYTES {
        return Key::Own(key);
    }
    // Longer than a key that is kept as it is, so that none of those can be chosen to be equal.
    let mut digest = [0; KEY_BYTES + 1];
    digest.iter_mut().zip(Sha256::digest(key)).for_each(|(place, byte)| *place = byte);
    Key::Digest(digest)
}

#[cfg(test)]
mod tests;
