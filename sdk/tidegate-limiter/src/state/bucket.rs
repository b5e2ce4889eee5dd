//! A token bucket as one number: when it will be full again (GCRA, ITU-T I.371).

use crate::{Limit, NEVER, Verdict};

/// Times here are nanoseconds multiplied by the limit's units, so that a unit is exactly one period and nothing is
/// rounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// When it is full again.
    full_at: u128,
    /// The time that it was brought to.
    now: u128,
    /// What times are multiplied by.
    units: u64,
}

impl Bucket {
    pub(super) fn new(limit: &Limit) -> Self {
        Bucket { full_at: 0, now: 0, units: limit.units.max(1) }
    }

    pub(super) fn settle(&mut self, limit: &Limit, now: u64) {
        let units = limit.units.max(1);
        if units != self.units {
            let scaled = |time: u128| (time / u128::from(self.units)).saturating_mul(u128::from(units));
            (self.full_at, self.now, self.units) = (scaled(self.full_at), scaled(self.now), units);
        }
        self.now = self.now.max(u128::from(now) * u128::from(units));
        self.full_at = self.full_at.max(self.now);
    }

    pub(super) fn look(&self, limit: &Limit, cost: u64) -> Verdict {
        let period = u128::from(limit.period.max(1));
        let missing = self.full_at - self.now;
        let room = (period * u128::from(limit.burst)).saturating_sub(missing);
        let wanted = period * u128::from(cost);
        // A unit that is not there in full is not there.
        let remaining = u64::try_from(room / period).unwrap_or(u64::MAX);
        let allowed = wanted <= room;
        let retry_after = match allowed {
            true => 0,
            false if cost > limit.burst => NEVER,
            false => self.nanoseconds(wanted + missing - period * u128::from(limit.burst)),
        };
        Verdict { allowed, remaining, reset: self.nanoseconds(missing), retry_after }
    }

    pub(super) fn charge(&mut self, limit: &Limit, cost: i64) {
        let amount = u128::from(limit.period.max(1)) * u128::from(cost.unsigned_abs());
        self.full_at = match cost >= 0 {
            true => self.full_at.saturating_add(amount),
            false => self.full_at.saturating_sub(amount).max(self.now),
        };
    }

    pub(super) fn rest(&self, now: u64) -> u64 {
        self.nanoseconds(self.full_at.saturating_sub(u128::from(now) * u128::from(self.units)))
    }

    /// Rounded up: what is asked then must be there.
    fn nanoseconds(&self, scaled: u128) -> u64 {
        u64::try_from(scaled.div_ceil(u128::from(self.units))).unwrap_or(NEVER - 1)
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.full_at.to_le_bytes());
        out.extend_from_slice(&self.now.to_le_bytes());
        out.extend_from_slice(&self.units.to_le_bytes());
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (full_at, rest) = bytes.split_first_chunk()?;
        let (now, rest) = rest.split_first_chunk()?;
        let (units, _) = super::number(rest)?;
        let (full_at, now) = (u128::from_le_bytes(*full_at), u128::from_le_bytes(*now));
        (units > 0 && full_at >= now).then_some(Bucket { full_at, now, units })
    }
}
