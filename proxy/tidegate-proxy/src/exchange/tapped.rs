//! What is kept of an exchange that somebody may want to see by a tap, and how it is handed over at its end.
//!
//! Nothing of it is there for others: the hooks are where traces and access logs look anyway.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::request::Parts;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tidegate_config::plan::PluginIndex;
use tidegate_wasm::Side;

use crate::exchange::finish::Record;
use crate::exchange::steps::{Passed, Scope};
use crate::http::body::{Body, BodyError};
use crate::http::fail::{Fail, Reason};
use crate::local::tap::{Attempted, Changed, Coming, Guested, Line, Outcome, Over, Seen, Stepped, Tap};
use crate::snapshot::logs::MILLION;
use crate::upstream::course::Course;
use crate::upstream::member::Member;
use crate::upstream::pool::Pool;
use crate::upstream::send::Answer;

/// The bit of [`Record::logs`] by which an exchange that is followed is looked at where others are logged. Logs have
/// the lower half of them.
pub(crate) const FOLLOWED: u32 = 1 << 31;

/// Changes by steps, and attempts, that are kept at most.
const MOST: usize = 64;

/// See the module.
pub(crate) struct Tapped {
    /// Those that it may be for.
    taps: Vec<Arc<Tap>>,
    came: Rc<Parts>,
    canonical: Option<Rc<Parts>>,
    sent: Option<Rc<Parts>>,
    steps: Vec<Stepped>,
    attempts: Vec<Attempted>,
    answer: Option<HeaderMap>,
    bodies: Option<[First; 2]>,
}

/// The first bytes of a body.
#[derive(Clone)]
struct First(Rc<RefCell<BytesMut>>, usize);

impl First {
    fn take(&self, data: &[u8]) {
        let mut kept = self.0.borrow_mut();
        let room = self.1.saturating_sub(kept.len());
        kept.extend_from_slice(data.get(..room.min(data.len())).unwrap_or_default());
    }
}

impl Record {
    /// A request has come while taps are open.
    #[cold]
    pub(crate) fn begin_tap(&mut self, head: &Rc<Parts>) {
        let local = &self.client.local;
        let listener = self.view.listener(self.listener).map_or("", |listener| &listener.spec.name);
        let coming = Coming { listener, head, second: self.start.as_secs() };
        let draw = || local.random.below(u64::from(MILLION));
        let taps = local.taps.following(|tap| tap.follows(&coming, draw));
        let Some(body) = taps.iter().map(|tap| tap.limits.body).max() else { return };
        let first = || First(Rc::default(), body);
        self.logs |= FOLLOWED;
        (self.takes_notes, self.watched) = (true, true);
        self.tap = Some(Box::new(Tapped {
            taps,
            came: head.clone(),
            canonical: None,
            sent: None,
            steps: Vec::new(),
            attempts: Vec::new(),
            answer: None,
            bodies: (body > 0).then(|| [first(), first()]),
        }));
    }

    /// The head as routes see it.
    pub(crate) fn tap_canonical(&mut self, head: &Rc<Parts>) {
        let Some(tap) = &mut self.tap else { return };
        tap.canonical = Some(head.clone());
        tap.taps.retain(|tap| tap.filter.may_be_at(&head.uri));
        if tap.taps.is_empty() {
            self.forget_tap();
        }
    }

    /// Nobody wants to see it any more.
    fn forget_tap(&mut self) {
        self.tap = None;
        self.watched = self.trace.is_some();
    }

    /// A message before one of the gateway's own steps; none: nobody wants to see what it changes.
    #[inline]
    pub(crate) fn before_step<T: Clone>(&self, message: &T) -> Option<T> {
        self.tap.is_some().then(|| message.clone())
    }

    /// The request after such a step.
    #[cold]
    pub(crate) fn tap_request_step(&mut self, at: (Scope, usize), before: &Parts, after: &Parts) {
        self.tap_step(at, || Changed::Request(Box::new((before.into(), after.into()))));
    }

    /// The response after such a step.
    #[cold]
    pub(crate) fn tap_response_step(&mut self, at: (Scope, usize), before: HeaderMap, after: &HeaderMap) {
        self.tap_step(at, || Changed::Response(Box::new((before, after.clone()))));
    }

    /// A plugin was away, which its policy allows.
    #[cold]
    pub(crate) fn tap_away(&mut self, at: (Scope, usize), plugin: &str) {
        self.tap_step(at, || Changed::Away(plugin.to_owned()));
    }

    fn tap_step(&mut self, (scope, step): (Scope, usize), change: impl FnOnce() -> Changed) {
        if let Some(tap) = self.tap.as_mut().filter(|tap| tap.steps.len() < MOST) {
            tap.steps.push(Stepped { spot: (scope.rule(), step), change: change() });
        }
    }

    /// An attempt begins.
    #[cold]
    pub(crate) fn watch_attempt(&mut self, pool: &Pool, head: &mut Rc<Parts>) -> Option<Rc<Course>> {
        let course = self.trace_attempt(pool, head);
        self.tap_attempt(head);
        course
    }

    fn tap_attempt(&mut self, head: &Rc<Parts>) {
        let rule = self.rule.and_then(|rule| self.view.rule(rule));
        let Some(tap) = &mut self.tap else { return };
        if let Some(rule) = rule {
            tap.taps.retain(|tap| tap.filter.may_be_of(&rule.route, &rule.name));
            if tap.taps.is_empty() {
                return self.forget_tap();
            }
        }
        tap.sent = Some(head.clone());
        if tap.attempts.len() >= MOST {
            return;
        }
        let pool = self.upstream.as_ref().and_then(|(upstream, _)| self.view.pools.get(*upstream));
        tap.attempts.push(Attempted {
            upstream: pool.map(|pool| pool.name.to_string()).unwrap_or_default(),
            server: self.upstream.as_ref().map(|(_, server)| server.identity.address),
            picked: pool.map(|pool| self.picked.words(pool.cluster.spec.balance.word())).unwrap_or_default(),
            began: self.sent_at.unwrap_or(self.start).saturating_sub(self.start),
            connection: None,
            outcome: None,
        });
    }

    /// The attempt has its connection.
    #[cold]
    pub(crate) fn tap_connection(&mut self, reused: bool) {
        let waited = self.waited.unwrap_or_default();
        if let Some(attempt) = self.tap.as_mut().and_then(|tap| tap.attempts.last_mut()) {
            attempt.connection = Some((reused, waited));
        }
    }

    /// One of several attempts at once is over; which server it was at is known by now.
    #[cold]
    pub(crate) fn tap_hedge(&mut self, began: Option<Duration>, upstream: &str, server: Option<&Member>) {
        let began = began.unwrap_or(self.start).saturating_sub(self.start);
        let Some(tap) = &mut self.tap else { return };
        let open = |attempt: &&mut Attempted| attempt.outcome.is_none() && attempt.began == began;
        if let Some(attempt) = tap.attempts.iter_mut().find(open) {
            upstream.clone_into(&mut attempt.upstream);
            attempt.server = server.map(|server| server.identity.address);
        }
    }

    /// An attempt is over.
    #[cold]
    pub(crate) fn watch_outcome(&mut self, outcome: &Result<Answer, Fail>, took: Duration) {
        if self.trace.is_some() {
            self.trace_outcome(outcome);
        }
        let began = self.sent_at.unwrap_or(self.start).saturating_sub(self.start);
        let Some(tap) = &mut self.tap else { return };
        let open = |attempt: &&mut Attempted| attempt.outcome.is_none() && attempt.began == began;
        let Some(attempt) = tap.attempts.iter_mut().rev().find(open) else { return };
        let came = match outcome {
            Ok(answer) => Outcome::Status(answer.response.status()),
            Err(fail) => Outcome::Failed(fail.reason.word(), fail.source.as_ref().map(ToString::to_string)),
        };
        attempt.outcome = Some((came, took));
    }

    /// A request's body, whose first bytes are kept.
    pub(crate) fn tap_body(&self, body: Body, side: Side) -> Body {
        let bodies = self.tap.as_ref().and_then(|tap| tap.bodies.as_ref());
        let Some([request, response]) = bodies else { return body };
        let first = if side == Side::Request { request } else { response };
        match body {
            Body::Empty => Body::Empty,
            Body::Full(bytes) => {
                first.take(&bytes);
                Body::Full(bytes)
            }
            body => Body::stream(Watched { body, first: first.clone() }),
        }
    }

    /// The answer as the client gets it.
    pub(crate) fn tap_answer(&mut self, headers: &HeaderMap, body: &mut Body) {
        let Some(tap) = &mut self.tap else { return };
        tap.answer = Some(headers.clone());
        *body = self.tap_body(std::mem::take(body), Side::Response);
    }

    /// The exchange is over: who wants to see it gets it.
    #[cold]
    pub(crate) fn end_tap(&mut self, took: Duration) {
        let Some(tap) = self.tap.take() else { return };
        let guests: Vec<Guested> = self.guests.iter().map(|passed| self.guested(passed)).collect();
        let rule = self.rule.and_then(|rule| self.view.rule(rule));
        let upstream = self.upstream.as_ref().and_then(|(upstream, _)| self.view.pools.get(*upstream));
        let over = Over {
            head: tap.canonical.as_ref().unwrap_or(&tap.came),
            route: rule.map(|rule| (&*rule.route, &*rule.name)),
            upstream: upstream.map(|pool| &*pool.name),
            plugins: &guests,
            status: self.status.map_or(0, |status| status.as_u16()),
            reason: self.reason.map(Reason::word),
            took,
        };
        let second = (self.start + took).as_secs();
        let matches = |tap: &&Arc<Tap>| tap.filter.matches(&over);
        let wanted: Vec<Arc<Tap>> = tap.taps.iter().filter(matches).cloned().collect();
        if wanted.is_empty() {
            return;
        }
        let seen = Arc::new(self.seen(*tap, guests, took));
        wanted.iter().for_each(|tap| tap.hand_over(&seen, second));
    }

    fn seen(&self, tap: Tapped, guests: Vec<Guested>, took: Duration) -> Seen {
        let name =
            |plugin: PluginIndex| self.view.plugins.get(plugin).map(|slot| slot.entry.name.to_string());
        let line = |head: &Rc<Parts>| Line::from(&**head);
        Seen {
            snapshot: self.view.snapshot.clone(),
            generation: self.view.generation.number,
            listener: self.listener,
            ended: self.client.local.clock.wall(),
            client: self.source(),
            peer: self.client.address,
            secure: self.client.secure,
            version: self.version,
            came: line(&tap.came),
            canonical: tap.canonical.as_ref().map(line),
            rule: self.rule,
            left: self.reroute.left.clone(),
            route_by: self.reroute.chosen_by.and_then(name),
            upstream_by: self.chosen.and_then(|(_, plugin)| name(plugin)),
            steps: tap.steps,
            guests,
            sent: tap.sent.as_ref().map(line),
            attempts: tap.attempts,
            stopped: self.tries.as_ref().and_then(|tries| tries.stopped).map(|stop| stop.word()),
            status: self.status,
            answer: tap.answer,
            answered_by: self.replied.and_then(name),
            details: self.details.clone(),
            reason: self.reason.map(Reason::word),
            failed_by: self.reason.and_then(|_| self.failed_by()).and_then(name),
            bytes: (self.progress.as_ref().map_or(0, |progress| progress.bytes.get()), self.sent),
            waited: self.waited,
            head_took: self.answered_at.map(|at| at.saturating_sub(self.start)),
            took,
            trace: self.trace.as_ref().map(|trace| (trace.trace, trace.span)),
            bodies: tap.bodies.map(|both| both.map(|first| first.0.take().freeze())),
        }
    }

    fn guested(&self, passed: &Passed) -> Guested {
        let name = self.view.plugins.get(passed.plugin).map_or("", |slot| &*slot.entry.name);
        let (callbacks, times) = passed.guest.times();
        Guested {
            spot: (passed.scope.rule(), passed.step),
            plugin: name.to_owned(),
            tape: passed.guest.tape(),
            callbacks,
            times,
            failed: passed.guest.has_failed(),
        }
    }
}

/// A body whose first bytes are kept as they pass.
struct Watched {
    body: Body,
    first: First,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.first.take(data);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
