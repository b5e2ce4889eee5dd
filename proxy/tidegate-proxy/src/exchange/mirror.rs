//! Copies of requests for other upstreams. Whatever becomes of a copy, the request knows nothing of it: copies are tasks
//! of their own, limited in number, time and memory, and nobody waits for them.

mod compare;
mod tee;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{EXPECT, HOST};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use tokio::task::spawn_local;

use crate::exchange::Exchange;
use crate::exchange::forward::Forward;
use crate::http::added::Added;
use crate::http::body::Body;
use crate::http::fail::{Fail, Reason};
use crate::http::reply::Reply;
use crate::local::View;
use crate::snapshot::{Mirror, Targets};
use crate::time::Clock;
use crate::upstream::pool::Pool;
use crate::upstream::send::{self, Message};
use compare::Pair;
use tee::{Copied, Tee, Watch};

/// Tells a server that a request is a copy, and of which rule's.
const MARK: HeaderName = HeaderName::from_static("x-tidegate-mirror");

/// A request as it goes upstream.
type Outbound = (Rc<Parts>, Body, Option<Added>);

impl Exchange {
    /// As [`Exchange::forward`], for a rule whose requests are copied.
    pub(crate) async fn mirrored(
        &mut self,
        view: &View,
        targets: &Targets,
        forward: Forward<'_>,
        (head, body, added): Outbound,
    ) -> Result<Response<Body>, Fail> {
        let clock = self.record.client.local.clock;
        // A connection that changes its protocol cannot be copied.
        let copies = forward.known.upgrade.is_none() && head.method != Method::CONNECT;
        let (body, pairs) = match copies {
            true => self.copy(view, &forward.rule.mirrors, (&head, body, added.as_ref())),
            false => (body, Vec::new()),
        };
        let start = clock.now();
        let outcome = self.forward(view, targets, forward, Message::new(head, body, added)).await;
        if !pairs.is_empty() {
            let time = clock.now().saturating_sub(start);
            let status = match &outcome {
                Ok(response) => response.status(),
                Err(fail) => Reply::of(fail).status,
            };
            pairs.iter().for_each(|pair| pair.main_answered(status, time));
        }
        outcome
    }

    /// Sends the copies; the body as the request's own upstream is to get it.
    fn copy(
        &self,
        view: &View,
        mirrors: &[Arc<Mirror>],
        (head, body, added): (&Rc<Parts>, Body, Option<&Added>),
    ) -> (Body, Vec<Rc<Pair>>) {
        let local = &self.record.client.local;
        let worker = local.shard.worker;
        let mut pairs = Vec::new();
        let mut source = Source::new(body);
        for mirror in mirrors.iter().filter(|mirror| mirror.draws(worker)) {
            let cells = mirror.counters.of(worker);
            let Some(pool) = view.pools.get(mirror.spec.upstream) else { continue };
            if cells.active.value() >= mirror.spec.limit.div_ceil(local.workers.max(1)) as u64 {
                cells.skipped.add(1);
                continue;
            }
            let (body, watch) = source.copy(mirror.spec.buffer);
            let request = marked(mirror, head, added).map(|()| body);
            let pair = Pair::new(mirror, worker, local.clock, (&head.method, &head.uri));
            pairs.push(pair.clone());
            cells.copies.add(1);
            let copy = Copy { pair, pool: pool.clone(), clock: local.clock, watch };
            let active = Active::new(mirror.clone(), worker);
            let limit = mirror.spec.timeout;
            spawn_local(async move {
                copy.run(request, limit).await;
                drop(active);
            });
        }
        (source.into_body(), pairs)
    }
}

/// Where copies of a body come from.
enum Source {
    /// It is all here, or there is none: each has the same bytes.
    Whole(Body),
    /// It comes piece by piece.
    Coming(Tee),
}

impl Source {
    fn new(body: Body) -> Self {
        match body {
            Body::Empty | Body::Full(_) => Self::Whole(body),
            Body::Stream(_) => Self::Coming(Tee::new(body)),
        }
    }

    fn copy(&mut self, limit: usize) -> (Body, Option<Watch>) {
        match self {
            Self::Whole(Body::Full(bytes)) => (Body::Full(bytes.clone()), None),
            Self::Whole(_) => (Body::Empty, None),
            Self::Coming(tee) => {
                let copied: Copied = tee.copy(limit);
                let watch = copied.watch();
                (Body::stream(copied), Some(watch))
            }
        }
    }

    fn into_body(self) -> Body {
        match self {
            Self::Whole(body) => body,
            Self::Coming(tee) => Body::stream(tee),
        }
    }
}

/// The request's head, which says that it is a copy.
fn marked(mirror: &Mirror, head: &Parts, added: Option<&Added>) -> Request<()> {
    let mut copy = Request::new(());
    *copy.method_mut() = head.method.clone();
    *copy.uri_mut() = head.uri.clone();
    let headers = copy.headers_mut();
    headers.clone_from(&head.headers);
    if let Some(added) = added {
        added.insert(headers);
    }
    // The gateway itself answers an expectation.
    headers.remove(EXPECT);
    if let Ok(rule) = HeaderValue::from_str(&mirror.rule) {
        headers.insert(MARK, rule);
    }
    let suffix = mirror.spec.host_suffix.as_str();
    if !suffix.is_empty()
        && let Some(host) = headers.get(HOST).and_then(|host| suffixed(host.as_bytes(), suffix))
    {
        headers.insert(HOST, host);
    }
    copy
}

/// A host with something at the end of its name; an address stays as it is.
fn suffixed(host: &[u8], suffix: &str) -> Option<HeaderValue> {
    let host = std::str::from_utf8(host).ok()?;
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (name, Some(port)),
        _ => (host, None),
    };
    if name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok() {
        return None;
    }
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    HeaderValue::try_from(format!("{name}{suffix}{port}")).ok()
}

/// Counts a copy while it is on its way.
struct Active {
    mirror: Arc<Mirror>,
    worker: usize,
}

impl Active {
    fn new(mirror: Arc<Mirror>, worker: usize) -> Self {
        mirror.counters.of(worker).active.add(1);
        Self { mirror, worker }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.mirror.counters.of(self.worker).active.subtract(1);
    }
}

/// A copy on its way.
struct Copy {
    pair: Rc<Pair>,
    pool: Rc<Pool>,
    clock: Clock,
    watch: Option<Watch>,
}

impl Copy {
    async fn run(&self, request: Request<Body>, limit: Duration) {
        let cells = self.pair.cells();
        let sent = tokio::time::timeout(limit, self.send(request));
        let outcome = match &self.watch {
            None => sent.await,
            Some(watch) => tokio::select! {
                outcome = sent => outcome,
                () = watch.given_up() => Ok(Err(Fail::client(Reason::ClientGone))),
            },
        };
        let is_cut = self.watch.as_ref().is_some_and(Watch::is_cut);
        match outcome {
            Ok(Ok(())) => {}
            Err(_) => cells.late.add(1),
            Ok(Err(_)) if is_cut => cells.cut.add(1),
            Ok(Err(fail)) => {
                cells.failed.add(1);
                if let Some(error) = &fail.source {
                    let reason = fail.reason.word();
                    tracing::debug!(upstream = %self.pool.name, reason, %error, "a copy failed");
                }
            }
        }
    }

    /// One attempt; the answer is read to its end, so that the connection can be used again.
    async fn send(&self, request: Request<Body>) -> Result<(), Fail> {
        let start = self.clock.now();
        let place = self.pool.enter().await?;
        let lease = match place.idle_at_once() {
            Some(lease) => lease,
            None => place.open(None).await?,
        };
        let answer = send::once(place, lease, request).await?;
        let time = self.clock.now().saturating_sub(start);
        let (head, mut body) = answer.response.into_parts();
        self.pair.copy_answered(head.status, time);
        while let Some(frame) = body.frame().await {
            frame.map_err(|error| Fail::gateway(Reason::Reset).because(error))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_get_their_suffix_before_the_port() {
        let suffixed =
            |host: &str| suffixed(host.as_bytes(), "-shadow").map(|host| host.to_str().map(str::to_owned));
        for (host, expected) in [
            ("shop.test", Some("shop.test-shadow")),
            ("shop.test:8080", Some("shop.test-shadow:8080")),
            ("192.0.2.1:80", None),
            ("[2001:db8::1]:80", None),
        ] {
            assert_eq!(suffixed(host).map(|host| host.expect("ASCII")).as_deref(), expected, "{host}");
        }
    }
}
