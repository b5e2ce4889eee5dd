//! To an upstream: pick, connect, send, and again where that is safe.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONNECTION, EXPECT, TE, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use tidegate_config::plan::{Deadlines, UpstreamProtocol};

use crate::exchange::Exchange;
use crate::exchange::hedge::Hedged;
use crate::exchange::retry::{Attempts, Next};
use crate::exchange::tunnel::Switched;
use crate::http::body::Body;
use crate::http::fail::{Fail, Reason, Retry};
use crate::http::sanitize::{self, Sanitized};
use crate::local::View;
use crate::snapshot::{Rule, Targets};
use crate::upstream::failure::Failure;
use crate::upstream::pool::Pool;
use crate::upstream::send::{self, Answer, Message};

/// What is known of a request that goes to an upstream.
pub(crate) struct Forward<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) known: Sanitized,
}

impl Exchange {
    /// Sends the request to one of the targets, as often as the rule allows.
    pub(crate) async fn forward(
        &mut self,
        view: &View,
        targets: &Targets,
        forward: Forward<'_>,
        mut message: Message,
    ) -> Result<Response<Body>, Fail> {
        let chosen = self.record.chosen.map(|(index, _)| index);
        let index = match chosen {
            None => self.choose(targets, &message.head),
            Some(index) => {
                self.hold_chosen(targets, index, &message.head);
                Some(index)
            }
        };
        let index = index.ok_or_else(|| Fail::gateway(Reason::NoUpstream))?;
        let pool = view.pools.get(index).ok_or_else(|| Fail::gateway(Reason::Internal))?;
        let asks_upgrade =
            forward.known.upgrade.is_some() && pool.cluster.spec.protocol != UpstreamProtocol::Http2;
        prepare(&mut message.head, &forward.known, asks_upgrade);

        let rule = forward.rule;
        let told = match rule.timeouts.deadlines == Deadlines::default() {
            true => None,
            false => Some(self.heed_deadlines(rule.timeouts.deadlines, &message.head.headers)),
        };
        let mut attempts = Attempts::new(&rule.retries, &mut message);
        let outcome = if attempts.may_hedge() && !asks_upgrade {
            let hedged = Hedged { index, pool, limit: rule.timeouts.attempt, told };
            Box::pin(self.hedged(hedged, &mut attempts, &mut message)).await?
        } else {
            loop {
                if let Some(told) = told {
                    self.tell_deadline(told, rule.timeouts.attempt, &mut message)?;
                }
                let again = attempts.allowed > 0;
                let outcome = self
                    .attempt(index, pool, rule.timeouts.attempt, &mut message, again, &attempts.tried)
                    .await;
                let Some(cause) = attempts.cause(&outcome) else { break outcome };
                let server = self.record.upstream.as_ref().map(|(_, server)| server.clone());
                match self.next((pool, &mut attempts), (server.as_deref(), cause), &outcome, &mut message) {
                    Next::Done => break outcome,
                    Next::Again(None) => {}
                    Next::Again(Some(wait)) => {
                        drop(outcome);
                        Box::pin(self.pause(wait)).await?;
                    }
                }
            }
        };
        message.let_go();
        let answer = outcome?;
        match Rc::get_mut(&mut message.head) {
            Some(head) => pool.reuse_fields(std::mem::take(&mut head.headers)),
            None => self.record.gone = Some((index, message.head)),
        }
        if let Some(limit) = rule.timeouts.stream {
            self.limit_stream(limit, answer.tunnel.is_some());
        }
        let until = rule.timeouts.stream.and(self.record.until);
        let mut response = self.passed_on(answer, (asks_upgrade, until))?;
        if self.record.session.is_some() {
            self.tell_session(view, &mut response);
        }
        Ok(response)
    }

    /// One attempt.
    async fn attempt(
        &mut self,
        index: usize,
        pool: &Rc<Pool>,
        limit: Option<Duration>,
        message: &mut Message,
        again: bool,
        tried: &[usize],
    ) -> Result<Answer, Fail> {
        let clock = self.record.client.local.clock;
        let until = || limit.map(|limit| clock.now() + limit);
        let wish = self.wish(pool, &message.head, tried);
        let placed = match pool.has_place() {
            true => pool.place(&wish),
            false => Box::pin(self.wait_until(until(), pool.wait_for_place(&wish))).await,
        };
        let place = match placed {
            Ok(place) => place,
            // The request was at no server, so there is nothing to repeat.
            Err(fail) => return Err(Fail { retry: Retry::Never, ..fail }),
        };
        let member = place.member.clone();
        let begun = pool.begun();
        self.record.attempts += 1;
        self.record.note_attempt();
        self.record.upstream = Some((index, member.clone()));
        self.record.picked = place.why;
        let course = match self.record.watched {
            true => self.record.watch_attempt(pool, &mut message.head),
            false => None,
        };
        if let Some(course) = &course {
            course.meets(member.identity.address);
        }
        let lease = match place.idle_at_once() {
            Some(lease) => {
                self.record.note_connection(&lease, false);
                lease
            }
            None => match Box::pin(self.wait_until(until(), place.open(course.as_deref()))).await {
                Ok(lease) => {
                    self.record.note_connection(&lease, true);
                    lease
                }
                Err(fail) => {
                    let outcome = Err(fail);
                    self.record.attempt_over(pool, &outcome);
                    return outcome;
                }
            },
        };
        let reused = lease.is_reused();
        let heard = |head| self.record.heard(head);
        let sent = self.within(until(), pin!(send::send(place, lease, message, (again, &heard)))).await;
        let outcome = sent.and_then(|outcome| outcome.map_err(|fail| self.blame(fail).on_connection(reused)));
        self.record.attempt_over(pool, &outcome);
        if let Some(begun) = begun {
            self.measured(pool, begun, &outcome);
        }
        match &outcome {
            Ok(answer) => pool.answered(&member, answer.response.status()),
            // A server may close a connection that idles, just as it is used again.
            Err(fail) if fail.blames_server() && !(reused && fail.reason == Reason::Reset) => {
                pool.failed(&member, Failure::Reason(fail.reason));
            }
            Err(_) => {}
        }
        outcome
    }

    /// A connection that broke because the client's body did is the client's doing; one that was given up because a
    /// filter has answered, or refused the body, is that filter's.
    pub(super) fn blame(&self, fail: Fail) -> Fail {
        let broken = self.record.progress.as_ref().and_then(|progress| progress.broken.get());
        match broken {
            Some(reason) => Fail::client(reason),
            None if self.record.guests.iter().any(|passed| passed.guest.has_ended()) => {
                Fail::filter(Reason::PluginReset)
            }
            None => fail,
        }
    }

    /// The answer in the form that filters and the client see.
    fn passed_on(
        &mut self,
        answer: Answer,
        (asked, until): (bool, Option<Duration>),
    ) -> Result<Response<Body>, Fail> {
        let (mut head, body) = answer.response.into_parts();
        if !answer.clean {
            sanitize::response(&mut head, asked && answer.tunnel.is_some())?;
        }
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(tunnel), true) = (answer.tunnel, asked) else {
                return Err(Fail::upstream(Reason::Garbage, Retry::Never));
            };
            self.record.switched = Some(Box::new(Switched { tunnel, idle: self.record.idle, until }));
        }
        Ok(Response::from_parts(head, body))
    }

    /// The latency of an attempt, for the limit that follows it. What a server did not do by itself tells nothing.
    #[cold]
    fn measured(&self, pool: &Pool, begun: Duration, outcome: &Result<Answer, Fail>) {
        if outcome.as_ref().map_or_else(|fail| fail.reason == Reason::Timeout, |_| true) {
            pool.over(begun);
        }
    }

    /// From here on the answer may last so long; what is not HTTP any more has no other limit.
    #[cold]
    fn limit_stream(&mut self, limit: Duration, switched: bool) {
        let until = self.record.client.local.clock.now() + limit;
        let own = self.record.until.filter(|_| !switched);
        self.record.until = Some(own.map_or(until, |own| own.min(until)));
    }

    /// Waits within the rule's time; past it the upstream has timed out.
    pub(crate) async fn wait<T>(&self, future: impl Future<Output = Result<T, Fail>>) -> Result<T, Fail> {
        self.within(None, pin!(future)).await?
    }

    /// As [`Exchange::wait`], at most until this time.
    async fn wait_until<T>(
        &self,
        until: Option<Duration>,
        future: impl Future<Output = Result<T, Fail>>,
    ) -> Result<T, Fail> {
        self.within(until, pin!(future)).await?
    }

    /// Fails when it is not done at `until`, or within the rule's times, or when a guest ends the request before.
    async fn within<F: Future>(
        &self,
        until: Option<Duration>,
        mut future: Pin<&mut F>,
    ) -> Result<F::Output, Fail> {
        let record = &self.record;
        let now = || record.client.local.clock.now();
        let fixed = match (until, record.until) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let mut armed = false;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if record.poll_ended_by_guest(cx).is_ready() {
                return Poll::Ready(Err(Fail::filter(Reason::PluginReset)));
            }
            let moved = || record.progress.as_ref().is_some_and(|progress| progress.moved.replace(false));
            if !armed {
                armed = true;
                moved();
                let idle = record.client.local.deadlines.recent() + record.idle;
                record.deadline.set_until(Some(fixed.map_or(idle, |fixed| fixed.min(idle))));
            }
            loop {
                if record.deadline.poll_passed(cx).is_pending() {
                    return Poll::Pending;
                }
                let now = now();
                if fixed.is_some_and(|fixed| fixed <= now) || !moved() {
                    // An attempt that took too long may be repeated, a request may not.
                    let attempt = until.is_some_and(|until| until <= now)
                        && record.until.is_none_or(|until| until > now);
                    let retry = if attempt { Retry::Idempotent } else { Retry::Never };
                    return Poll::Ready(Err(Fail::upstream(Reason::Timeout, retry)));
                }
                let idle = now + record.idle;
                record.deadline.set_until(Some(fixed.map_or(idle, |fixed| fixed.min(idle))));
            }
        })
        .await
    }
}

/// What is for this hop only.
fn prepare(head: &mut Rc<Parts>, known: &Sanitized, asks_upgrade: bool) {
    if !known.expect_continue && !known.te_trailers && !asks_upgrade {
        return;
    }
    let headers = &mut Rc::make_mut(head).headers;
    // The gateway itself answers an expectation: it reads the body as soon as the upstream takes it.
    if known.expect_continue {
        headers.remove(EXPECT);
    }
    if known.te_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if asks_upgrade && let Some(upgrade) = &known.upgrade {
        headers.insert(UPGRADE, upgrade.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}
