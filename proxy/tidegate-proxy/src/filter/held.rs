//! What a guest wants of one request or connection, and those that wait for it.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Waker};

use tidegate_wasm::{Side, StreamId};

use crate::filter::traced::Follow;
use crate::http::fail::Reason;
use crate::http::reply::Reply;

/// What a guest wants of one request or connection, until that takes it.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) reply: RefCell<Option<Box<Reply>>>,
    pub(crate) resume_request: Cell<bool>,
    pub(crate) resume_response: Cell<bool>,
    pub(crate) feed_request: Cell<bool>,
    pub(crate) feed_response: Cell<bool>,
    pub(crate) breaks_request: Cell<bool>,
    pub(crate) breaks_response: Cell<bool>,
    pub(crate) reset: Cell<bool>,
    /// Why, for the access log.
    pub(crate) details: RefCell<String>,
    pub(crate) clear_route: Cell<bool>,
    /// There is something in the next three.
    pub(crate) chose: Cell<bool>,
    /// The upstream and the rule that it has chosen, by number.
    pub(crate) upstream: Cell<Option<usize>>,
    pub(crate) rule: Cell<Option<usize>>,
    /// The server that it has chosen.
    pub(crate) server: Cell<Option<SocketAddr>>,
    /// It has put bytes into the response's body.
    pub(crate) injects: Cell<bool>,
    pub(crate) failed: Cell<Option<Reason>>,
    /// Of a request that is traced.
    pub(crate) trace: OnceCell<Rc<Follow>>,
    wakers: RefCell<[Option<Waker>; 3]>,
}

/// What waits for a guest; each may be a task of its own.
#[derive(Clone, Copy)]
pub(crate) enum Waiting {
    /// The client's side.
    Request,
    /// The upstream's.
    Response,
    /// The exchange, for its end.
    End,
}

impl From<Side> for Waiting {
    fn from(side: Side) -> Self {
        match side {
            Side::Request => Self::Request,
            Side::Response => Self::Response,
        }
    }
}

impl Held {
    /// Wakes all that wait.
    pub(crate) fn wake(&self) {
        for waker in self.wakers.borrow_mut().iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }

    /// Has the task woken by whatever the guest wants next.
    pub(crate) fn wake_later(&self, who: impl Into<Waiting>, cx: &Context<'_>) {
        let [request, response, end] = &mut *self.wakers.borrow_mut();
        let place = match who.into() {
            Waiting::Request => request,
            Waiting::Response => response,
            Waiting::End => end,
        };
        match place {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
    }

    /// The guest has chosen an upstream, by number.
    pub(crate) fn choose_upstream(&self, upstream: usize) {
        self.upstream.set(Some(upstream));
        self.chose.set(true);
    }

    /// It has chosen a rule, by number.
    pub(crate) fn choose_rule(&self, rule: usize) {
        self.rule.set(Some(rule));
        self.chose.set(true);
    }

    /// It has chosen a server.
    pub(crate) fn choose_server(&self, address: SocketAddr) {
        self.server.set(Some(address));
        self.chose.set(true);
    }

    /// What is held of this side goes on.
    pub(crate) fn resume(&self, side: Side) -> &Cell<bool> {
        match side {
            Side::Request => &self.resume_request,
            Side::Response => &self.resume_response,
        }
    }

    /// The body of this side breaks off behind what has been let through.
    pub(crate) fn breaks(&self, side: Side) -> &Cell<bool> {
        match side {
            Side::Request => &self.breaks_request,
            Side::Response => &self.breaks_response,
        }
    }

    /// More of this side may be given to the guest.
    pub(crate) fn feed(&self, side: Side) -> &Cell<bool> {
        match side {
            Side::Request => &self.feed_request,
            Side::Response => &self.feed_response,
        }
    }
}

/// What the guest of one instance wants of its requests and connections. As in the instance itself a number's place is
/// that of its low bits, so that finding one is an index and a comparison.
#[derive(Default)]
pub(crate) struct Holds {
    places: Vec<Option<(StreamId, Rc<Held>)>>,
}

impl Holds {
    /// What is wanted of this one, if it is there.
    #[inline]
    pub(crate) fn get(&self, stream: StreamId) -> Option<&Rc<Held>> {
        match self.places.get(self.place(stream)) {
            Some(Some((known, held))) if *known == stream => Some(held),
            _ => None,
        }
    }

    /// One more is there.
    pub(crate) fn insert(&mut self, stream: StreamId, held: Rc<Held>) {
        loop {
            let at = self.place(stream);
            match self.places.get_mut(at) {
                Some(place @ None) => return *place = Some((stream, held)),
                Some(Some((known, _))) if *known == stream => return,
                // Numbers of streams that are open at one time differ in their low bits, so this ends.
                _ => self.grow(),
            }
        }
    }

    /// One is gone.
    #[inline]
    pub(crate) fn remove(&mut self, stream: StreamId) {
        let at = self.place(stream);
        if let Some(place) = self.places.get_mut(at) {
            place.take_if(|(known, _)| *known == stream);
        }
    }

    /// All that are there.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Held> {
        self.places.iter().flatten().map(|(_, held)| &**held)
    }

    #[inline]
    fn place(&self, stream: StreamId) -> usize {
        stream.number() as usize & self.places.len().wrapping_sub(1)
    }

    /// Doubles the places: numbers that differ in some low bits still do with one more.
    fn grow(&mut self) {
        let old = std::mem::take(&mut self.places);
        self.places.resize_with((old.len() * 2).max(16), || None);
        for (stream, held) in old.into_iter().flatten() {
            let at = self.place(stream);
            if let Some(place) = self.places.get_mut(at) {
                *place = Some((stream, held));
            }
        }
    }
}
