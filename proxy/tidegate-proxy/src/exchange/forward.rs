//! To an upstream: pick, connect, send, and again where that is safe.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use http::header::{CONNECTION, EXPECT, TE, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::upgrade::OnUpgrade;
use tidegate_config::plan::{RetryOn, UpstreamProtocol};

use crate::exchange::Exchange;
use crate::exchange::tunnel;
use crate::http::body::Body;
use crate::http::fail::{Fail, Reason, Retry};
use crate::http::sanitize::{self, Sanitized};
use crate::local::View;
use crate::snapshot::{Rule, Targets};
use crate::upstream::pool::Pool;
use crate::upstream::send::{self, Answer, Message};

/// What is known of a request that goes to an upstream.
pub(crate) struct Forward<'a> {
    pub(crate) rule: &'a Rule,
    pub(crate) known: Sanitized,
    /// The client's side of an upgrade.
    pub(crate) client_upgrade: Option<OnUpgrade>,
}

/// A request's head, to send it once more.
#[derive(Clone)]
struct Spare {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Again,
}

#[derive(Clone)]
enum Again {
    Empty,
    Full(bytes::Bytes),
}

impl Spare {
    fn of(message: &Message) -> Option<Box<Self>> {
        let body = match &message.body {
            Body::Empty => Again::Empty,
            Body::Full(bytes) => Again::Full(bytes.clone()),
            Body::Incoming(..) | Body::Stream(_) => return None,
        };
        let head = &message.head;
        Some(Box::new(Self {
            method: head.method.clone(),
            uri: head.uri.clone(),
            headers: head.headers.clone(),
            body,
        }))
    }

    fn into_message(self) -> Message {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = self.method;
        head.uri = self.uri;
        head.headers = self.headers;
        let body = match self.body {
            Again::Empty => Body::Empty,
            Again::Full(bytes) => Body::Full(bytes),
        };
        Message { head: Box::new(head), body }
    }
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
        let index = self.choose(targets).ok_or_else(|| Fail::gateway(Reason::NoUpstream))?;
        let pool = view.pools.get(index).ok_or_else(|| Fail::gateway(Reason::Internal))?;
        let asks_upgrade = forward.client_upgrade.is_some()
            && forward.known.upgrade.is_some()
            && pool.cluster.spec.protocol != UpstreamProtocol::Http2;
        prepare(&mut message.head.headers, &forward.known, asks_upgrade);

        let allowed = forward.rule.retries.attempts.min(ATTEMPTS);
        let idempotent = message.head.method.is_idempotent();
        let mut tried = Vec::new();
        loop {
            let again = self.record.attempts < allowed;
            let spare = if again && idempotent { Spare::of(&message) } else { None };
            let (server, outcome) =
                self.attempt(index, pool, forward.rule.timeouts.attempt, message, &tried).await;
            match outcome {
                Ok(answer) => {
                    let status = answer.response.status();
                    let retry = again && forward.rule.retries.on.contains(&RetryOn::Status(status.as_u16()));
                    match spare {
                        Some(spare) if retry => message = spare.into_message(),
                        _ => return self.passed_on(answer, asks_upgrade, forward.client_upgrade),
                    }
                }
                Err(refused) => {
                    let next = match (refused.message, spare) {
                        _ if !again || !wanted(&forward.rule.retries.on, &refused.fail) => None,
                        (Some(unsent), _) => Some(unsent),
                        (None, Some(spare)) if refused.fail.retry != Retry::Never => {
                            Some(spare.into_message())
                        }
                        (None, _) => None,
                    };
                    let Some(next) = next else { return Err(refused.fail) };
                    message = next;
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
        pool: &std::rc::Rc<Pool>,
        limit: Option<Duration>,
        message: Message,
        tried: &[usize],
    ) -> (Option<usize>, Result<Answer, send::Refused>) {
        let place = match pool.place(tried) {
            Ok(place) => place,
            Err(fail) => return (None, Err(send::Refused { fail, message: None })),
        };
        let server = place.server;
        self.record.attempts += 1;
        self.record.upstream = Some((index, server));
        let lease = match place.idle() {
            Some(lease) => lease,
            None => match Box::pin(self.wait(place.open())).await {
                Ok(lease) => lease,
                Err(fail) => return (Some(server), Err(send::Refused { fail, message: Some(message) })),
            },
        };
        let until = limit.map(|limit| self.record.client.local.clock.now() + limit);
        let sent = self.within(until, pin!(send::send(place, lease, message))).await;
        let outcome = match sent {
            Some(outcome) => outcome.map_err(|refused| self.blame(refused)),
            None => Err(send::Refused { fail: Fail::upstream(Reason::Timeout, Retry::Never), message: None }),
        };
        (Some(server), outcome)
    }

    /// A connection that broke because the client's body did is the client's doing.
    fn blame(&self, mut refused: send::Refused) -> send::Refused {
        if let Some(reason) = self.record.progress.as_ref().and_then(|progress| progress.broken.get()) {
            refused.fail = Fail::client(reason);
        }
        refused
    }

    fn choose(&self, targets: &Targets) -> Option<usize> {
        match targets.until.as_slice() {
            [] => None,
            [(only, _)] => Some(*only),
            many => {
                let at = self.record.client.local.random.below(targets.total);
                many.iter().find(|(_, until)| at < *until).map(|(index, _)| *index)
            }
        }
    }

    /// The answer in the form that filters and the client see.
    fn passed_on(
        &mut self,
        answer: Answer,
        asked: bool,
        client: Option<OnUpgrade>,
    ) -> Result<Response<Body>, Fail> {
        let (mut head, body) = answer.response.into_parts();
        sanitize::response(&mut head, asked && answer.tunnel.is_some())?;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(tunnel), Some(client), true) = (answer.tunnel, client, asked) else {
                return Err(Fail::upstream(Reason::Garbage, Retry::Never));
            };
            tunnel::spawn(&self.record.client, client, tunnel, self.record.idle);
        }
        Ok(Response::from_parts(head, body))
    }

    /// Waits before another attempt: exponential, with jitter.
    async fn pause(&mut self, retries: &tidegate_config::plan::Retries, failures: usize) -> Result<(), Fail> {
        let doubled = retries.backoff_base.saturating_mul(1 << failures.saturating_sub(2).min(16));
        let most = doubled.min(retries.backoff_max);
        // The first retry goes at once: most failures are one closed connection.
        if failures < 2 || most.is_zero() {
            return Ok(());
        }
        let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1);
        let jittered = Duration::from_millis(self.record.client.local.random.below(millis) + 1);
        self.wait(async {
            tokio::time::sleep(jittered).await;
            Ok(())
        })
        .await
    }

    /// Waits within the rule's time; past it the upstream has timed out.
    pub(crate) async fn wait<T>(&self, future: impl Future<Output = Result<T, Fail>>) -> Result<T, Fail> {
        let timeout = || Fail::upstream(Reason::Timeout, Retry::Never);
        self.within(None, pin!(future)).await.ok_or_else(timeout)?
    }

    /// None: neither done at `until`, nor within the rule's times.
    async fn within<F: Future>(&self, until: Option<Duration>, mut future: Pin<&mut F>) -> Option<F::Output> {
        let record = &self.record;
        let now = || record.client.local.clock.now();
        let fixed = match (until, record.until) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let mut armed = false;
        std::future::poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
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
                    return Poll::Ready(None);
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
fn prepare(headers: &mut HeaderMap, known: &Sanitized, asks_upgrade: bool) {
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
