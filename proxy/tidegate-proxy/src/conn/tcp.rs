//! HTTP/1 and HTTP/2 over one TCP connection of a client, from its first byte to its end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tidegate_config::plan;
use tokio::io::AsyncReadExt;
use tokio::task::spawn_local;

use crate::conn::stream::{Heard, Stream, Transport};
use crate::exchange::Exchange;
use crate::exchange::outgoing::Outgoing;
use crate::local::Client;
use crate::time::Deadline;

/// What HTTP/2 with prior knowledge begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long an ended connection may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Turns requests of one connection into exchanges. An idle connection holds no exchange, only the place for one.
#[derive(Clone)]
struct Exchanges(Rc<Client>);

impl Service<Request<Incoming>> for Exchanges {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Outgoing>, Infallible>>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let client = self.0.clone();
        Box::pin(async move { Ok(Exchange::run(client, request).await) })
    }
}

/// Serves a connection. `http2`: what ALPN said, where it was asked.
pub(crate) async fn serve(
    client: Rc<Client>,
    transport: Transport,
    http2: Option<bool>,
    spec: plan::Listener,
) {
    let deadline = Deadline::new(&client.local.deadlines);
    deadline.set(Some(spec.timeouts.headers));
    let begun = match http2 {
        Some(http2) => Some((Stream::new(transport, Vec::new()), http2)),
        None => begin(transport, &deadline, &client).await,
    };
    let Some((stream, http2)) = begun else { return };
    let heard = stream.heard();
    heard.clear();
    let watch =
        Watch { client: client.clone(), deadline, heard, timeouts: spec.timeouts, phase: Phase::Fresh };
    let io = TokioIo::new(stream);
    if http2 {
        let guarded = Guarded(client.clone());
        let connection = http2::Builder::new(guarded)
            .max_concurrent_streams(u32::try_from(spec.limits.streams).unwrap_or(u32::MAX))
            .max_header_list_size(u32::try_from(spec.limits.header_bytes).unwrap_or(u32::MAX))
            .serve_connection(io, Exchanges(client));
        watch.over(connection, |connection| connection.graceful_shutdown()).await;
    } else {
        let mut builder = http1::Builder::new();
        builder.pipeline_flush(true).max_header_size(spec.limits.header_bytes).half_close(true);
        let connection = builder.serve_connection(io, Exchanges(client)).with_upgrades();
        watch.over(connection, |connection| connection.graceful_shutdown()).await;
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

/// Watches over a connection: its time limits and the drain.
struct Watch {
    client: Rc<Client>,
    deadline: Deadline,
    heard: Heard,
    timeouts: plan::ListenerTimeouts,
    phase: Phase,
}

impl Watch {
    /// Runs the connection to its end; `end` tells it to go away.
    async fn over<C: Future>(mut self, connection: C, end: impl Fn(Pin<&mut C>)) {
        let mut connection = pin!(connection);
        let place = self.client.site.drain.enter();
        let client = self.client.clone();
        std::future::poll_fn(|cx| {
            loop {
                if connection.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                let drain = &client.site.drain;
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
                if self.phase != Phase::Idle {
                    return Poll::Ready(());
                }
                // An idle connection is told before it is cut.
                self.phase = Phase::Ending;
                self.deadline.set(Some(GOODBYE));
                end(connection.as_mut());
            }
        })
        .await;
        client.site.drain.leave(place);
    }

    /// What the connection does now decides what it is given time for.
    fn advance(&mut self) {
        let busy = self.client.active.get() > 0;
        let next = match self.phase {
            Phase::Ending => return,
            _ if busy => Phase::Busy,
            Phase::Busy => {
                self.heard.clear();
                Phase::Idle
            }
            Phase::Fresh | Phase::Idle if self.heard.is_set() => Phase::Head,
            same => same,
        };
        if next == Phase::Busy {
            // Exchanges have their own limits; this one is for a client that takes nothing of an answer.
            let patience = self.client.patience.get();
            self.deadline.set(Some(patience.max(self.timeouts.body) + GOODBYE));
        } else if next != self.phase {
            self.deadline.set(Some(match next {
                Phase::Idle => self.timeouts.idle,
                _ => self.timeouts.headers,
            }));
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
        spawn_local(Stuck { future: Box::pin(future), client, deadline });
    }
}

/// A stream that ends when nothing happened to it for longer than any of its exchanges may wait: its client takes
/// nothing of the answer.
struct Stuck<F> {
    future: Pin<Box<F>>,
    client: Rc<Client>,
    deadline: Deadline,
}

impl<F: Future> Future for Stuck<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.deadline.poll_passed(cx).is_ready() || this.future.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        this.deadline.set(Some(this.client.patience.get() + GOODBYE));
        // Registers for the new time; it cannot have passed yet.
        this.deadline.poll_passed(cx)
    }
}
