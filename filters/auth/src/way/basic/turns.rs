//! Who may have a password checked now: a few at a time, the others in the order in which they came.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The turns of one instance.
#[derive(Debug, Default)]
pub(super) struct Turns {
    taken: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Place>>>,
}

/// A place in the queue.
#[derive(Debug, Default)]
struct Place {
    waker: RefCell<Option<Waker>>,
    /// The turn of somebody who was ready has become this place's.
    given: Cell<bool>,
}

/// A turn. Dropped, it is the next one's.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a Turns);

/// Waits for a turn.
#[derive(Debug)]
pub(super) struct Next<'a> {
    turns: &'a Turns,
    at_once: usize,
    place: Option<Rc<Place>>,
}

impl Turns {
    /// A turn, of which there are this many at once.
    pub(super) fn next(&self, at_once: usize) -> Next<'_> {
        Next { turns: self, at_once, place: None }
    }

    /// Hands a turn on.
    fn pass(&self) {
        let next = self.waiting.borrow_mut().pop_front();
        match next {
            Some(place) => {
                place.given.set(true);
                if let Some(waker) = place.waker.take() {
                    waker.wake();
                }
            }
            None => self.taken.set(self.taken.get().saturating_sub(1)),
        }
    }
}

impl<'a> Future for Next<'a> {
    type Output = Turn<'a>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn<'a>> {
        let turns = self.turns;
        match &self.place {
            Some(place) if place.given.get() => {
                self.place = None;
                Poll::Ready(Turn(turns))
            }
            Some(place) => {
                place.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
            None if turns.taken.get() < self.at_once => {
                turns.taken.set(turns.taken.get() + 1);
                Poll::Ready(Turn(turns))
            }
            None => {
                let place = Rc::<Place>::default();
                place.waker.replace(Some(cx.waker().clone()));
                turns.waiting.borrow_mut().push_back(place.clone());
                self.place = Some(place);
                Poll::Pending
            }
        }
    }
}

impl Drop for Next<'_> {
    /// A place that was given up must not keep the turn that it was given.
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        if place.given.get() {
            self.turns.pass();
        } else {
            self.turns.waiting.borrow_mut().retain(|other| !Rc::ptr_eq(other, &place));
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.pass();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted() -> (Waker, Arc<Count>) {
        let count = Arc::new(Count::default());
        (Waker::from(count.clone()), count)
    }

    fn poll<'a>(next: Pin<&mut Next<'a>>, waker: &Waker) -> Option<Turn<'a>> {
        match next.poll(&mut Context::from_waker(waker)) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[test]
    fn turns_are_handed_on_in_order_and_wake_one() {
        let turns = Turns::default();
        let (waker, woken) = counted();
        let noop = Waker::noop();
        let (mut a, mut b) = (pin!(turns.next(2)), pin!(turns.next(2)));
        let (a, _b) = (poll(a.as_mut(), noop).unwrap(), poll(b.as_mut(), noop).unwrap());
        let (mut c, mut d) = (pin!(turns.next(2)), pin!(turns.next(2)));
        assert!(poll(c.as_mut(), &waker).is_none() && poll(d.as_mut(), noop).is_none());
        drop(a);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        // Who comes now waits behind those that wait already.
        let mut late = pin!(turns.next(2));
        assert!(poll(late.as_mut(), noop).is_none());
        assert!(poll(d.as_mut(), noop).is_none());
        let c = poll(c.as_mut(), noop).unwrap();
        drop(c);
        assert!(poll(late.as_mut(), noop).is_none());
        assert!(poll(d.as_mut(), noop).is_some());
        assert!(poll(late.as_mut(), noop).is_some());
    }

    #[test]
    fn a_place_that_is_given_up_loses_no_turn() {
        let turns = Turns::default();
        let noop = Waker::noop();
        let mut first = Box::pin(turns.next(1));
        let turn = poll(first.as_mut(), noop).unwrap();
        let mut queue: Vec<_> = (0..3).map(|_| Box::pin(turns.next(1))).collect();
        assert!(queue.iter_mut().all(|next| poll(next.as_mut(), noop).is_none()));
        // One goes before it was given the turn, one after that and before it has seen it.
        drop(queue.remove(0));
        drop(turn);
        drop(queue.remove(0));
        let turn = poll(queue.remove(0).as_mut(), noop).unwrap();
        drop(turn);
        assert_eq!((turns.taken.get(), turns.waiting.borrow().len()), (0, 0));
    }
}
