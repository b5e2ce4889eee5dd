//! Signals between the instances of a plugin: a task waits for something that another instance does, and is woken when it
//! is done, on whichever worker.
//!
//! Each instance that waits has a number, that of a queue. Who waits leaves the number where the one that works will find
//! it, mostly in a value of [`shared`] data; who is done tells the numbers that are there. Where there are no queues, and
//! in case one was taken over by another instance, nobody is told: a wait ends by itself, and who has waited looks again.
//!
//! ```no_run
//! use std::time::Duration;
//! use tidegate_sdk::{Outcome, shared, signal};
//!
//! /// The value is empty until the work is done; those who wait are in `waiting`.
//! async fn wait() -> Outcome<()> {
//!     while shared::get("result")?.is_none_or(|result| result.value.is_empty()) {
//!         if let Some(number) = signal::number() {
//!             shared::update("waiting", |waiting| {
//!                 [waiting.unwrap_or_default(), &number.to_le_bytes()].concat()
//!             })?;
//!         }
//!         signal::wait("result", Duration::from_millis(500)).await;
//!     }
//!     Ok(())
//! }
//!
//! fn done(result: &[u8]) -> Outcome<()> {
//!     shared::set("result", result)?;
//!     let waiting = shared::get("waiting")?.map(|waiting| waiting.value).unwrap_or_default();
//!     let numbers: Vec<u32> = waiting.chunks_exact(4).filter_map(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes).collect();
//!     signal::tell("result", &numbers);
//!     Ok(())
//! }
//! ```

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::queue::Queue;
use crate::{Outcome, plugin, shared, time};

/// A task that waits.
#[derive(Debug)]
struct Waiting {
    key: u64,
    told: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// What this instance has of it.
#[derive(Debug, Clone, Copy)]
enum Own {
    /// Nobody has waited yet.
    Unasked,
    /// There are no queues.
    None,
    /// Its queue.
    Queue(Queue),
}

thread_local! {
    static OWN: Cell<Own> = const { Cell::new(Own::Unasked) };
    static WAITING: RefCell<Vec<Rc<Waiting>>> = const { RefCell::new(Vec::new()) };
}

/// This instance's number, by which others tell it; `None` where the host has no queues for the plugin.
pub fn number() -> Option<u32> {
    match OWN.get() {
        Own::Queue(queue) => Some(queue.number()),
        Own::None => None,
        Own::Unasked => begin(),
    }
}

/// Wakes all who wait for this name, in this instance and in those of these numbers. Of names only a hash is told, so that
/// now and then others are woken as well, for nothing.
pub fn tell(name: impl AsRef<[u8]>, numbers: &[u32]) {
    let key = hash(name.as_ref());
    tell_own(key);
    let own = match OWN.get() {
        Own::Queue(queue) => Some(queue.number()),
        Own::None | Own::Unasked => None,
    };
    for number in numbers.iter().filter(|number| Some(**number) != own) {
        if let Err(error) = Queue::numbered(*number).push(key.to_le_bytes()) {
            log::debug!("an instance that waits looks again later: {error}");
        }
    }
}

/// Waits until this name is told of, at most for so long. Which of both it was makes no difference: look again.
pub async fn wait(name: impl AsRef<[u8]>, longest: Duration) {
    let waiting =
        Rc::new(Waiting { key: hash(name.as_ref()), told: Cell::new(false), waker: RefCell::new(None) });
    WAITING.with(|all| all.borrow_mut().push(waiting.clone()));
    let _ = time::timeout(longest, Told { waiting }).await;
}

/// Takes one of a fixed number of queues, since queues are never removed, and listens to it as long as the plugin lives.
fn begin() -> Option<u32> {
    let taken = shared::update(TAKEN, |taken| read(taken).wrapping_add(1).to_le_bytes().to_vec());
    let queue = taken.and_then(|taken| Queue::register(&format!("signals/{}", read(Some(&taken)) % QUEUES)));
    match queue {
        Ok(queue) => {
            OWN.set(Own::Queue(queue));
            plugin::spawn(async move {
                let listening = Listening;
                let outcome = listen(queue).await;
                drop(listening);
                if let Err(error) = outcome {
                    log::debug!("those who wait look again and again: {error}");
                    OWN.set(Own::None);
                }
            });
            Some(queue.number())
        }
        Err(error) => {
            log::debug!("those who wait look again and again: {error}");
            OWN.set(Own::None);
            None
        }
    }
}

/// When its task is over, nobody listens to the queue.
struct Listening;

impl Drop for Listening {
    fn drop(&mut self) {
        OWN.set(Own::Unasked);
    }
}

async fn listen(queue: Queue) -> Outcome<()> {
    loop {
        if let Ok(key) = queue.pop().await?.try_into() {
            tell_own(u64::from_le_bytes(key));
        }
    }
}

fn tell_own(key: u64) {
    let told: Vec<Rc<Waiting>> = WAITING.with(|all| {
        let mut all = all.borrow_mut();
        let (told, rest) = all.drain(..).partition(|waiting| waiting.key == key);
        *all = rest;
        told
    });
    for waiting in told {
        waiting.told.set(true);
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
    }
}

/// Ready when its key was told of.
struct Told {
    waiting: Rc<Waiting>,
}

impl Future for Told {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.told.get() {
            return Poll::Ready(());
        }
        self.waiting.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if !self.waiting.told.get() {
            // Fails only while the thread ends, when nobody waits any more.
            let _ =
                WAITING.try_with(|all| all.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.waiting)));
        }
    }
}

/// FNV-1a.
fn hash(name: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    name.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

fn read(bytes: Option<&[u8]>) -> u64 {
    bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// How many instances have had a queue.
const TAKEN: &str = "signals";

/// Queues of a plugin; more instances than that are never there at the same time.
const QUEUES: u64 = 64;
