//! HTTP/1 and HTTP/2 over one TCP connection of a client, from its first byte to its end.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::TokioIo;
use tidegate_config::plan;
use tokio::io::AsyncReadExt;
use tokio::task::spawn_local;

use crate::exchange::outgoing::Outgoing;
use crate::exchange::{BrokenOff, Exchange};
use crate::local::Client;
use crate::time::Deadline;
use crate::transport::{Pulse, Stream, Transport};

/// What HTTP/2 with prior knowledge begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long an ended connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// An HTTP/1 connection that is idle for longer is taken apart: only its socket stays, without buffers.
const PARK: Duration = Duration::from_millis(16);
/// How often the time limit of a busy connection is moved.
const MOVE: Duration = Duration::from_secs(1);

/// Turns requests of one connection into exchanges. The connection has the place for one, so a request allocates none.
fn exchanges(
    client: Rc<Client>,
) -> impl HttpService<Incoming, ResBody = Outgoing, Error = BrokenOff, Future: 'static> {
    service_fn(move |request| Exchange::run(client.clone(), request))
}

/// What a listener says about its connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) timeouts: plan::ListenerTimeouts,
    pub(crate) limits: plan::ListenerLimits,
}

/// Serves a connection. `http2`: what ALPN said, where it was asked. The parts are boxed, so that an idle connection
/// holds the smallest of them only.
pub(crate) async fn serve(client: Rc<Client>, transport: Transport, http2: Option<bool>, terms: Terms) {
    let deadline = Deadline::new(&client.local.deadlines);
    deadline.set(Some(terms.timeouts.headers));
    let begun = match http2 {
        Some(http2) => Some((Stream::new(transport, Vec::new()), http2)),
        None => Box::pin(begin(transport, &deadline, &client)).await,
    };
    let Some((stream, http2)) = begun else { return };
    let watch = Watch {
        pulse: stream.pulse(),
        deadline,
        timeouts: terms.timeouts,
        // HTTP/2 has said its preface: from here on it is between requests.
        phase: if http2 { Phase::Idle } else { Phase::Fresh },
        parks: !http2,
        moved: Duration::ZERO,
        client,
    };
    if http2 {
        Box::pin(serve_http2(stream, watch, terms.limits)).await;
    } else {
        serve_http1(stream, watch, terms.limits.header_bytes).await;
    }
}

async fn serve_http2(stream: Stream, mut watch: Watch, limits: plan::ListenerLimits) {
    let client = watch.client.clone();
    watch.deadline.set(Some(watch.timeouts.idle));
    let connection = http2::Builder::new(Guarded(client.clone()))
        .max_concurrent_streams(u32::try_from(limits.streams).unwrap_or(u32::MAX))
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(stream), exchanges(client));
    watch.over(pin!(connection), |connection| connection.graceful_shutdown()).await;
}

async fn serve_http1(mut stream: Stream, mut watch: Watch, header_bytes: usize) {
    loop {
        watch.begin();
        match Box::pin(run_http1(stream, &mut watch, header_bytes)).await {
            Some(parked) => stream = parked,
            None => return,
        }
        watch.deadline.set(Some(watch.timeouts.idle));
        let readable = std::future::poll_fn(|cx| stream.poll_readable(cx));
        if !matches!(within(&watch.deadline, &watch.client, readable).await, Some(Ok(()))) {
            return;
        }
    }
}

/// Runs HTTP/1 until the connection ends, or is idle and gives its stream back.
async fn run_http1(stream: Stream, watch: &mut Watch, header_bytes: usize) -> Option<Stream> {
    let mut builder = http1::Builder::new();
    builder.max_header_size(header_bytes);
    let exchanges = exchanges(watch.client.clone());
    let mut connection = builder.serve_connection(TokioIo::new(stream), exchanges).with_upgrades();
    match watch.over(Pin::new(&mut connection), |connection| connection.graceful_shutdown()).await {
        Over::Ended => None,
        Over::Parked => {
            let parts = connection.into_parts()?;
            // Nothing was read ahead, or the connection would not have been idle.
            parts.read_buf.is_empty().then(|| parts.io.into_inner())
        }
    }
}

/// Finds out which version a client speaks in clear text. None: it said nothing in time, or left.
async fn begin(mut transport: Transport, deadline: &Deadline, client: &Client) -> Option<(Stream, bool)> {
    let Transport::Plain(tcp) = &mut transport else {
        return Some((Stream::new(transport, Vec::new()), false));
    };
    let mut first = [0; PREFACE.len()];
    let peeked = within(deadline, client, tcp.peek(&mut first)).await?.ok()?;
    let seen = first.get(..peeked).unwrap_or_default();
    if seen.is_empty() {
        return None;
    }
    if !PREFACE.starts_with(seen) {
        return Some((Stream::new(transport, Vec::new()), false));
    }
    if seen == PREFACE {
        return Some((Stream::new(transport, Vec::new()), true));
    }
    // Not decided yet: `P` may be a POST.
    let mut ahead = Vec::with_capacity(PREFACE.len());
    while ahead.len() < PREFACE.len() && PREFACE.starts_with(&ahead) {
        let mut byte = [0];
        match within(deadline, client, tcp.read(&mut byte)).await?.ok()? {
            0 => break,
            _ => ahead.extend_from_slice(&byte),
        }
    }
    let http2 = ahead == PREFACE;
    Some((Stream::new(transport, ahead), http2))
}

/// None: the deadline passed or the gateway drains.
async fn within<T>(
    deadline: &Deadline,
    client: &Client,
    future: impl Future<Output = io::Result<T>>,
) -> Option<io::Result<T>> {
    let drain = &client.site.drain;
    let place = drain.enter();
    let mut future = pin!(future);
    let output = std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if drain.is_pulled() {
            return Poll::Ready(None);
        }
        drain.wait(place, cx);
        deadline.poll_passed(cx).map(|()| None)
    })
    .await;
    drain.leave(place);
    output
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Just accepted, no request yet.
    Fresh,
    /// Between two requests.
    Idle,
    /// A head has begun.
    Head,
    /// Exchanges are in flight.
    Busy,
    /// Told to end.
    Ending,
}

/// How watching over a connection ended.
enum Over {
    /// The connection is over.
    Ended,
    /// It is idle and may be taken apart.
    Parked,
}

/// Watches over a connection: its time limits and the drain.
struct Watch {
    client: Rc<Client>,
    deadline: Deadline,
    pulse: Pulse,
    timeouts: plan::ListenerTimeouts,
    phase: Phase,
    /// Whether idle connections are parked.
    parks: bool,
    /// When a byte of a busy connection last went either way.
    moved: Duration,
}

impl Watch {
    /// Waits for a request's head from here on.
    fn begin(&mut self) {
        self.phase = Phase::Fresh;
        self.pulse.forget();
        self.deadline.set(Some(self.timeouts.headers));
    }

    /// Runs the connection until it ends or is idle; `end` tells it to go away.
    async fn over<C: Future>(&mut self, mut connection: Pin<&mut C>, end: impl Fn(Pin<&mut C>)) -> Over {
        let client = self.client.clone();
        let drain = &client.site.drain;
        let place = drain.enter();
        let over = std::future::poll_fn(|cx| {
            loop {
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Over::Ended);
                }
                if drain.is_pulled() && self.phase != Phase::Ending {
                    self.phase = Phase::Ending;
                    self.deadline.set(None);
                    end(connection.as_mut());
                    continue;
                }
                drain.wait(place, cx);
                self.advance();
                if self.deadline.poll_passed(cx).is_pending() {
                    return Poll::Pending;
                }
                if self.phase == Phase::Busy && self.busy_until() > self.client.local.deadlines.recent() {
                    self.deadline.set_until(Some(self.busy_until()));
                    continue;
                }
                if self.phase != Phase::Idle {
                    return Poll::Ready(Over::Ended);
                }
                if self.parks && !self.pulse.is_blocked() {
                    return Poll::Ready(Over::Parked);
                }
                // An idle connection is told before it is cut.
                self.phase = Phase::Ending;
                self.deadline.set(Some(GOODBYE));
                end(connection.as_mut());
            }
        })
        .await;
        drain.leave(place);
        over
    }

    /// Exchanges have their own limits; this one is for a client that takes nothing of an answer.
    fn busy_until(&self) -> Duration {
        self.moved + self.client.patience() + GOODBYE
    }

    /// What the connection does now decides what it is given time for.
    fn advance(&mut self) {
        let busy = self.client.active.get() > 0;
        let next = match self.phase {
            Phase::Ending => return,
            _ if busy => Phase::Busy,
            Phase::Busy => {
                self.pulse.forget();
                Phase::Idle
            }
            // A head is HTTP/1's: HTTP/2 also hears pings and windows between requests.
            Phase::Fresh | Phase::Idle if self.parks && self.pulse.is_heard() => Phase::Head,
            same => same,
        };
        if next == Phase::Busy {
            let deadlines = &self.client.local.deadlines;
            if self.phase != next {
                // The exchange that made it busy has read the time just now.
                self.moved = deadlines.recent();
                self.deadline.set_until(Some(self.busy_until()));
            } else if self.pulse.take_moved() {
                self.moved = deadlines.now();
            }
        } else if next != self.phase {
            let limit = match next {
                Phase::Idle if self.parks && !self.pulse.is_blocked() => PARK.min(self.timeouts.idle),
                Phase::Idle => self.timeouts.idle,
                _ => self.timeouts.headers,
            };
            // The exchange that has just ended, or the byte that began a head, came at about the time that was read last.
            let now = &self.client.local.deadlines;
            let start = if self.phase == Phase::Busy { now.recent() } else { now.now() };
            self.deadline.set_until(Some(start + limit));
        } else if next == Phase::Idle && !self.parks && self.pulse.take_moved() {
            // The rest of an answer may be on its way still, and a client that asks whether we live does so too.
            self.deadline.set(Some(self.timeouts.idle));
        }
        self.phase = next;
    }
}

/// Runs HTTP/2 streams as tasks of their own and ends those that are stuck.
#[derive(Clone)]
struct Guarded(Rc<Client>);

impl<F: Future + 'static> hyper::rt::Executor<F> for Guarded {
    fn execute(&self, future: F) {
        let client = self.0.clone();
        let deadline = Deadline::new(&client.local.deadlines);
        spawn_local(Stuck { future: Box::pin(future), client, deadline, moved: None });
    }
}

/// A stream that ends when nothing happened to it for longer than any of its exchanges may wait: its client takes
/// nothing of the answer.
struct Stuck<F> {
    future: Pin<Box<F>>,
    client: Rc<Client>,
    deadline: Deadline,
    /// When the limit was last moved; none: it is not set yet.
    moved: Option<Duration>,
}

impl<F: Future> Future for Stuck<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.deadline.poll_passed(cx).is_ready() || this.future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let now = this.client.local.deadlines.recent();
        if this.moved.is_none_or(|moved| now.saturating_sub(moved) > MOVE) {
            this.moved = Some(now);
            this.deadline.set_until(Some(now + this.client.patience() + MOVE + GOODBYE));
        }
        // Registers for the new time; it cannot have passed yet.
        this.deadline.poll_passed(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(_: impl FnOnce(Rc<Client>, Transport, Option<bool>, Terms) -> F) -> usize {
        size_of::<F>()
    }

    /// An idle connection holds one.
    #[test]
    fn a_connection_is_small() {
        let size = size_of_future(serve);
        assert!(size <= 1024, "{size} bytes");
    }
}
