//! What is counted of exchanges that are over: by listener, by route, by upstream, and by route and upstream together.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::durations::{self, Durations};
use super::{ByReason, Counter, PerWorker};

/// The classes of statuses, by their number less one.
pub(crate) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// How an exchange, or an attempt of one, ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// One of [`CLASSES`].
    pub(crate) class: usize,
    /// The number of the reason, if it failed.
    pub(crate) reason: Option<usize>,
    pub(crate) took: Duration,
    /// The trace that tells more, if there is one.
    pub(crate) trace: Option<TraceId>,
}

/// The number of a trace and when it was noted, since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceId {
    pub(crate) trace: u128,
    pub(crate) noted: Duration,
}

/// Counts of what is over.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// By [`CLASSES`].
    pub(crate) classes: [Counter; 5],
    /// Failures by reason.
    pub(crate) fails: ByReason<Counter>,
    /// Bytes of bodies from clients.
    pub(crate) received: Counter,
    /// Bytes of bodies to clients.
    pub(crate) sent: Counter,
    /// How long each took.
    pub(crate) took: Durations,
    /// Traces of some of them; there are none before the first one.
    exemplars: OnceLock<Box<Exemplars>>,
}

impl Traffic {
    /// One is over.
    pub(crate) fn note(&self, end: &End) {
        self.note_at(end, durations::place(end.took));
    }

    /// As [`Traffic::note`], with the place of its time in a histogram.
    pub(crate) fn note_at(&self, end: &End, place: usize) {
        if let Some(counter) = self.classes.get(end.class) {
            counter.add(1);
        }
        if let Some(counter) = end.reason.and_then(|reason| self.fails.get(reason)) {
            counter.add(1);
        }
        self.took.add_at(place, end.took);
        if let Some(trace) = end.trace {
            self.exemplars.get_or_init(Box::default).note(trace, end.took);
        }
    }

    /// Its bytes.
    pub(crate) fn bytes(&self, received: u64, sent: u64) {
        self.received.add(received);
        self.sent.add(sent);
    }
}

/// Of the traffic of all workers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Total {
    pub(crate) classes: [u64; 5],
    pub(crate) fails: ByReason<u64>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) took: durations::Sum,
    /// The newest for each doubling.
    pub(crate) exemplars: Vec<Exemplar>,
}

impl Total {
    /// All workers' together.
    pub(crate) fn of<T>(cells: &PerWorker<T>, traffic: impl Fn(&T) -> &Traffic) -> Self {
        let mut total = Self::default();
        for one in cells.iter().map(&traffic) {
            let add = |sum: &mut u64, counter: &Counter| *sum = sum.wrapping_add(counter.value());
            total.classes.iter_mut().zip(&one.classes).for_each(|(sum, counter)| add(sum, counter));
            total.fails.iter_mut().zip(one.fails.iter()).for_each(|(sum, counter)| add(sum, counter));
            add(&mut total.received, &one.received);
            add(&mut total.sent, &one.sent);
            total.took.add(&one.took);
            if let Some(exemplars) = one.exemplars.get() {
                total.exemplars.extend(exemplars.read());
            }
        }
        total.exemplars.sort_by_key(|exemplar| exemplar.trace.noted);
        total
    }

    /// Whether nothing was counted yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.took.count() == 0
    }

    /// The newest exemplar between two bounds in seconds, the upper one included.
    pub(crate) fn exemplar(&self, over: f64, up_to: f64) -> Option<&Exemplar> {
        let here = |exemplar: &&Exemplar| {
            let seconds = exemplar.took.as_secs_f64();
            over < seconds && seconds <= up_to
        };
        self.exemplars.iter().rev().find(here)
    }
}

/// A request that stands for others of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exemplar {
    pub(crate) trace: TraceId,
    pub(crate) took: Duration,
}

/// The last trace for each power of two of microseconds.
#[derive(Debug, Default)]
struct Exemplars([Place; 28]);

/// One exemplar. `turn` is odd while it is written, so that a reader notices.
#[derive(Debug, Default)]
struct Place {
    turn: AtomicU64,
    high: AtomicU64,
    low: AtomicU64,
    nanos: AtomicU64,
    noted: AtomicU64,
}

impl Exemplars {
    fn note(&self, trace: TraceId, took: Duration) {
        let power = took.as_micros().max(1).ilog2() as usize;
        let Some(place) = self.0.get(power.min(self.0.len() - 1)) else { return };
        let turn = place.turn.load(Ordering::Relaxed);
        // A swap with Acquire keeps what follows after it, Release what was before.
        place.turn.swap(turn.wrapping_add(1), Ordering::AcqRel);
        place.high.store((trace.trace >> 64) as u64, Ordering::Relaxed);
        place.low.store(trace.trace as u64, Ordering::Relaxed);
        place.nanos.store(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        place.noted.store(u64::try_from(trace.noted.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        place.turn.store(turn.wrapping_add(2), Ordering::Release);
    }

    /// One that is being written is left out.
    fn read(&self) -> impl Iterator<Item = Exemplar> + '_ {
        self.0.iter().filter_map(|place| {
            let turn = place.turn.load(Ordering::Acquire);
            let (high, low) = (place.high.load(Ordering::Relaxed), place.low.load(Ordering::Relaxed));
            let (nanos, noted) = (place.nanos.load(Ordering::Relaxed), place.noted.load(Ordering::Relaxed));
            std::sync::atomic::fence(Ordering::Acquire);
            let whole = turn != 0 && turn.is_multiple_of(2) && place.turn.load(Ordering::Relaxed) == turn;
            whole.then(|| Exemplar {
                trace: TraceId {
                    trace: u128::from(high) << 64 | u128::from(low),
                    noted: Duration::from_millis(noted),
                },
                took: Duration::from_nanos(nanos),
            })
        })
    }
}

/// Where the requests of one route came from and went: a place for each pair of listener and upstream, the first few of them.
/// Most routes have one, and there may be thousands of them: places for more are made when they are needed.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    first: Target,
    more: OnceLock<Box<[Target; MOST_TARGETS - 1]>>,
}

/// Pairs of a route that are counted each; the tables of filters may name more.
const MOST_TARGETS: usize = 32;

#[derive(Debug, Default)]
struct Target {
    /// The ids of both; 0: nothing here yet.
    pair: Counter,
    requests: Counter,
    failures: Counter,
}

impl Target {
    /// Counts one of this pair; false: this is another one's place.
    #[inline]
    fn note(&self, pair: u64, failed: bool) -> bool {
        let known = self.pair.value();
        let here = known == pair || known == 0;
        if here {
            self.pair.set(pair);
            self.requests.add(1);
            self.failures.add(u64::from(failed));
        }
        here
    }
}

/// What is told of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Went {
    /// [`PerWorker::id`] of the listener's counters.
    pub(crate) listener: u64,
    /// The same of the upstream's; 0: the request went to none.
    pub(crate) upstream: u64,
    pub(crate) requests: u64,
    pub(crate) failures: u64,
}

/// Bits of an id in a pair.
const ID: u32 = 32;

impl Targets {
    /// A request of this listener went to this upstream, 0 for none.
    pub(crate) fn note(&self, listener: u64, upstream: u64, failed: bool) {
        let pair = listener << ID | upstream;
        if !self.first.note(pair, failed) {
            self.more().iter().find(|target| target.note(pair, failed));
        }
    }

    #[cold]
    fn more(&self) -> &[Target; MOST_TARGETS - 1] {
        self.more.get_or_init(Box::default)
    }

    /// All pairs so far.
    pub(crate) fn read(&self) -> impl Iterator<Item = Went> + '_ {
        let more = self.more.get().into_iter().flat_map(|more| more.iter());
        let used = std::iter::once(&self.first).chain(more).take_while(|target| target.pair.value() != 0);
        used.map(|target| Went {
            listener: target.pair.value() >> ID,
            upstream: target.pair.value() & ((1 << ID) - 1),
            requests: target.requests.value(),
            failures: target.failures.value(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exemplar_is_the_last_trace_of_its_size() {
        let cells = PerWorker::<Traffic>::new(2);
        let end = |millis, trace, noted| End {
            class: 1,
            reason: None,
            took: Duration::from_millis(millis),
            trace: Some(TraceId { trace, noted: Duration::from_millis(noted) }),
        };
        cells.of(0).note(&end(3, 7, 10));
        cells.of(0).note(&end(3, u128::MAX - 1, 12));
        cells.of(1).note(&end(3, 9, 11));
        cells.of(1).note(&end(300, 10, 13));
        let total = Total::of(&cells, |traffic| traffic);
        let found = |over, up_to| total.exemplar(over, up_to).map(|exemplar| exemplar.trace.trace);
        assert_eq!(found(0.002, 0.004), Some(u128::MAX - 1));
        assert_eq!(found(0.25, 0.5), Some(10));
        assert_eq!(found(0.5, 1.0), None);
        assert_eq!((total.classes, total.took.count()), ([0, 4, 0, 0, 0], 4));
    }

    /// Thousands of routes have one pair each on each worker.
    #[test]
    fn a_route_with_one_pair_is_small() {
        assert!(size_of::<Targets>() <= 40, "{} bytes", size_of::<Targets>());
        let targets = Targets::default();
        (0..3).for_each(|_| targets.note(7, 1, false));
        assert!(targets.more.get().is_none());
        targets.note(7, 2, false);
        assert_eq!(targets.read().map(|went| went.requests).collect::<Vec<_>>(), [3, 1]);
    }

    #[test]
    fn targets_are_counted_apart() {
        let targets = Targets::default();
        for upstream in 0..20 {
            targets.note(7, upstream, upstream == 3);
        }
        targets.note(7, 3, false);
        for upstream in 0..20 {
            targets.note(8, upstream, true);
        }
        let read: Vec<_> = targets.read().collect();
        assert_eq!(read.len(), MOST_TARGETS);
        let went = |listener, upstream, requests| Went { listener, upstream, requests, failures: 1 };
        assert_eq!((read.get(3), read.get(20)), (Some(&went(7, 3, 2)), Some(&went(8, 0, 1))));
    }
}
