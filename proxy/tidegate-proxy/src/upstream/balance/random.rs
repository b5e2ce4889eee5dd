//! Random numbers that are good enough to spread load (xorshift64*).

use std::cell::Cell;

/// A source of them.
#[derive(Debug)]
pub(crate) struct Random(Cell<u64>);

impl Random {
    /// Any seed will do.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed | 1))
    }

    /// The next one.
    pub(crate) fn next(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// One below `limit`, which is not zero.
    pub(crate) fn below(&self, limit: u64) -> u64 {
        // The upper half of a 128-bit product is even enough for limits far below 2^64.
        u64::try_from((u128::from(self.next()) * u128::from(limit)) >> 64).unwrap_or(0)
    }
}
