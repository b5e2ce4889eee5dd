//! A request's session: which server it is with, and what the client is told for the next time.

use std::sync::Arc;
use std::time::Duration;

use http::Response;
use http::request::Parts;
use tidegate_config::plan::{SessionCarrier, UpstreamIndex};

use crate::exchange::Exchange;
use crate::exchange::wish::cookie;
use crate::http::body::Body;
use crate::local::View;
use crate::snapshot::Targets;
use crate::upstream::balance::key;
use crate::upstream::pool::Pool;
use crate::upstream::session::{self, Course, Refusal, Session, Ticket};

/// What is known of a request's session.
pub(crate) struct Held {
    session: Arc<Session>,
    brought: Brought,
    /// The ticket names a server of the upstream that the request goes to.
    here: bool,
}

/// What a client brought.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Brought {
    ticket: Option<Ticket>,
    refusal: Option<Refusal>,
    /// It is to be sealed anew, with the key that seals now.
    is_old: bool,
}

impl Held {
    /// The server that the request wants.
    pub(crate) fn server(&self) -> Option<u64> {
        self.brought.ticket.filter(|_| self.here).map(|ticket| ticket.server)
    }
}

impl Brought {
    fn read(session: &Session, head: &Parts, now: Duration) -> Self {
        let text = match session.carrier() {
            SessionCarrier::Cookie(own) => cookie(head, &own.name),
            SessionCarrier::Header(_) => head.headers.get(session.field()).map(|value| value.as_bytes()),
        };
        match text.map(|text| session.open(text, now)) {
            None => Self::default(),
            Some(Ok(opened)) => Self { ticket: Some(opened.ticket), refusal: None, is_old: opened.is_old },
            Some(Err(refusal)) => Self { refusal: Some(refusal), ..Self::default() },
        }
    }
}

impl Exchange {
    /// The upstream that the request's session is with, if requests may go there; and what the client brought.
    #[cold]
    pub(super) fn resume(&mut self, targets: &Targets, head: &Parts) -> (Option<UpstreamIndex>, Brought) {
        let now = self.record.client.local.clock.wall();
        let mut last = Brought::default();
        for session in targets.sessions.each() {
            let brought = Brought::read(session, head, now);
            let kept = brought.ticket.and_then(|ticket| targets.kept(ticket.upstream));
            if let Some((index, arm)) = kept {
                if let (Some(arm), Some((_, rollout))) = (arm, &targets.release) {
                    self.record.take_arm(rollout, arm, None);
                }
                return (Some(index), brought);
            }
            if brought.ticket.is_some() || brought.refusal.is_some() {
                last = brought;
            }
        }
        (None, last)
    }

    /// The request goes to this upstream, where its session goes on or begins.
    #[cold]
    pub(super) fn hold(&mut self, targets: &Targets, index: UpstreamIndex, brought: Brought) {
        let Some(pool) = self.record.view.pools.get(index) else { return };
        let Some(session) = targets.sessions.of(index).or(pool.cluster.session.as_ref()) else { return };
        let own = session::upstream_of(&pool.name);
        let here = brought.ticket.is_some_and(|ticket| ticket.upstream == own);
        pool.keep_sessions();
        self.record.session = Some(Box::new(Held { session: session.clone(), brought, here }));
    }

    /// As [`Exchange::hold`] for an upstream that a filter has chosen.
    #[cold]
    pub(super) fn hold_chosen(&mut self, targets: &Targets, index: UpstreamIndex, head: &Parts) {
        let own = self.record.view.pools.get(index).and_then(|pool| pool.cluster.session.as_ref());
        let Some(session) = targets.sessions.of(index).or(own) else { return };
        let now = self.record.client.local.clock.wall();
        let brought = Brought::read(session, head, now);
        self.hold(targets, index, brought);
    }

    /// Tells the client where its session is, if that is news.
    #[cold]
    pub(super) fn tell_session(&self, view: &View, response: &mut Response<Body>) {
        let record = &self.record;
        let (Some(held), Some((index, server))) = (&record.session, &record.upstream) else { return };
        let Some(pool) = view.pools.get(*index) else { return };
        let local = &record.client.local;
        let now = local.clock.wall();
        let here = key::of_server(&server.identity);
        let course = self.course(held, pool, here);
        pool.count_session(course, held.brought.refusal);
        let ticket = held.brought.ticket;
        let server = match (course, ticket) {
            (Course::Kept, Some(ticket)) if !held.brought.is_old && !held.session.is_stale(&ticket, now) => {
                return;
            }
            (Course::Kept, Some(ticket)) => ticket.server,
            _ => here,
        };
        let seen = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let began = ticket.map_or(seen, |ticket| ticket.began);
        let ticket = Ticket { upstream: session::upstream_of(&pool.name), server, began, seen };
        let nonce = [local.random.next(), local.random.next()];
        if let Some(value) = held.session.value(&ticket, record.client.secure, nonce) {
            match held.session.carrier() {
                SessionCarrier::Cookie(_) => _ = response.headers_mut().append(held.session.field(), value),
                SessionCarrier::Header(_) => _ = response.headers_mut().insert(held.session.field(), value),
            }
        }
    }

    /// An attempt beside the one at the session's server was faster: that is no reason to move.
    fn course(&self, held: &Held, pool: &Pool, here: u64) -> Course {
        let won = self.record.tries.as_ref().is_some_and(|tries| tries.won);
        match held.server() {
            None => Course::Began,
            Some(server) if server == here || won && pool.has_home(server) => Course::Kept,
            Some(_) => Course::Moved,
        }
    }
}
