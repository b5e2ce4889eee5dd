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
    /// Forgets all that was wanted. False: something stays, so that it cannot be used for another request.
    fn clear(&self) -> bool {
        // Without a rest, so that no field is forgotten.
        let Self {
            reply,
            resume_request,
            resume_response,
            feed_request,
            feed_response,
            breaks_request,
            breaks_response,
            reset,
            details,
            clear_route,
            chose,
            upstream,
            rule,
            server,
            injects,
            failed,
            trace,
            wakers,
        } = self;
        reply.take();
        for flag in [resume_request, resume_response, feed_request, feed_response] {
            flag.set(false);
        }
        for flag in [breaks_request, breaks_response, reset, clear_route, chose, injects] {
            flag.set(false);
        }
        details.take();
        upstream.set(None);
        rule.set(None);
        server.set(None);
        failed.set(None);
        *wakers.borrow_mut() = [None, None, None];
        trace.get().is_none()
    }

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
    /// Of requests that are over, to be used again. What was used last comes first: it is still in the CPU's cache.
    spare: Vec<Rc<Held>>,
}

/// How many are kept to be used again.
const SPARE: usize = 64;

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
    pub(crate) fn open(&mut self, stream: StreamId) -> Rc<Held> {
        let held = self.fresh();
        loop {
            let at = self.place(stream);
            match self.places.get_mut(at) {
                Some(place @ None) => {
                    *place = Some((stream, held.clone()));
                    return held;
                }
                Some(Some((known, held))) if *known == stream => return held.clone(),
                // Numbers of streams that are open at one time differ in their low bits, so this ends.
                _ => self.grow(),
            }
        }
    }

    /// One is gone.
    #[inline]
    pub(crate) fn remove(&mut self, stream: StreamId) {
        let at = self.place(stream);
        let gone = self.places.get_mut(at).and_then(|place| place.take_if(|(known, _)| *known == stream));
        if let Some((_, held)) = gone {
            self.keep(held);
        }
    }

    /// One of which nothing is wanted yet.
    #[inline]
    fn fresh(&mut self) -> Rc<Held> {
        // Nobody has it any more, unless somebody looks at a request that is over.
        self.spare.pop().filter(|held| Rc::strong_count(held) == 1).unwrap_or_default()
    }

    /// That of a request that is over, to be used again.
    #[inline]
    fn keep(&mut self, held: Rc<Held>) {
        if held.clear() && self.spare.len() < SPARE {
            self.spare.push(held);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn is_fresh(held: &Held) -> bool {
        let Held { reply, resume_request, resume_response, feed_request, feed_response, .. } = held;
        let flags = [resume_request, resume_response, feed_request, feed_response];
        let more = [
            &held.breaks_request,
            &held.breaks_response,
            &held.reset,
            &held.clear_route,
            &held.chose,
            &held.injects,
        ];
        let flags = flags.into_iter().chain(more).all(|flag| !flag.get());
        let chosen =
            held.upstream.get().is_some() || held.rule.get().is_some() || held.server.get().is_some();
        let told =
            reply.borrow().is_some() || !held.details.borrow().is_empty() || held.trace.get().is_some();
        flags && !chosen && !told && held.failed.get().is_none()
    }

    #[test]
    fn a_request_finds_nothing_of_the_one_before() {
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        let waker = Waker::from(woken.clone());
        let held = Held::default();
        for side in [Side::Request, Side::Response] {
            [held.resume(side), held.feed(side), held.breaks(side)]
                .into_iter()
                .for_each(|flag| flag.set(true));
        }
        [&held.reset, &held.clear_route, &held.injects].into_iter().for_each(|flag| flag.set(true));
        held.choose_server(([127, 0, 0, 1], 80).into());
        held.choose_upstream(1);
        held.choose_rule(2);
        held.reply.replace(Some(Box::new(Reply::text(http::StatusCode::FORBIDDEN, "no"))));
        held.details.replace("why".into());
        held.failed.set(Some(Reason::PluginTrap));
        held.wake_later(Waiting::End, &Context::from_waker(&waker));
        assert!(!is_fresh(&held));
        assert!(held.clear() && is_fresh(&held));
        held.wake();
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_still_held_elsewhere_is_not_used_again() {
        let mut holds = Holds::default();
        let held = holds.fresh();
        let known = Rc::as_ptr(&held);
        held.reset.set(true);
        holds.keep(held);
        let held = holds.fresh();
        assert!(Rc::as_ptr(&held) == known && is_fresh(&held), "the same one");
        holds.keep(held.clone());
        let other = holds.fresh();
        held.reset.set(true);
        assert!(is_fresh(&other), "somebody has that one still");
        (0..2 * SPARE).for_each(|_| holds.keep(Rc::default()));
        assert_eq!(holds.spare.len(), SPARE);
    }
}
