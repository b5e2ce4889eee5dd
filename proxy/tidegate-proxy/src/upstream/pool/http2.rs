//! HTTP/2 connections to a server: each has several requests at once, as many as both sides allow.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::http::h2::{FRAME, RESETS};
use crate::time::Deadlines;
use crate::transport::{self, Pulse};
use crate::upstream::peer::Peer;
use crate::upstream::pool::lifetime::Lifetime;
use crate::upstream::pool::{Lease, Open, Place};

/// What a server may send ahead on a stream. On all of them it is as much as on each: streams are of different clients,
/// and those who take nothing must not stop the others.
const WINDOW: u32 = 256 * 1024;
/// What pieces smaller than 256 bytes may take beside their bytes while clients do not take them, on all streams: the
/// connection ends with more.
const SMALL_PIECES: usize = 32 * 1024 * 1024;
/// A connection on which nothing has come for that long, though it was asked, gets no further request once one is given up.
const SILENCE: Duration = Duration::from_secs(1);
/// What is kept of a request's body that the server does not take.
const SEND_BUFFER: usize = 1024 * 1024;
/// Bytes of an answer's head, as over HTTP/1.
const HEAD: u32 = 128 * 1024;

/// An HTTP/2 connection.
pub(crate) struct Http2 {
    /// Only ever cloned, so that no request waits in it.
    sender: RefCell<SendRequest<Bytes>>,
    ended: Rc<Cell<bool>>,
    /// What has come of it, and how much that was when a request began on it last; unchanged: when the first of those did.
    pulse: Pulse,
    heard: Cell<u64>,
    asked: Cell<Duration>,
    /// Nobody seems to be there.
    lost: Cell<bool>,
    pub(super) peer: Peer,
    streams: Cell<u32>,
    /// Streams that the gateway itself wants at most.
    most: u32,
    life: Lifetime,
    /// When `tidy` first saw it without a stream.
    idle_since: Cell<Option<Duration>>,
}

impl Http2 {
    /// Starts HTTP/2 on a stream of bytes; its own task drives it. `opening` lasts until the server has said how many
    /// streams it takes; until then there is one.
    pub(super) async fn start(
        stream: transport::Stream,
        open: Open,
        opening: Opening,
        (most, life): (u32, Lifetime),
    ) -> Result<Rc<Self>, h2::Error> {
        let (peer, pulse) = (Peer::of(&stream), stream.pulse());
        let stream = Unsettled { stream, opening: Some(opening) };
        let mut builder = Builder::new();
        builder
            .initial_max_send_streams(1)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(all_windows(most))
            .data_frame_budget(SMALL_PIECES)
            .max_frame_size(FRAME)
            .max_header_list_size(HEAD)
            .max_send_buffer_size(SEND_BUFFER)
            .max_local_error_reset_streams(Some(RESETS))
            .enable_push(false);
        let (sender, driver) = builder.handshake(stream).await?;
        let (sender, ended) = (RefCell::new(sender), Rc::new(Cell::new(false)));
        let told = ended.clone();
        spawn_local(async move {
            let _open = open;
            if let Err(error) = driver.await {
                tracing::debug!(%error, "an HTTP/2 connection to a server broke");
            }
            told.set(true);
        });
        let (heard, asked, lost) = (Cell::new(u64::MAX), Cell::default(), Cell::default());
        let (streams, idle_since) = (Cell::default(), Cell::default());
        let connection =
            Self { sender, ended, pulse, heard, asked, lost, peer, streams, most, life, idle_since };
        Ok(Rc::new(connection))
    }

    /// Whether no request can follow: it has ended, the server is going away, or says nothing any more.
    pub(super) fn is_closed(&self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        self.ended.get()
            || self.lost.get()
            || matches!(self.sender.borrow_mut().poll_ready(cx), Poll::Ready(Err(_)))
    }

    /// What begins a request.
    pub(crate) fn sender(&self) -> SendRequest<Bytes> {
        self.sender.borrow().clone()
    }

    /// Whether it takes one more request now.
    pub(super) fn has_room(&self, now: Duration) -> bool {
        let streams = self.streams.get();
        let theirs = self.sender.borrow().current_max_send_streams();
        streams < self.most && (streams as usize) < theirs && !self.life.is_over(now)
    }

    /// Whether a request that begins now may have to wait for another one's end.
    pub(crate) fn is_crowded(&self) -> bool {
        self.streams.get() as usize >= self.sender.borrow().current_max_send_streams()
    }

    /// Whether it is closed, or was idle for longer than `limit`, or takes no request any more.
    pub(super) fn is_over(&self, now: Duration, limit: Duration) -> bool {
        if self.streams.get() > 0 {
            self.idle_since.set(None);
            return self.is_closed();
        }
        let since = self.idle_since.get().unwrap_or(now);
        self.idle_since.set(Some(since));
        self.is_closed() || now.saturating_sub(since) >= limit || self.life.is_over(now)
    }

    /// One more request on it.
    pub(super) fn lease(self: &Rc<Self>, now: Duration) -> Lease {
        let heard = self.pulse.read();
        if self.heard.replace(heard) != heard {
            self.asked.set(now);
        }
        let reused = self.life.uses() > 0;
        self.life.used();
        self.streams.set(self.streams.get() + 1);
        self.idle_since.set(None);
        Lease::Http2(Stream { connection: self.clone(), reused })
    }
}

/// What a server may send ahead on this many streams.
fn all_windows(streams: u32) -> u32 {
    streams.saturating_mul(WINDOW).min(i32::MAX.unsigned_abs())
}

/// A request that waits for its answer. Where it is given up the way to the server may be lost, of which nothing else would
/// tell for as long as the system sends again what was not received.
pub(crate) struct Asked<'a> {
    connection: &'a Http2,
    deadlines: &'a Deadlines,
}

impl Place {
    /// A request is sent on this stream.
    pub(crate) fn asked<'a>(&'a self, stream: &'a Stream) -> Asked<'a> {
        Asked { connection: &stream.connection, deadlines: &self.pool.deadlines }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let Self { connection, deadlines } = self;
        if connection.pulse.read() == connection.heard.get()
            && deadlines.now().saturating_sub(connection.asked.get()) >= SILENCE
        {
            connection.lost.set(true);
        }
    }
}

/// Counts a stream on its connection while it lives.
pub(crate) struct Stream {
    pub(crate) connection: Rc<Http2>,
    /// The connection had a request before.
    pub(super) reused: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.streams.set(self.connection.streams.get() - 1);
    }
}

/// HTTP/2 connections to one server that are on their way: who can share one waits for it instead of opening another.
#[derive(Default)]
pub(super) struct Underway {
    connections: Cell<usize>,
    waiting: Cell<usize>,
    /// How many have failed so far.
    failures: Cell<usize>,
    settled: Notify,
}

impl Underway {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.connections.get()
    }

    /// Waits for one that will have room; false: open another one.
    pub(super) async fn wait(&self, each: usize) -> bool {
        if self.waiting.get() >= self.connections.get().saturating_mul(each) {
            return false;
        }
        let failures = self.failures.get();
        let _waiting = Waiting::new(self);
        self.settled.notified().await;
        failures == self.failures.get()
    }
}

struct Waiting<'a>(&'a Underway);

impl<'a> Waiting<'a> {
    fn new(underway: &'a Underway) -> Self {
        underway.waiting.set(underway.waiting.get() + 1);
        Self(underway)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

/// One that is on its way.
pub(super) struct Opening {
    underway: Rc<Underway>,
    settled: bool,
}

impl Opening {
    /// One more.
    pub(super) fn new(underway: &Rc<Underway>) -> Self {
        underway.connections.set(underway.connections.get() + 1);
        Self { underway: underway.clone(), settled: false }
    }

    /// It is there, or it turned out to be of another kind.
    pub(super) fn settle(mut self) {
        self.settled = true;
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let all = &self.underway;
        all.connections.set(all.connections.get() - 1);
        if !self.settled {
            all.failures.set(all.failures.get() + 1);
        }
        all.settled.notify_waiters();
    }
}

/// The stream of a connection whose server has not said anything yet: what it says first is how many streams it takes.
struct Unsettled {
    stream: transport::Stream,
    opening: Option<Opening>,
}

impl AsyncRead for Unsettled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let outcome = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if outcome.is_ok() && buf.filled().len() > before {
            // Those who wait run after the task that reads this.
            self.opening.take().into_iter().for_each(Opening::settle);
        }
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Unsettled {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Runs hyper's futures on this worker.
#[derive(Clone, Copy)]
pub(crate) struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        spawn_local(async move {
            future.await;
        });
    }
}
