//! What was taken of one limit.

mod bucket;
mod sliding;

use crate::{Algorithm, Limit, Moment, NEVER, Verdict};
use bucket::Bucket;
use sliding::Sliding;

/// What was taken of one limit by one key. Made by the first question; a limit that has changed takes over what is
/// comparable, and begins anew where its algorithm is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Of a token bucket.
    #[doc(hidden)]
    Bucket(Bucket),
    /// Of a sliding window.
    #[doc(hidden)]
    Sliding(Sliding),
    /// Of a fixed window.
    #[doc(hidden)]
    Fixed {
        /// When the window began.
        start: u64,
        /// Its length.
        period: u64,
        /// Units taken in it.
        used: u64,
    },
    /// Units held now.
    #[doc(hidden)]
    Held(u64),
}

impl State {
    /// Nothing was taken.
    #[must_use]
    pub fn new(limit: &Limit) -> Self {
        match limit.algorithm {
            Algorithm::TokenBucket => State::Bucket(Bucket::new(limit)),
            Algorithm::SlidingWindow => State::Sliding(Sliding::default()),
            Algorithm::FixedWindow => State::Fixed { start: 0, period: limit.period, used: 0 },
            Algorithm::Concurrency => State::Held(0),
        }
    }

    /// Brings it to this moment, for this limit.
    fn settle(&mut self, limit: &Limit, now: Moment) {
        match (&mut *self, limit.algorithm) {
            (State::Bucket(bucket), Algorithm::TokenBucket) => bucket.settle(limit, now.monotonic),
            (State::Sliding(log), Algorithm::SlidingWindow) => log.settle(limit, now.monotonic),
            (State::Fixed { start, period, used }, Algorithm::FixedWindow) => {
                let current = now.wall - now.wall % limit.period.max(1);
                // Clocks of two threads may differ a little at the border, and then the later window is right.
                let behind = *period == limit.period && current < *start && *start - current <= *period;
                if *period != limit.period || (*start != current && !behind) {
                    (*start, *period, *used) = (current, limit.period, 0);
                }
            }
            (State::Held(_), Algorithm::Concurrency) => {}
            _ => {
                *self = State::new(limit);
                self.settle(limit, now);
            }
        }
    }

    /// Looks whether this many units are there, and takes none.
    pub fn look(&mut self, limit: &Limit, cost: u64, now: Moment) -> Verdict {
        self.settle(limit, now);
        match self {
            State::Bucket(bucket) => bucket.look(limit, cost),
            State::Sliding(log) => log.look(limit, cost),
            State::Fixed { start, period, used } => {
                let left = start.saturating_add(*period).saturating_sub(now.wall);
                simple(*used, limit.units, cost, left)
            }
            State::Held(held) => {
                let mut verdict = simple(*held, limit.units, cost, 0);
                if !verdict.allowed {
                    verdict.retry_after = NEVER;
                }
                verdict
            }
        }
    }

    /// Takes units, or gives some back, whether they are there or not; as after [`State::look`] has allowed it.
    pub fn charge(&mut self, limit: &Limit, cost: i64, now: Moment) {
        self.settle(limit, now);
        match self {
            State::Bucket(bucket) => bucket.charge(limit, cost),
            State::Sliding(log) => log.charge(limit, cost),
            State::Fixed { used, .. } | State::Held(used) => *used = used.saturating_add_signed(cost),
        }
    }

    /// Takes units if they are there; the verdict is about what is left then.
    pub fn take(&mut self, limit: &Limit, cost: u64, now: Moment) -> Verdict {
        let verdict = self.look(limit, cost, now);
        if !verdict.allowed {
            return verdict;
        }
        self.charge(limit, i64::try_from(cost).unwrap_or(i64::MAX), now);
        Verdict { allowed: true, retry_after: 0, ..self.look(limit, 0, now) }
    }

    /// Whether it is as if nothing had been taken, so that it can be forgotten. It goes by the limit that was asked for
    /// last.
    #[must_use]
    pub fn is_over(&self, now: Moment) -> bool {
        self.rest(now) == Some(0)
    }

    /// Nanoseconds until nothing of it is left; none: it lasts until it is given back.
    #[must_use]
    pub fn rest(&self, now: Moment) -> Option<u64> {
        match self {
            State::Bucket(bucket) => Some(bucket.rest(now.monotonic)),
            State::Sliding(log) => Some(log.rest(now.monotonic)),
            State::Fixed { used: 0, .. } => Some(0),
            State::Fixed { start, period, .. } => {
                Some(start.saturating_add(*period).saturating_sub(now.wall))
            }
            State::Held(0) => Some(0),
            State::Held(_) => None,
        }
    }

    /// Bytes that it has on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            State::Sliding(log) => log.heap_bytes(),
            _ => 0,
        }
    }

    /// Its bytes, for hosts that keep bytes only.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            State::Bucket(bucket) => {
                out.push(Algorithm::TokenBucket.number());
                bucket.encode(out);
            }
            State::Sliding(log) => {
                out.push(Algorithm::SlidingWindow.number());
                log.encode(out);
            }
            State::Fixed { start, period, used } => {
                out.push(Algorithm::FixedWindow.number());
                [start, period, used]
                    .into_iter()
                    .for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
            }
            State::Held(held) => {
                out.push(Algorithm::Concurrency.number());
                out.extend_from_slice(&held.to_le_bytes());
            }
        }
    }

    /// What [`State::encode`] has written; none: these are no such bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (algorithm, rest) = bytes.split_first()?;
        match Algorithm::from_number(*algorithm)? {
            Algorithm::TokenBucket => Bucket::decode(rest).map(State::Bucket),
            Algorithm::SlidingWindow => Sliding::decode(rest).map(State::Sliding),
            Algorithm::FixedWindow => {
                let (start, rest) = number(rest)?;
                let (period, rest) = number(rest)?;
                let (used, _) = number(rest)?;
                Some(State::Fixed { start, period, used })
            }
            Algorithm::Concurrency => number(rest).map(|(held, _)| State::Held(held)),
        }
    }
}

/// The verdict where units are just counted.
fn simple(used: u64, units: u64, cost: u64, left: u64) -> Verdict {
    let remaining = units.saturating_sub(used);
    let allowed = cost <= remaining;
    let retry_after = match allowed {
        true => 0,
        false if cost > units => NEVER,
        false => left,
    };
    Verdict { allowed, remaining, reset: if used == 0 { 0 } else { left }, retry_after }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests;
