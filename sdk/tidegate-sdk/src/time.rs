//! The time, sleeping, and time limits.
//!
//! On Tidegate a request's sleep is a timer of its own, which goes off within a few milliseconds of its time. Elsewhere, and
//! in the background, all sleepers of an instance share the host's one timer, which is set for the first of them and off
//! when nobody sleeps.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::foreign::{self, Later};
use crate::hooks::{self, Event};
use crate::{Error, Outcome, host};

/// The time since 1970.
///
/// ```no_run
/// use tidegate_sdk::time;
///
/// /// Of a token, in seconds since 1970.
/// fn is_over(expires: u64) -> bool {
///     time::now().as_secs() >= expires
/// }
/// ```
pub fn now() -> Duration {
    Duration::from_nanos(host::now())
}

/// Waits. Hosts count in milliseconds and may be late; less than one is one.
///
/// ```no_run
/// use std::time::Duration;
/// use tidegate_sdk::{http, time};
///
/// async fn with_second_try() -> tidegate_sdk::Outcome<http::Answer> {
///     match http::get("/keys").to("keys").await {
///         Ok(answer) => Ok(answer),
///         Err(_) => {
///             time::sleep(Duration::from_millis(100)).await;
///             http::get("/keys").to("keys").await
///         }
///     }
/// }
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    Sleep { state: State::New(duration) }
}

/// Waits for a future, but not for longer than this.
///
/// ```no_run
/// use std::time::Duration;
/// use tidegate_sdk::{Outcome, http, join, time};
///
/// /// Both together have a second.
/// async fn both() -> Outcome<()> {
///     let (a, b) = (http::get("/a").to("app"), http::get("/b").to("app"));
///     let (a, b) = time::timeout(Duration::from_secs(1), join(a, b)).await?;
///     a.and(b).map(drop)
/// }
/// ```
///
/// # Errors
/// [`Error::TimedOut`] when it took longer; it is then dropped.
pub async fn timeout<F: IntoFuture>(duration: Duration, future: F) -> Outcome<F::Output> {
    let mut future = pin!(future.into_future());
    let mut sleep = pin!(sleep(duration));
    std::future::poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        sleep.as_mut().poll(cx).map(|()| Err(Error::TimedOut))
    })
    .await
}

/// A wait that begins when it is first polled.
#[derive(Debug)]
#[must_use = "it waits when it is awaited"]
pub struct Sleep {
    state: State,
}

#[derive(Debug)]
enum State {
    New(Duration),
    /// The host wakes it.
    Hosted(Later),
    Asleep(Key),
    Over,
}

/// When a sleeper is due, and its number.
type Key = (u64, u64);

struct Timer {
    sleepers: RefCell<BTreeMap<Key, Waker>>,
    next: Cell<u64>,
    /// When the host's timer was set to go off; 0 when it is off.
    set_for: Cell<u64>,
    changed: Cell<bool>,
}

thread_local! {
    static TIMER: Timer = const {
        Timer {
            sleepers: RefCell::new(BTreeMap::new()),
            next: Cell::new(0),
            set_for: Cell::new(0),
            changed: Cell::new(false),
        }
    };
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        TIMER.with(|timer| match &mut self.state {
            &mut State::New(duration) => {
                if let Some(mut later) = hosted(duration) {
                    let polled = Pin::new(&mut later).poll(cx).map(drop);
                    self.state = State::Hosted(later);
                    return polled;
                }
                let wait = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
                let number = timer.next.replace(timer.next.get().wrapping_add(1));
                let key = (host::now().saturating_add(wait), number);
                timer.sleepers.borrow_mut().insert(key, cx.waker().clone());
                timer.changed.set(true);
                hooks::TIME.set(Some(passed));
                self.state = State::Asleep(key);
                Poll::Pending
            }
            State::Hosted(later) => Pin::new(later).poll(cx).map(drop),
            State::Asleep(key) => match timer.sleepers.borrow_mut().get_mut(key) {
                Some(waker) => {
                    waker.clone_from(cx.waker());
                    Poll::Pending
                }
                None => {
                    self.state = State::Over;
                    Poll::Ready(())
                }
            },
            State::Over => Poll::Ready(()),
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let State::Asleep(key) = self.state {
            // Fails only while the thread ends.
            let _ = TIMER.try_with(|timer| {
                if timer.sleepers.borrow_mut().remove(&key).is_some() {
                    timer.changed.set(true);
                }
            });
        }
    }
}

/// A timer of the host's own for the request that is served; none where it has none, or none left.
fn hosted(duration: Duration) -> Option<Later> {
    let known = HOSTED.get().unwrap_or_else(|| {
        let known = foreign::has(SLEEP);
        HOSTED.set(Some(known));
        known
    });
    let time = u32::try_from(duration.as_nanos().div_ceil(1_000_000)).ok().filter(|_| known)?;
    // Outside of a request the host refuses.
    Later::begin(SLEEP, &time.to_le_bytes()).ok()
}

const SLEEP: &str = "tidegate_sleep";

thread_local! {
    /// Whether the host has timers of its own, once that is known.
    static HOSTED: Cell<Option<bool>> = const { Cell::new(None) };
}

fn passed(event: Event) {
    TIMER.with(|timer| match event {
        Event::Tick => timer.wake(),
        Event::Settle => timer.set(),
        _ => {}
    });
}

impl Timer {
    /// Wakes all that are due. A timer that went off is due by itself: a clock that was set back must not hold it.
    fn wake(&self) {
        let now = host::now().max(self.set_for.get());
        loop {
            let mut sleepers = self.sleepers.borrow_mut();
            let Some(first) = sleepers.first_entry().filter(|first| first.key().0 <= now) else { break };
            let waker = first.remove();
            drop(sleepers);
            waker.wake();
        }
        self.set_for.set(0);
        self.changed.set(true);
    }

    /// Sets the host's timer for the first sleeper.
    fn set(&self) {
        if !self.changed.replace(false) {
            return;
        }
        let first = self.sleepers.borrow().keys().next().map_or(0, |(due, _)| (*due).max(1));
        if first == self.set_for.get() && first != 0 {
            return;
        }
        let period = match first {
            0 => 0,
            due => due.saturating_sub(host::now()).div_ceil(1_000_000).clamp(1, u64::from(u32::MAX)),
        };
        self.set_for.set(first);
        if let Err(refusal) = host::set_tick_period(u32::try_from(period).unwrap_or(u32::MAX)) {
            log::error!("the timer cannot be set, so sleepers sleep on: the host answered {refusal}");
        }
    }
}
