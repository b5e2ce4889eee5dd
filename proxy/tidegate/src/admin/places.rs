//! The connections that the admin API has at one time. When there are no more places, whoever has asked for nothing for the
//! longest time makes room: clients that are silent, or read nothing, keep nobody else from asking how the gateway is.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::Notify;

/// All places of an address or a socket.
pub(super) struct Places {
    most: usize,
    taken: RefCell<Vec<Rc<Place>>>,
    /// Counts what is asked, so that the order is known.
    turn: Cell<u64>,
}

/// What one connection has.
pub(super) struct Place {
    places: Rc<Places>,
    /// The turn of its last request.
    last: Cell<u64>,
    /// What it was last asked for takes its time.
    kept: Cell<bool>,
    leave: Notify,
}

impl Places {
    /// For so many connections.
    pub(super) fn new(most: usize) -> Rc<Self> {
        Rc::new(Self { most, taken: RefCell::default(), turn: Cell::new(0) })
    }

    /// A place for a new connection; where there is none, another one has to leave for it.
    pub(super) fn take(self: &Rc<Self>) -> Rc<Place> {
        let mut taken = self.taken.borrow_mut();
        if taken.len() >= self.most {
            let longest =
                taken.iter().enumerate().min_by_key(|(_, place)| (place.kept.get(), place.last.get()));
            if let Some((index, _)) = longest {
                taken.swap_remove(index).leave.notify_one();
            }
        }
        let place = Rc::new(Place {
            places: Rc::clone(self),
            last: Cell::new(self.next_turn()),
            kept: Cell::new(false),
            leave: Notify::new(),
        });
        taken.push(Rc::clone(&place));
        place
    }

    fn next_turn(&self) -> u64 {
        self.turn.replace(self.turn.get() + 1)
    }
}

impl Place {
    /// Something was asked for.
    pub(super) fn asked(&self) {
        self.last.set(self.places.next_turn());
        self.kept.set(false);
    }

    /// The answer that is given is meant to take its time.
    pub(super) fn keep(&self) {
        self.kept.set(true);
    }

    /// Waits until the place is wanted for somebody else.
    pub(super) async fn wanted(&self) {
        self.leave.notified().await;
    }

    /// The connection is over.
    pub(super) fn free(self: &Rc<Self>) {
        self.places.taken.borrow_mut().retain(|place| !Rc::ptr_eq(place, self));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn is_wanted(place: &Place) -> bool {
        pin!(place.wanted()).as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn who_was_silent_for_the_longest_time_makes_room() {
        let places = Places::new(3);
        let [first, second, third] = [(); 3].map(|()| places.take());
        first.asked();
        let fourth = places.take();
        assert!(is_wanted(&second) && !is_wanted(&first) && !is_wanted(&third));
        third.free();
        let fifth = places.take();
        assert!(![&first, &fourth, &fifth].into_iter().any(|place| is_wanted(place)), "there was room");
    }

    #[test]
    fn who_watches_goes_last() {
        let places = Places::new(2);
        let (watcher, other) = (places.take(), places.take());
        watcher.asked();
        watcher.keep();
        other.asked();
        let third = places.take();
        assert!(is_wanted(&other) && !is_wanted(&watcher));
        third.asked();
        third.keep();
        let _fourth = places.take();
        assert!(is_wanted(&watcher), "where all watch, the first of them");
    }
}
