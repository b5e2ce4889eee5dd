//! To an upstream: pick, connect, send, and again where that is safe.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::header::{CONNECTION, EXPECT, TE, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use tidegate_config::plan::{RetryOn, UpstreamProtocol};

use crate::exchange::Exchange;
use crate::exchange::tunnel::Switched;
use crate::http::body::Body;
use crate::http::fail::{Fail, Reason, Retry};
use crate::http::sanitize::{self, Sanitized};
use crate::local::View;
use crate::snapshot::{Rule, Targets};
use crate::upstream::backoff;
use crate::upstream::balance::Wish;
use crate::upstream::pool::Pool;
use crate::upstream::send::{self, Answer, Message};

/// What is known of a request that goes to an upstream.
pub(crate) struct Forward<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) known: Sanitized,
}

/// Attempts that one request may make at most, whatever the rule says: servers that were tried are remembered.
const ATTEMPTS: u32 = 16;

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
        let index = chosen
            .or_else(|| self.choose(targets, &message.head))
            .ok_or_else(|| Fail::gateway(Reason::NoUpstream))?;
        let pool = view.pools.get(index).ok_or_else(|| Fail::gateway(Reason::Internal))?;
        let asks_upgrade =
            forward.known.upgrade.is_some() && pool.cluster.spec.protocol != UpstreamProtocol::Http2;
        prepare(&mut message.head, &forward.known, asks_upgrade);

        let allowed = forward.rule.retries.attempts.min(ATTEMPTS);
        let idempotent = message.head.method.is_idempotent();
        let mut tried = Vec::new();
        loop {
            let again = self.record.attempts < allowed;
            let (server, outcome) = self
                .attempt(
                    index,
                    pool,
                    forward.rule.timeouts.attempt,
                    &mut message,
                    again && idempotent,
                    &tried,
                )
                .await;
            match outcome {
                Ok(answer) => {
                    let status = answer.response.status();
                    let retry = again
                        && idempotent
                        && message.is_whole()
                        && forward.rule.retries.on.contains(&RetryOn::Status(status.as_u16()));
                    if !retry {
                        match Rc::get_mut(&mut message.head) {
                            Some(head) => pool.reuse_fields(std::mem::take(&mut head.headers)),
                            None => self.record.gone = Some((index, message.head)),
                        }
                        return self.passed_on(answer, asks_upgrade);
                    }
                }
                Err(fail) => {
                    let safe = match fail.retry {
                        Retry::Safe => message.is_whole(),
                        Retry::Idempotent => idempotent && message.is_whole(),
                        Retry::Never => false,
                    };
                    if !again || !safe || !wanted(&forward.rule.retries.on, &fail) {
                        return Err(fail);
                    }
                }
            }
            tried.extend(server);
            pool.cluster.counters.of(self.record.client.local.shard.worker).retries.add(1);
            Box::pin(self.pause(&forward.rule.retries, tried.len())).await?;
        }
    }

    /// One attempt; which server it was at.
    async fn attempt(
        &mut self,
        index: usize,
        pool: &Rc<Pool>,
        limit: Option<Duration>,
        message: &mut Message,
        again: bool,
        tried: &[usize],
    ) -> (Option<usize>, Result<Answer, Fail>) {
        let clock = self.record.client.local.clock;
        let until = || limit.map(|limit| clock.now() + limit);
        let wish = Wish::other_than(tried);
        let placed = match pool.has_place() {
            true => pool.place(&wish),
            false => Box::pin(self.wait_until(until(), pool.wait_for_place(&wish))).await,
        };
        let place = match placed {
            Ok(place) => place,
            Err(fail) => return (None, Err(fail)),
        };
        let (member, server) = (place.member.clone(), place.member.id());
        self.record.attempts += 1;
        self.record.note_attempt();
        self.record.upstream = Some((index, member.clone()));
        let lease = match place.idle_at_once() {
            Some(lease) => {
                self.record.note_connection(&lease, false);
                lease
            }
            None => match Box::pin(self.wait_until(until(), place.open())).await {
                Ok(lease) => {
                    self.record.note_connection(&lease, true);
                    lease
                }
                Err(fail) => {
                    let outcome = Err(fail);
                    self.record.attempt_over(pool, &outcome);
                    return (Some(server), outcome);
                }
            },
        };
        let reused = lease.is_reused();
        let sent = self.within(until(), pin!(send::send(place, lease, message, again))).await;
        let outcome = sent.and_then(|outcome| outcome.map_err(|fail| self.blame(fail)));
        self.record.attempt_over(pool, &outcome);
        match &outcome {
            Ok(answer) => pool.answered(&member, answer.response.status()),
            // A server may close a connection that idles, just as it is used again.
            Err(fail) if fail.blames_server() && !(reused && fail.reason == Reason::Reset) => {
                pool.failed(&member);
            }
            Err(_) => {}
        }
        (Some(server), outcome)
    }

    /// A connection that broke because the client's body did is the client's doing.
    fn blame(&self, fail: Fail) -> Fail {
        let broken = self.record.progress.as_ref().and_then(|progress| progress.broken.get());
        broken.map_or(fail, Fail::client)
    }

    /// The answer in the form that filters and the client see.
    fn passed_on(&mut self, answer: Answer, asked: bool) -> Result<Response<Body>, Fail> {
        let (mut head, body) = answer.response.into_parts();
        if !answer.clean {
            sanitize::response(&mut head, asked && answer.tunnel.is_some())?;
        }
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(tunnel), true) = (answer.tunnel, asked) else {
                return Err(Fail::upstream(Reason::Garbage, Retry::Never));
            };
            self.record.switched = Some(Box::new(Switched { tunnel, idle: self.record.idle }));
        }
        Ok(Response::from_parts(head, body))
    }

    /// Waits before another attempt, within the request's time.
    async fn pause(&mut self, retries: &tidegate_config::plan::Retries, failures: usize) -> Result<(), Fail> {
        let random = &self.record.client.local.random;
        let Some(wait) = backoff::before_retry(retries, failures, random) else { return Ok(()) };
        self.wait(async {
            tokio::time::sleep(wait).await;
            Ok(())
        })
        .await
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
                    return Poll::Ready(Err(Fail::upstream(Reason::Timeout, Retry::Never)));
                }
                let idle = now + record.idle;
                record.deadline.set_until(Some(fixed.map_or(idle, |fixed| fixed.min(idle))));
            }
        })
        .await
    }
}

/// Whether the rule wants another attempt after this failure.
fn wanted(on: &[RetryOn], fail: &Fail) -> bool {
    match fail.reason {
        Reason::Connect => on.contains(&RetryOn::Connect),
        Reason::Reset => on.contains(&RetryOn::Reset),
        _ => false,
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
