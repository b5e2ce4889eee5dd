//! Shares that come out exactly, on each worker by itself and so on all of them: no worker asks another one whose turn it is.

use std::sync::Arc;

use crate::shared::{Counter, PerWorker};

/// Points on a line, each as often as every other one, and evenly spread from the first ones on.
///
/// A worker goes on by the same stride each time, close to the golden section of the line (a Weyl sequence): after so
/// many steps as the line is long it was at each point once, and in between no part of the line is ahead of its share by
/// more than a few. Workers begin at different points.
#[derive(Debug)]
pub(crate) struct Turns {
    at: PerWorker<Counter>,
    length: u64,
    stride: u64,
}

impl Turns {
    /// A line of this length, at most half of what a number can be; 0 is taken for 1.
    pub(crate) fn new(length: u64, workers: usize) -> Arc<Self> {
        let length = length.max(1);
        Arc::new(Self { at: PerWorker::new(workers), length, stride: stride(length) })
    }

    /// The length of the line.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The next point for a worker, which is below the length. Only the worker itself calls this.
    pub(crate) fn next(&self, worker: usize) -> u64 {
        let cell = self.at.of(worker);
        let at = cell.value();
        cell.set(self.wrapped(at + self.stride));
        self.wrapped(at + part(GOLDEN.wrapping_mul(worker as u64), self.length))
    }

    /// The point of a key, of which all bits count: the same for the same key.
    pub(crate) fn of(&self, key: u64) -> u64 {
        part(key, self.length)
    }

    fn wrapped(&self, point: u64) -> u64 {
        if point >= self.length { point - self.length } else { point }
    }
}

/// The golden section of 2^64.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// As much of a length as `of` is of 2^64; less than the length.
pub(super) fn part(of: u64, length: u64) -> u64 {
    u64::try_from((u128::from(of) * u128::from(length)) >> 64).unwrap_or(0)
}

/// Close to the golden section, and without a divisor in common with the length: else some points would never come.
fn stride(length: u64) -> u64 {
    let golden = part(GOLDEN, length);
    (golden..length).chain(1..golden).find(|&stride| divisor(stride, length) == 1).unwrap_or(0)
}

fn divisor(mut a: u64, mut b: u64) -> u64 {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_point_comes_once_in_a_round() {
        for length in [1, 2, 3, 10, 97, 100, 256, 1000] {
            for worker in [0, 1, 5] {
                let turns = Turns::new(length, 8);
                let mut seen: Vec<u64> = (0..length).map(|_| turns.next(worker)).collect();
                seen.sort_unstable();
                assert_eq!(seen, (0..length).collect::<Vec<_>>(), "{length} on worker {worker}");
            }
        }
    }

    /// How far the share of `0..bound` is from what it should be, at most, at any time in so many steps.
    fn worst(length: u64, bound: u64, workers: usize, steps: u64) -> f64 {
        let turns = Turns::new(length, workers);
        let mut below = 0_u64;
        let mut worst = 0_f64;
        for step in 1..=steps {
            // As uneven as connections may be: most requests come to the last worker.
            let worker = if step % 3 == 0 { (step / 3) as usize % workers } else { workers - 1 };
            below += u64::from(turns.next(worker) < bound);
            let expected = step as f64 * bound as f64 / length as f64;
            worst = worst.max((below as f64 - expected).abs());
        }
        worst
    }

    #[test]
    fn a_share_is_exact_at_any_time_whatever_worker_a_request_comes_to() {
        for (length, bound) in [(10, 1), (100, 10), (100, 1), (1_000_000, 100_000), (1_000_000, 1), (3, 1)] {
            for (workers, allowed) in [(1, 3.0), (2, 5.0), (8, 12.0)] {
                let worst = worst(length, bound, workers, 10_000);
                assert!(worst <= allowed, "{bound} of {length} over {workers} workers: {worst} off");
            }
        }
    }

    #[test]
    fn workers_begin_elsewhere() {
        let turns = Turns::new(100, 4);
        let first: Vec<u64> = (0..4).map(|worker| turns.next(worker)).collect();
        let mut different = first.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), 4, "{first:?}");
    }
}
