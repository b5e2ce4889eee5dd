//! What is counted of the instances of one version of a plugin on one worker: calls, times, failures, limits met, and what
//! they hold.
//!
//! One thread writes a meter, the one that runs the instances, so a load and a store are enough; any thread reads it. Not
//! every call is timed: reading the clock before and after would cost more than many calls do.

use crate::Trap;
use std::{
    array,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// One call in this many is timed, the first one among them. A prime, so that it is not always the same callback.
pub const TIMED: u64 = 61;

/// Upper bounds of the buckets of times, in nanoseconds.
const BOUNDS: [u64; 12] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000, 10_000_000, 50_000_000];

/// Limits that a guest can meet without breaking off.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Soft {
    Memory,
    OpenCalls,
    LogLines,
}

/// Words of [`Soft`].
const SOFT: [&str; 3] = ["memory", "open_calls", "log_lines"];

/// A number that one thread writes.
#[derive(Default)]
struct Count(AtomicU64);

impl Count {
    #[inline]
    fn add(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(by), Relaxed);
    }

    /// From one value of a part of the sum to another.
    #[inline]
    fn turn(&self, from: u64, to: u64) {
        self.add(to.wrapping_sub(from));
    }

    fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counts of one worker's instances of one version of a plugin.
pub struct Meter {
    clock: fn() -> Duration,
    calls: Count,
    /// Calls until the next one that is timed.
    until_timed: Count,
    guest: Times,
    host: Times,
    failures: [Count; Trap::KINDS.len()],
    soft: [Count; SOFT.len()],
    starts: Count,
    restarts: Count,
    instances: Count,
    streams: Count,
    memory: Count,
    open_calls: Count,
}

#[derive(Default)]
struct Times {
    buckets: [Count; BOUNDS.len() + 1],
    sum: Count,
}

impl Times {
    fn record(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let at = BOUNDS.partition_point(|bound| *bound < nanoseconds);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.add(1);
        }
        self.sum.add(nanoseconds);
    }

    fn read(&self, durations: &mut Durations) {
        for (sum, bucket) in durations.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.value();
        }
        durations.sum += Duration::from_nanos(self.sum.value());
    }
}

impl Meter {
    /// All zero. `clock` is read for calls that are timed.
    #[must_use]
    pub fn new(clock: fn() -> Duration) -> Self {
        Self {
            clock,
            calls: Count::default(),
            until_timed: Count::default(),
            guest: Times::default(),
            host: Times::default(),
            failures: array::from_fn(|_| Count::default()),
            soft: array::from_fn(|_| Count::default()),
            starts: Count::default(),
            restarts: Count::default(),
            instances: Count::default(),
            streams: Count::default(),
            memory: Count::default(),
            open_calls: Count::default(),
        }
    }

    /// An instance was started in place of one that had failed. As everything that counts, to be called by the thread that
    /// runs the instances.
    pub fn restarted(&self) {
        self.restarts.add(1);
    }

    /// An instance broke off, perhaps while it started.
    pub fn failed(&self, trap: &Trap) {
        let at = Trap::KINDS.iter().position(|kind| *kind == trap.kind());
        if let Some(count) = at.and_then(|at| self.failures.get(at)) {
            count.add(1);
        }
    }

    /// Adds all numbers to those of other workers.
    pub fn read(&self, seen: &mut Seen) {
        seen.calls += self.calls.value();
        seen.starts += self.starts.value();
        seen.restarts += self.restarts.value();
        // While they are read one may go down and the other not yet.
        seen.instances = seen.instances.wrapping_add(self.instances.value());
        seen.streams = seen.streams.wrapping_add(self.streams.value());
        seen.memory = seen.memory.wrapping_add(self.memory.value());
        seen.open_calls = seen.open_calls.wrapping_add(self.open_calls.value());
        for (sum, count) in seen.failures.iter_mut().zip(&self.failures) {
            *sum += count.value();
        }
        for (sum, count) in seen.soft.iter_mut().zip(&self.soft) {
            *sum += count.value();
        }
        self.guest.read(&mut seen.guest);
        self.host.read(&mut seen.host);
    }

    /// A call begins: when, if it is to be timed.
    #[inline]
    pub(crate) fn begin(&self) -> Option<Duration> {
        self.calls.add(1);
        let left = self.until_timed.value();
        if left > 0 {
            self.until_timed.turn(left, left - 1);
            return None;
        }
        self.until_timed.add(TIMED - 1);
        Some(self.now())
    }

    /// So many calls begin, one behind the other, if none of them is to be timed.
    #[inline]
    pub(crate) fn begin_untimed(&self, calls: u64) -> bool {
        let left = self.until_timed.value();
        if left < calls {
            return false;
        }
        self.calls.add(calls);
        self.until_timed.turn(left, left - calls);
        true
    }

    /// A call that began behind another one, and is not timed whosever turn it is.
    #[inline]
    pub(crate) fn count_one(&self) {
        if !self.begin_untimed(1) {
            self.calls.add(1);
        }
    }

    pub(crate) fn now(&self) -> Duration {
        (self.clock)()
    }

    /// A call that was timed is over; so long it was in host functions.
    pub(crate) fn timed(&self, began: Duration, host: Duration) {
        let all = self.now().saturating_sub(began);
        self.guest.record(all.saturating_sub(host));
        self.host.record(host);
    }

    /// A limit was met.
    #[cold]
    pub(crate) fn met(&self, limit: Soft) {
        if let Some(count) = self.soft.get(limit as usize) {
            count.add(1);
        }
    }

    /// An instance is there.
    pub(crate) fn started(&self) {
        self.starts.add(1);
        self.instances.add(1);
    }

    /// It is gone.
    pub(crate) fn ended(&self) {
        self.instances.turn(1, 0);
    }

    /// What one instance holds has changed.
    pub(crate) fn holds(&self, before: Holds, now: Holds) {
        self.streams.turn(before.streams as u64, now.streams as u64);
        self.memory.turn(before.memory as u64, now.memory as u64);
        self.open_calls.turn(before.open_calls as u64, now.open_calls as u64);
    }
}

/// What one instance holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Holds {
    pub(crate) streams: usize,
    pub(crate) memory: usize,
    pub(crate) open_calls: usize,
}

/// Numbers of all workers' meters of a version.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Calls into the guest.
    pub calls: u64,
    /// Instances started.
    pub starts: u64,
    /// How many of them in place of one that had failed.
    pub restarts: u64,
    /// Instances now.
    pub instances: u64,
    /// Requests and connections inside them now.
    pub streams: u64,
    /// Bytes of their memories.
    pub memory: u64,
    /// Their HTTP and gRPC calls that are not over.
    pub open_calls: u64,
    /// Time in the guest, of the calls that were timed.
    pub guest: Durations,
    /// Time in host functions, of the same calls.
    pub host: Durations,
    failures: [u64; Trap::KINDS.len()],
    soft: [u64; SOFT.len()],
}

impl Seen {
    /// Instances that broke off, by [`Trap::kind`].
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Trap::KINDS.into_iter().zip(self.failures)
    }

    /// How often each limit was met, by its word.
    pub fn limits(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let hard = self.failures().filter(|(kind, _)| !["trap", "stack", "memory"].contains(kind));
        hard.chain(SOFT.into_iter().zip(self.soft))
    }
}

/// A histogram of times.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Durations {
    buckets: [u64; BOUNDS.len() + 1],
    /// All of them together.
    pub sum: Duration,
}

impl Durations {
    /// Upper bounds in seconds, and how many are not above each; of the last one, infinity, all.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let bounds = BOUNDS.into_iter().map(|bound| Duration::from_nanos(bound).as_secs_f64());
        let below = self.buckets.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        bounds.chain([f64::INFINITY]).zip(below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Duration {
        Duration::ZERO
    }

    fn seen(meter: &Meter) -> Seen {
        let mut seen = Seen::default();
        meter.read(&mut seen);
        seen
    }

    #[test]
    fn the_first_call_and_one_in_many_are_timed() {
        let meter = Meter::new(clock);
        let timed: Vec<u64> = (0..3 * TIMED).filter(|_| meter.begin().is_some()).collect();
        assert_eq!(timed, [0, TIMED, 2 * TIMED]);
        assert_eq!(seen(&meter).calls, 3 * TIMED);
    }

    #[test]
    fn times_go_into_the_bucket_that_holds_them() {
        let times = Times::default();
        [250, 251, 60_000_000].into_iter().map(Duration::from_nanos).for_each(|time| times.record(time));
        let mut durations = Durations::default();
        times.read(&mut durations);
        let buckets: Vec<_> = durations.buckets().collect();
        assert_eq!((buckets[0], buckets[1].1, buckets[11].1), ((2.5e-7, 1), 2, 2));
        assert_eq!((buckets[12], durations.sum), ((f64::INFINITY, 3), Duration::from_nanos(60_000_501)));
    }

    #[test]
    fn what_is_held_goes_up_and_down() {
        let meter = Meter::new(clock);
        let (none, some) = (Holds::default(), Holds { streams: 2, memory: 65536, open_calls: 1 });
        meter.started();
        meter.holds(none, some);
        let now = seen(&meter);
        assert_eq!((now.instances, now.streams, now.memory, now.open_calls), (1, 2, 65536, 1));
        meter.holds(some, none);
        meter.ended();
        assert_eq!(seen(&meter), Seen { starts: 1, ..Seen::default() });
    }

    #[test]
    fn each_limit_has_a_word() {
        let meter = Meter::new(clock);
        meter.failed(&Trap::CopiedBytes { limit: 1 });
        meter.met(Soft::LogLines);
        let met: Vec<_> = seen(&meter).limits().collect();
        let expected = [
            ("call_time", 0),
            ("request_time", 0),
            ("call_host_calls", 0),
            ("request_host_calls", 0),
            ("copied_bytes", 1),
            ("memory", 0),
            ("open_calls", 0),
            ("log_lines", 1),
        ];
        assert_eq!(met, expected);
    }
}
