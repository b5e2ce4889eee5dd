//! A sliding window as a log of what was taken when.

use std::collections::VecDeque;

use crate::{Limit, NEVER, Verdict};

/// Entries of a log. For limits up to this many units every one has its own time, and the window is exact. Beyond, what
/// falls into one such part of the window counts until the last of it has left: units then come back late by at most
/// that part, and never early.
const PARTS: u64 = 256;

/// What was taken within the window.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sliding {
    log: VecDeque<Taken>,
    used: u64,
    /// The time that it was brought to, and the window that it had then.
    now: u64,
    period: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Taken {
    /// When the last of them was.
    at: u64,
    units: u64,
}

impl Sliding {
    pub(super) fn settle(&mut self, limit: &Limit, now: u64) {
        (self.now, self.period) = (self.now.max(now), limit.period);
        while let Some(first) = self.log.front() {
            if first.at.saturating_add(limit.period) > self.now {
                break;
            }
            self.used = self.used.saturating_sub(first.units);
            self.log.pop_front();
        }
    }

    pub(super) fn look(&self, limit: &Limit, cost: u64) -> Verdict {
        let remaining = limit.units.saturating_sub(self.used);
        let allowed = cost <= remaining;
        let retry_after = match allowed {
            true => 0,
            false if cost > limit.units => NEVER,
            false => self.freed_in(limit.period, cost - remaining + self.used.saturating_sub(limit.units)),
        };
        Verdict { allowed, remaining, reset: self.rest(self.now), retry_after }
    }

    /// Nanoseconds until this many units have left the window.
    fn freed_in(&self, period: u64, mut units: u64) -> u64 {
        for taken in &self.log {
            if taken.units >= units {
                return taken.at.saturating_add(period).saturating_sub(self.now);
            }
            units -= taken.units;
        }
        NEVER
    }

    pub(super) fn charge(&mut self, limit: &Limit, cost: i64) {
        if cost > 0 {
            self.add(limit, cost.unsigned_abs());
        } else {
            self.give_back(cost.unsigned_abs());
        }
    }

    fn add(&mut self, limit: &Limit, units: u64) {
        let part = if limit.units > PARTS { (limit.period / PARTS).max(1) } else { 1 };
        self.used = self.used.saturating_add(units);
        let full = self.log.len() as u64 >= PARTS + 2;
        match self.log.back_mut() {
            Some(last) if full || last.at / part == self.now / part => {
                last.at = self.now;
                last.units = last.units.saturating_add(units);
            }
            _ => self.log.push_back(Taken { at: self.now, units }),
        }
    }

    /// From the newest on, as nobody can have counted on their leaving yet.
    fn give_back(&mut self, mut units: u64) {
        while let Some(last) = self.log.back_mut() {
            let less = last.units.min(units);
            last.units -= less;
            units -= less;
            self.used = self.used.saturating_sub(less);
            if last.units > 0 {
                break;
            }
            self.log.pop_back();
        }
    }

    pub(super) fn rest(&self, now: u64) -> u64 {
        self.log.back().map_or(0, |last| last.at.saturating_add(self.period).saturating_sub(now))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.log.capacity() * size_of::<Taken>()
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.now.to_le_bytes());
        out.extend_from_slice(&self.period.to_le_bytes());
        for taken in &self.log {
            out.extend_from_slice(&taken.at.to_le_bytes());
            out.extend_from_slice(&taken.units.to_le_bytes());
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (now, rest) = super::number(bytes)?;
        let (period, mut rest) = super::number(rest)?;
        let mut sliding = Sliding { now, period, ..Sliding::default() };
        while !rest.is_empty() {
            let (at, after) = super::number(rest)?;
            let (units, after) = super::number(after)?;
            sliding.used = sliding.used.saturating_add(units);
            sliding.log.push_back(Taken { at, units });
            rest = after;
        }
        Some(sliding)
    }
}
