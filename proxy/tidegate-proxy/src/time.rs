//! Time: the clock of a worker and its deadlines.
//!
//! A deadline is a slot in a slab, not a timer of the runtime: setting one is a store, and one sleep per worker wakes
//! those that have passed. Deadlines are exact to about ten milliseconds, never early, and may be moved at no cost.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::LazyLock;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use slab::Slab;
use tokio::sync::Notify;

/// Milliseconds since the clock's start.
type Millis = u64;

/// The least time between two sweeps.
const GRAIN: Millis = 8;

/// How long the distance between the two clocks is taken for the same.
const WALL: Duration = Duration::from_millis(100);

/// No deadline.
const NEVER: Millis = Millis::MAX;

/// Where time comes from: one for each worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock. All have started at the same moment, so that what workers share can go by any of them. Every reading of
    /// the time in the data plane goes through one of these.
    pub(crate) fn new() -> Self {
        Self { start: *START }
    }

    /// Time since the clock's start.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place where the data plane reads the monotonic clock"
    )]
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Time since the Unix epoch.
    #[allow(clippy::disallowed_methods, reason = "the one place where the data plane reads the wall clock")]
    pub(crate) fn wall(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// Both, as a guest is told.
    pub(crate) fn guest(&self) -> tidegate_wasm::Now {
        tidegate_wasm::Now::new(self.now(), self.wall())
    }
}

/// One deadline's place.
#[derive(Debug)]
struct Slot {
    at: Millis,
    waker: Option<Waker>,
}

/// All deadlines of a worker.
#[derive(Debug)]
pub(crate) struct Deadlines {
    clock: Clock,
    slots: RefCell<Slab<Slot>>,
    /// The driver sleeps until then; never later than the earliest deadline.
    armed: Cell<Millis>,
    /// The time when it was last read: not long ago on a busy worker, never ahead.
    recent: Cell<Duration>,
    /// How far the wall clock is ahead, and until when that holds.
    wall: Cell<(Duration, Duration)>,
    earlier: Notify,
}

impl Deadlines {
    /// No deadline yet. `drive` must run for them to fire.
    pub(crate) fn new(clock: Clock) -> Rc<Self> {
        let told = clock.guest();
        Rc::new(Self {
            clock,
            slots: RefCell::new(Slab::new()),
            armed: Cell::new(NEVER),
            recent: Cell::new(Duration::ZERO),
            wall: Cell::new((told.ahead, Duration::ZERO)),
            earlier: Notify::new(),
        })
    }

    /// The worker's time, read now.
    pub(crate) fn now(&self) -> Duration {
        let now = self.clock.now();
        self.recent.set(now);
        now
    }

    /// The worker's time when it was last read, for what may be a little early and must cost nothing.
    pub(crate) fn recent(&self) -> Duration {
        self.recent.get()
    }

    /// [`Deadlines::recent`] as a guest is told. A step of the wall clock shows within a tenth of a second.
    #[inline]
    pub(crate) fn guest(&self) -> tidegate_wasm::Now {
        let (monotonic, (ahead, until)) = (self.recent.get(), self.wall.get());
        let ahead = if monotonic < until { ahead } else { self.look_at_the_wall() };
        tidegate_wasm::Now { monotonic, ahead }
    }

    #[cold]
    fn look_at_the_wall(&self) -> Duration {
        let now = self.clock.now();
        let ahead = self.clock.wall().saturating_sub(now);
        self.wall.set((ahead, now + WALL));
        ahead
    }

    /// Wakes what has passed, for ever.
    pub(crate) async fn drive(self: Rc<Self>) {
        loop {
            let armed = self.armed.get();
            if armed == NEVER {
                self.earlier.notified().await;
                continue;
            }
            let now = passed(self.now());
            if armed > now {
                let sleep = tokio::time::sleep(Duration::from_millis(armed - now));
                tokio::select! { () = sleep => {}, () = self.earlier.notified() => continue }
            }
            self.sweep(passed(self.now()));
        }
    }

    /// Wakes the slots whose deadline is not after `now` and arms for the earliest of the rest.
    fn sweep(&self, now: Millis) {
        let mut earliest = NEVER;
        for (_, slot) in self.slots.borrow_mut().iter_mut() {
            if slot.at <= now {
                if let Some(waker) = slot.waker.take() {
                    waker.wake();
                }
            } else {
                earliest = earliest.min(slot.at);
            }
        }
        // Many deadlines close together are one sweep.
        self.armed.set(earliest.max(now + GRAIN));
    }

    fn arm(&self, at: Millis) {
        if at < self.armed.get() {
            self.armed.set(at);
            self.earlier.notify_one();
        }
    }
}

/// A deadline that can be moved; gone when dropped.
#[derive(Debug)]
pub(crate) struct Deadline {
    all: Rc<Deadlines>,
    key: usize,
}

impl Deadline {
    /// A deadline that is not set yet.
    pub(crate) fn new(all: &Rc<Deadlines>) -> Self {
        let key = all.slots.borrow_mut().insert(Slot { at: NEVER, waker: None });
        Self { all: all.clone(), key }
    }

    /// The worker's time, read now.
    pub(crate) fn now(&self) -> Duration {
        self.all.now()
    }

    /// Passes `after` from now; none: never. Replaces what was set before.
    pub(crate) fn set(&self, after: Option<Duration>) {
        let at = after.map_or(NEVER, |after| millis(self.all.now() + after));
        self.set_at(at);
    }

    /// As [`Deadline::set`] with the time of the worker's clock at which it passes.
    pub(crate) fn set_until(&self, at: Option<Duration>) {
        self.set_at(at.map_or(NEVER, millis));
    }

    fn set_at(&self, at: Millis) {
        if let Some(slot) = self.all.slots.borrow_mut().get_mut(self.key) {
            slot.at = at;
        }
        self.all.arm(at);
    }

    /// Ready once the deadline has passed; else the task is woken then.
    pub(crate) fn poll_passed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut slots = self.all.slots.borrow_mut();
        let Some(slot) = slots.get_mut(self.key) else { return Poll::Pending };
        if slot.at == NEVER {
            return Poll::Pending;
        }
        // The sweep that wakes a task has read the time just before.
        if slot.at <= passed(self.all.recent()) {
            return Poll::Ready(());
        }
        match &mut slot.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.all.slots.borrow_mut().try_remove(self.key);
    }
}

/// The whole milliseconds that have passed. Deadlines are rounded up and the time down: what is told to have passed is
/// past to the last digit, or who compares exactly would ask again at once, and for ever.
fn passed(now: Duration) -> Millis {
    u64::try_from(now.as_millis()).unwrap_or(NEVER - 1)
}

/// When a deadline is, in whole milliseconds, rounded up so that nothing fires early.
fn millis(time: Duration) -> Millis {
    let rest = u64::from(time.subsec_nanos().div_ceil(1_000_000));
    time.as_secs().checked_mul(1_000).and_then(|whole| whole.checked_add(rest)).unwrap_or(NEVER - 1)
}

/// Time since some moment of the process, for what has no worker's clock at hand.
#[allow(clippy::disallowed_methods, reason = "the one place where the data plane reads the monotonic clock")]
pub(crate) fn monotonic() -> Duration {
    START.elapsed()
}

/// The moment that the process's clocks go by.
#[allow(clippy::disallowed_methods, reason = "the one place where the data plane reads the monotonic clock")]
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// How long the calling thread was on a CPU so far, as the kernel's scheduler counts it. None where it does not.
///
/// It reads a file, so it is for what has gone wrong already.
#[must_use]
pub fn thread_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    // A kernel that does not count says zero.
    text.split(' ').next()?.parse().ok().filter(|time| *time > 0).map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever is told that a deadline has passed finds that it has, by the same reading of the time.
    #[test]
    fn nothing_passes_before_its_last_digit() {
        let all = Deadlines::new(Clock::new());
        let deadline = Deadline::new(&all);
        let mut cx = Context::from_waker(Waker::noop());
        let until = Duration::from_nanos(300_900_001);
        deadline.set_until(Some(until));
        for (now, ready) in [(300_000, false), (300_500, false), (300_999, false), (301_000, true)] {
            let now = Duration::from_micros(now);
            all.recent.set(now);
            assert_eq!(deadline.poll_passed(&mut cx).is_ready(), ready, "{now:?}");
            assert!(!ready || until <= all.recent());
        }
    }
}
