//! Wakes requests that wait for another's response, on whichever worker they are.
//!
//! Each instance has a queue of its own, one of a fixed number, since queues are never removed. Who waits notes its
//! instance's queue in the claim that it waits for; who lets go of the claim tells the queues that are noted there. Where
//! there are no queues, and in case one is taken over by another instance, those who wait look again now and then.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tidegate_sdk::queue::Queue;
use tidegate_sdk::{log, shared, time};

/// The waiting requests of one instance.
#[derive(Debug, Default)]
pub struct Wake {
    /// This instance's queue.
    own: Cell<Option<Queue>>,
    waiting: RefCell<Vec<Rc<Waiting>>>,
}

#[derive(Debug)]
struct Waiting {
    /// The hash of the key that it waits for.
    key: u64,
    woken: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Wake {
    /// Takes a queue, and wakes who waits for what it says; as long as the plugin lives.
    pub async fn listen(&self) {
        let queue = match shared::update(TAKEN, |taken| number(taken).wrapping_add(1).to_le_bytes().to_vec())
            .and_then(|taken| Queue::register(&format!("wake/{}", number(Some(&taken)) % QUEUES)))
        {
            Ok(queue) => queue,
            Err(error) => return log::debug!("those who wait look again and again: {error}"),
        };
        self.own.set(Some(queue));
        while let Ok(entry) = queue.pop().await {
            if let Ok(key) = entry.try_into() {
                self.tell_own(u64::from_le_bytes(key));
            }
        }
        self.own.set(None);
    }

    /// The number of this instance's queue, once it has one.
    pub fn number(&self) -> Option<u32> {
        self.own.get().map(|queue| queue.number())
    }

    /// Wakes all who wait for this key, in this instance and in those with these queues.
    pub fn tell(&self, key: u64, queues: &[u32]) {
        self.tell_own(key);
        let own = self.number();
        for queue in queues.iter().filter(|queue| Some(**queue) != own) {
            if let Err(error) = Queue::numbered(*queue).push(key.to_le_bytes()) {
                log::debug!("an instance that waits looks again later: {error}");
            }
        }
    }

    fn tell_own(&self, key: u64) {
        let (told, rest) =
            self.waiting.take().into_iter().partition(|waiting: &Rc<Waiting>| waiting.key == key);
        self.waiting.replace(rest);
        let told: Vec<Rc<Waiting>> = told;
        for waiting in told {
            waiting.woken.set(true);
            if let Some(waker) = waiting.waker.take() {
                waker.wake();
            }
        }
    }

    /// Waits until the key is told of, or for so long.
    pub async fn wait(&self, key: u64, longest: Duration) {
        let waiting = Rc::new(Waiting { key, woken: Cell::new(false), waker: RefCell::new(None) });
        self.waiting.borrow_mut().push(waiting.clone());
        // Which of both it was makes no difference: one looks again.
        let _ = time::timeout(longest, Told { wake: self, waiting }).await;
    }
}

/// Ready when its key was told of.
struct Told<'a> {
    wake: &'a Wake,
    waiting: Rc<Waiting>,
}

impl Future for Told<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.woken.get() {
            return Poll::Ready(());
        }
        self.waiting.waker.replace(Some(cx.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if !self.waiting.woken.get() {
            self.wake.waiting.borrow_mut().retain(|other| !Rc::ptr_eq(other, &self.waiting));
        }
    }
}

fn number(bytes: Option<&[u8]>) -> u64 {
    bytes.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// How many instances have had a queue.
const TAKEN: &str = "queues";

/// Queues of a plugin; more instances than that are never there at the same time.
const QUEUES: u64 = 64;
