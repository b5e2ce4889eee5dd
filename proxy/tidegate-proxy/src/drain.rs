//! Tells connections to end: those who wait are woken, those who look find out.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

use slab::Slab;

/// A trigger with everyone who waits for it, on one worker.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    pulled: Cell<bool>,
    waiting: RefCell<Slab<Option<Waker>>>,
}

impl Drain {
    /// Everyone is to end.
    pub(crate) fn pull(&self) {
        self.pulled.set(true);
        for (_, waker) in self.waiting.borrow_mut().iter_mut() {
            if let Some(waker) = waker.take() {
                waker.wake();
            }
        }
    }

    /// Whether it was pulled.
    pub(crate) fn is_pulled(&self) -> bool {
        self.pulled.get()
    }

    /// A place to wait at.
    pub(crate) fn enter(&self) -> usize {
        self.waiting.borrow_mut().insert(None)
    }

    /// Registers the task to be woken.
    pub(crate) fn wait(&self, place: usize, cx: &Context<'_>) {
        if let Some(slot) = self.waiting.borrow_mut().get_mut(place) {
            match slot {
                Some(waker) => waker.clone_from(cx.waker()),
                empty => *empty = Some(cx.waker().clone()),
            }
        }
    }

    /// The place is given up.
    pub(crate) fn leave(&self, place: usize) {
        self.waiting.borrow_mut().try_remove(place);
    }
}
