//! Queues between plugins, or between the instances of one.
//!
//! ```no_run
//! use tidegate_sdk::{Filter, NoConfig, Request, filter, log, queue::Queue};
//!
//! struct Audit {
//!     seen: Option<Queue>,
//! }
//!
//! #[filter]
//! impl Filter for Audit {
//!     fn new(_: NoConfig) -> Self {
//!         Audit { seen: Queue::register("seen").ok() }
//!     }
//!
//!     async fn on_request(&self, request: &mut Request) -> tidegate_sdk::Result<()> {
//!         if let Some(seen) = &self.seen {
//!             seen.push(request.path())?;
//!         }
//!         Ok(())
//!     }
//!
//!     async fn background(&self) {
//!         let Some(seen) = &self.seen else { return };
//!         while let Ok(entry) = seen.pop().await {
//!             log::info!("seen {}", entry.escape_ascii());
//!         }
//!     }
//! }
//! # fn main() {}
//! ```

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, Waker};

use tidegate_abi::Status;

use crate::hooks::{self, Event};
use crate::{Error, Outcome, host};

/// A queue of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    id: u32,
}

thread_local! {
    /// Who waits for an entry of which queue.
    static WAITING: RefCell<Vec<(u32, Waker)>> = const { RefCell::new(Vec::new()) };
}

impl Queue {
    /// Makes a queue of this plugin, or takes it over: the instance that registered last is told of its entries. While
    /// the plugin is configured, every instance registers.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn register(name: &str) -> Outcome<Self> {
        let id = host::register_queue(name).map_err(|refusal| cannot("register", name, refusal))?;
        Ok(Queue { id })
    }

    /// Finds a queue that another plugin has registered; `owner` is that plugin's name (elsewhere: the VM's id).
    ///
    /// # Errors
    /// When there is none, or the host refuses.
    pub fn find(owner: &str, name: &str) -> Outcome<Self> {
        let id = host::resolve_queue(owner, name).map_err(|refusal| cannot("find", name, refusal))?;
        Ok(Queue { id })
    }

    /// The host's number for it, by which other instances of this plugin find it.
    pub fn number(&self) -> u32 {
        self.id
    }

    /// The queue whose number another instance of this plugin has told.
    pub fn numbered(number: u32) -> Self {
        Queue { id: number }
    }

    /// Puts an entry.
    ///
    /// # Errors
    /// When the queue is gone or full.
    pub fn push(&self, entry: impl AsRef<[u8]>) -> Outcome<()> {
        host::enqueue(self.id, entry.as_ref()).map_err(|refusal| Error::refused("put an entry", refusal))
    }

    /// Takes an entry, if there is one.
    ///
    /// # Errors
    /// When the queue is gone.
    pub fn try_pop(&self) -> Outcome<Option<Vec<u8>>> {
        match host::dequeue(self.id) {
            Ok(entry) => Ok(Some(entry)),
            Err(refusal) if refusal.is(Status::Empty) => Ok(None),
            Err(refusal) => Err(Error::refused("take an entry", refusal)),
        }
    }

    /// Takes an entry, and waits for one. Only for queues that this plugin has registered: nobody is told of others.
    ///
    /// # Errors
    /// When the queue is gone.
    pub async fn pop(&self) -> Outcome<Vec<u8>> {
        poll_fn(|cx| match self.try_pop() {
            Ok(Some(entry)) => Poll::Ready(Ok(entry)),
            Ok(None) => {
                hooks::QUEUE.set(Some(ready));
                WAITING.with(|waiting| {
                    let mut waiting = waiting.borrow_mut();
                    waiting.retain(|(_, waker)| !waker.will_wake(cx.waker()));
                    waiting.push((self.id, cx.waker().clone()));
                });
                Poll::Pending
            }
            Err(error) => Poll::Ready(Err(error)),
        })
        .await
    }
}

fn ready(event: Event) {
    let Event::QueueReady { queue } = event else { return };
    let woken = WAITING.with(|waiting| {
        let mut waiting = waiting.borrow_mut();
        let (woken, rest) = waiting.drain(..).partition(|(id, _)| *id == queue);
        *waiting = rest;
        let woken: Vec<(u32, Waker)> = woken;
        woken
    });
    woken.into_iter().for_each(|(_, waker)| waker.wake());
}

#[cold]
fn cannot(verb: &str, name: &str, refusal: host::Refusal) -> Error {
    Error::refused(format!("{verb} the queue {name:?}"), refusal)
}
