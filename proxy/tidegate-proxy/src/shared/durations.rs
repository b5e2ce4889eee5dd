//! How long things took, in buckets that double: as Prometheus and OpenTelemetry have them in exponential histograms.
//!
//! There are four buckets for each doubling, OpenTelemetry's scale 2. What wants fewer takes them together.

use std::time::Duration;

use super::Counter;

/// Buckets for each doubling.
const PER_DOUBLING: i32 = 4;
/// Everything up to 2 to this power, in seconds, is in the first bucket.
const LEAST: i32 = -14;
/// Everything over 2 to this power is in the last one.
const MOST: i32 = 7;
/// Those between, the first and the last.
const CELLS: usize = ((MOST - LEAST) * PER_DOUBLING) as usize + 2;
/// The first 64 bits of 2^(1/4), 2^(1/2) and 2^(3/4).
const QUARTERS: [u64; 3] = [0x9837_f051_8db8_a96f, 0xb504_f333_f9de_6484, 0xd744_fcca_d69d_6af4];
/// Bits behind the point of a time in seconds, as many as the factor below leaves room for.
const POINT: i32 = 93;
/// A nanosecond in seconds, rounded down.
const PER_NANO: u128 = (1 << POINT) / 1_000_000_000;

/// Counts by duration; one worker writes it.
#[derive(Debug)]
pub(crate) struct Durations {
    cells: [Counter; CELLS],
    /// Nanoseconds together.
    sum: Counter,
}

impl Default for Durations {
    fn default() -> Self {
        Self { cells: [const { Counter::new() }; CELLS], sum: Counter::default() }
    }
}

impl Durations {
    /// One more.
    #[inline]
    pub(crate) fn add(&self, took: Duration) {
        self.add_at(place(took), took);
    }

    /// As [`Durations::add`], where its [`place`] is known.
    #[inline]
    pub(crate) fn add_at(&self, place: usize, took: Duration) {
        if let Some(cell) = self.cells.get(place) {
            cell.add(1);
        }
        self.sum.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// Where a duration is counted. A bound belongs to the bucket below it.
#[inline]
pub(crate) fn place(took: Duration) -> usize {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    // Seconds in binary, a trace less than they are, so that what is on a bound falls below it.
    let seconds = u128::from(nanos) * PER_NANO;
    let power = 127 - i32::try_from(seconds.leading_zeros()).unwrap_or(128) - POINT;
    let leading = (seconds << (seconds.leading_zeros() & 127) >> 64) as u64;
    let quarter: i32 = QUARTERS.iter().map(|bound| i32::from(leading >= *bound)).sum();
    let index = power * PER_DOUBLING + quarter;
    usize::try_from(index - LEAST * PER_DOUBLING + 1).unwrap_or(0).min(CELLS - 1)
}

/// Durations of all workers together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sum {
    cells: [u64; CELLS],
    nanos: u64,
}

impl Default for Sum {
    fn default() -> Self {
        Self { cells: [0; CELLS], nanos: 0 }
    }
}

impl Sum {
    /// Takes one worker's in.
    pub(crate) fn add(&mut self, of: &Durations) {
        for (sum, cell) in self.cells.iter_mut().zip(&of.cells) {
            *sum = sum.wrapping_add(cell.value());
        }
        self.nanos = self.nanos.wrapping_add(of.sum.value());
    }

    /// What has come since an earlier reading.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        for (count, before) in since.cells.iter_mut().zip(&earlier.cells) {
            *count = count.saturating_sub(*before);
        }
        since.nanos = since.nanos.saturating_sub(earlier.nanos);
        since
    }

    /// How many took longer, to the precision of the buckets: those in the bucket of the bound did not.
    pub(crate) fn above(&self, bound: Duration) -> u64 {
        self.cells.iter().skip(place(bound) + 1).sum()
    }

    /// The bound of the bucket up to which so many of a hundred are; none: nothing was counted.
    pub(crate) fn percentile(&self, percent: u64) -> Option<Duration> {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        let mut below = 0;
        let at = self.cells.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        let quarters = i32::try_from(at).ok()? + LEAST * PER_DOUBLING;
        Some(Duration::from_secs_f64(2f64.powf(f64::from(quarters) / f64::from(PER_DOUBLING))))
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// How long they took together, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.nanos as f64 / 1e9
    }

    /// Upper bounds in seconds with the number of all up to them, two to a doubling or one, from 2^-13 to 2^6 seconds.
    /// The last one, of all, is left out.
    pub(crate) fn cumulative(&self, steps: Steps) -> impl Iterator<Item = (f64, u64)> + '_ {
        let stride = match steps {
            Steps::Doubling => PER_DOUBLING,
            Steps::Half => PER_DOUBLING / 2,
        };
        let (mut below, mut next) = (0, 0);
        ((LEAST + 1) * PER_DOUBLING..=(MOST - 1) * PER_DOUBLING)
            .step_by(usize::try_from(stride).unwrap_or(1))
            .map(move |quarters| {
                let end = usize::try_from(quarters - LEAST * PER_DOUBLING + 1).unwrap_or(0);
                below += self.cells.get(next..end).unwrap_or_default().iter().sum::<u64>();
                next = end;
                (2f64.powf(f64::from(quarters) / f64::from(PER_DOUBLING)), below)
            })
    }

    /// As OpenTelemetry has them: the index of the first bucket at scale 2, and the counts from there on.
    pub(crate) fn exponential(&self) -> (i32, &[u64]) {
        // Who reads it cannot have "all below": the first bucket stands for it.
        (LEAST * PER_DOUBLING - 1, &self.cells)
    }
}

/// How fine a histogram is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Steps {
    /// Each bound is twice the one before it.
    Doubling,
    /// Two steps for that.
    Half,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bounds of a cell, by the definition and not by bits.
    fn bounds(place: usize) -> (f64, f64) {
        let upper = place as f64 / 4.0 + f64::from(LEAST);
        (2f64.powf(upper - 0.25), 2f64.powf(upper))
    }

    #[test]
    fn each_duration_is_between_the_bounds_of_its_bucket() {
        let mut nanos = 70_000u64;
        while nanos < 120_000_000_000 {
            let took = Duration::from_nanos(nanos);
            let (lower, upper) = bounds(place(took));
            let seconds = took.as_secs_f64();
            assert!(lower < seconds && seconds <= upper * 1.000_000_000_001, "{seconds} in {lower}..{upper}");
            nanos += nanos / 97 + 1;
        }
    }

    #[test]
    fn percentiles() {
        let durations = Durations::default();
        let millis = Duration::from_millis;
        (0..98).for_each(|_| durations.add(millis(1)));
        let mut first = Sum::default();
        assert_eq!(first.percentile(99), None);
        first.add(&durations);
        (0..2).for_each(|_| durations.add(millis(100)));
        let mut sum = Sum::default();
        sum.add(&durations);
        for (percent, expected) in [(50, millis(1)), (98, millis(1)), (99, millis(100)), (100, millis(100))] {
            let found = sum.percentile(percent).expect("there is something");
            assert!(found >= expected && found <= expected * 6 / 5, "{found:?} for {expected:?}");
        }
        assert_eq!([millis(1), millis(50), millis(100)].map(|bound| sum.above(bound)), [2, 2, 0]);
        let since = sum.since(&first);
        assert_eq!((since.count(), since.seconds()), (2, 0.2));
    }

    #[test]
    fn bounds_belong_to_the_bucket_below() {
        for (took, expected) in [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 0),
            (Duration::from_secs(1), 56),
            (Duration::from_nanos(1_000_000_001), 57),
            (Duration::from_secs(128), CELLS - 2),
            (Duration::from_secs(129), CELLS - 1),
            (Duration::MAX, CELLS - 1),
        ] {
            assert_eq!(place(took), expected, "{took:?}");
        }
    }

    #[test]
    fn what_is_shown_counts_all_up_to_a_bound() {
        let durations = Durations::default();
        for millis in [1, 3, 250, 1000, 1500, 90_000, 200_000] {
            durations.add(Duration::from_millis(millis));
        }
        let mut sum = Sum::default();
        sum.add(&durations);
        assert_eq!((sum.count(), sum.seconds()), (7, 292.754));
        for steps in [Steps::Doubling, Steps::Half] {
            let shown: Vec<_> = sum.cumulative(steps).collect();
            let at = |bound: f64| shown.iter().find(|(b, _)| (b - bound).abs() < 1e-12).map(|(_, n)| *n);
            let found = [0.000_976_562_5, 0.25, 1.0, 2.0, 64.0].map(at);
            assert_eq!(found, [Some(0), Some(3), Some(4), Some(5), Some(5)], "{shown:?}");
            assert!(shown.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1), "{shown:?}");
        }
    }
}
