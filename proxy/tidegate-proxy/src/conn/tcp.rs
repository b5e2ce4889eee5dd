//! HTTP/1 and HTTP/2 over one TCP connection of a client, from its first byte to its end.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tidegate_config::plan;
use tokio::io::AsyncReadExt;
use tokio::task::spawn_local;

use crate::conn::http1::wire::Wire;
use crate::conn::watch::{GOODBYE, Over, Phase, Watch};
use crate::conn::{http1, http2};
use crate::local::Client;
use crate::time::Deadline;
use crate::transport::{Stream, Transport};

/// What HTTP/2 with prior knowledge begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How often the time limit of a busy connection is moved.
const MOVE: Duration = Duration::from_secs(1);

/// What a listener says about its connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terms {
    pub(crate) timeouts: plan::ListenerTimeouts,
    pub(crate) limits: plan::ListenerLimits,
}

/// A connection whose client is to say something, or has said which protocol it speaks.
pub(crate) struct Begun {
    /// None: requests are served on it.
    stream: Option<Stream>,
    watch: Watch,
    limits: plan::ListenerLimits,
    http2: bool,
    /// Counts it while it lives.
    speaking: Speaking,
}

/// Serves a connection; `held` lasts as long as it does. What only its begin and its requests need is boxed, and nothing
/// stands here twice, as it does in an `async fn` that hands its arguments on: a connection that waits is no larger than
/// this.
#[allow(clippy::manual_async_fn, reason = "an async fn would hold its arguments twice")]
pub(crate) fn serve(
    begun: Pin<Box<impl Future<Output = Option<Begun>>>>,
    held: impl Sized,
) -> impl Future<Output = ()> {
    async move {
        if let Some(begun) = begun.await {
            if begun.http2 {
                Box::pin(serve_http2(begun)).await;
            } else {
                serve_http1(begun).await;
            }
        }
        drop(held);
    }
}

/// Waits for what the client says first. `http2`: what ALPN said, where it was asked. None: it said nothing in time, or left.
pub(crate) async fn begin(
    client: Rc<Client>,
    transport: Transport,
    http2: Option<bool>,
    terms: Terms,
) -> Option<Begun> {
    let deadline = Deadline::new(&client.local.deadlines);
    deadline.set(Some(terms.timeouts.headers));
    let (stream, http2) = match http2 {
        Some(http2) => (Stream::new(transport, Vec::new()), http2),
        None => version(transport, &deadline, &client).await?,
    };
    // HTTP/2 has said its preface: from here on it is between requests.
    let phase = if http2 { Phase::Idle } else { Phase::Fresh };
    let speaking = Speaking::begin(&client, if http2 { HTTP2 } else { HTTP1 }, &stream);
    let watch = Watch::new(client, deadline, stream.pulse(), terms.timeouts, phase);
    Some(Begun { stream: Some(stream), watch, limits: terms.limits, http2, speaking })
}

/// Counts a connection by what it speaks, while it lives.
pub(super) struct Speaking(Rc<Client>, usize);

/// Places in [`PROTOCOLS`](crate::shared::PROTOCOLS).
const HTTP1: usize = 0;
const HTTP2: usize = 1;
pub(super) const BYTES: usize = 2;

impl Speaking {
    /// It speaks this protocol.
    pub(super) fn begin(client: &Rc<Client>, protocol: usize, stream: &Stream) -> Self {
        client.local.clients.speaks(client, protocol, stream.pulse());
        let cells = client.cells();
        for counters in [&cells.protocols, &cells.speaking] {
            if let Some(counter) = counters.get(protocol) {
                counter.add(1);
            }
        }
        Self(client.clone(), protocol)
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        if let Some(counter) = self.0.cells().speaking.get(self.1) {
            counter.subtract(1);
        }
    }
}

async fn serve_http2(begun: Begun) {
    let Begun { stream: Some(stream), mut watch, limits, speaking: _speaking, .. } = begun else { return };
    let client = watch.client.clone();
    watch.deadline.set(Some(watch.timeouts.idle));
    let guarded = client.clone();
    let spawn = move |stream| {
        let deadline = Deadline::new(&guarded.local.deadlines);
        spawn_local(Stuck { stream, client: guarded.clone(), deadline, moved: None });
    };
    let connection = http2::Connection::new(stream, client, limits, spawn);
    let active = watch.client.clone();
    let doing = || if active.exchanges.active() > 0 { Phase::Busy } else { Phase::Idle };
    watch.over(pin!(connection), doing, |connection, _| connection.get_mut().leave()).await;
}

/// As [`serve`], holds nothing twice.
#[allow(clippy::manual_async_fn, reason = "an async fn would hold its arguments twice")]
fn serve_http1(mut begun: Begun) -> impl Future<Output = ()> {
    async move {
        let Begun { stream: place, watch, limits, .. } = &mut begun;
        while let Some(stream) = place.take() {
            watch.begin();
            let Some(parked) = Box::pin(run_http1(stream, watch, *limits)).await else { return };
            watch.deadline.set(Some(watch.timeouts.idle));
            let stream = &*place.insert(parked);
            let readable = std::future::poll_fn(|cx| stream.poll_readable(cx));
            if !matches!(within(&watch.deadline, &watch.client, readable).await, Some(Ok(()))) {
                return;
            }
        }
    }
}

/// Runs HTTP/1 until the connection ends, or is idle and gives its stream back.
async fn run_http1(stream: Stream, watch: &mut Watch, limits: plan::ListenerLimits) -> Option<Stream> {
    let wire = Rc::new(Wire::new(stream));
    let over = {
        let connection = pin!(http1::run(wire.clone(), watch.client.clone(), limits));
        watch.over(connection, || wire.phase(), |_, why| wire.end(why)).await
    };
    match over {
        Over::Ended => None,
        Over::Parked => Rc::into_inner(wire)?.into_stream(),
    }
}

/// Finds out which version a client speaks in clear text. None: it said nothing in time, or left.
async fn version(mut transport: Transport, deadline: &Deadline, client: &Client) -> Option<(Stream, bool)> {
    let Transport::Plain(tcp) = &mut transport else {
        return Some((Stream::new(transport, Vec::new()), false));
    };
    if client.site.drain.is_pulled() {
        deadline.set(Some(client.local.grace));
    }
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
        match within(deadline, client, tcp.read(&mut byte)).await {
            // Too slow, which is for the codec to answer.
            None | Some(Ok(0)) => break,
            Some(read) => {
                read.ok()?;
                ahead.extend_from_slice(&byte);
            }
        }
    }
    let http2 = ahead == PREFACE;
    Some((Stream::new(transport, ahead), http2))
}

/// None: the deadline passed. A drain that begins meanwhile leaves it the grace.
async fn within<T>(
    deadline: &Deadline,
    client: &Client,
    future: impl Future<Output = io::Result<T>>,
) -> Option<io::Result<T>> {
    let drain = &client.site.drain;
    let place = drain.enter();
    // The deadline is the grace's then.
    let mut told = drain.is_pulled();
    let mut future = pin!(future);
    let output = std::future::poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        if drain.is_pulled() && !std::mem::replace(&mut told, true) {
            deadline.set(Some(client.local.grace));
        }
        drain.wait(place, cx);
        deadline.poll_passed(cx).map(|()| None)
    })
    .await;
    drain.leave(place);
    output
}

/// A stream that ends when nothing happened to it for longer than any of its exchanges may wait: its client takes
/// nothing of the answer.
struct Stuck {
    stream: Pin<Box<dyn Future<Output = ()>>>,
    client: Rc<Client>,
    deadline: Deadline,
    /// When the limit was last moved; none: it is not set yet.
    moved: Option<Duration>,
}

impl Future for Stuck {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.deadline.poll_passed(cx).is_ready() || this.stream.as_mut().poll(cx).is_ready() {
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

    fn size_of_future<F: Future>(_: &F) -> usize {
        size_of::<F>()
    }

    /// An idle connection holds one of them, and nothing else of the gateway's that is large.
    #[test]
    fn a_connection_is_small() {
        let begun = Box::pin(std::future::ready(None::<Begun>));
        let size = size_of_future(&serve(begun, [0_u64; 4]));
        assert!(size <= 768, "{size} bytes");
    }
}
