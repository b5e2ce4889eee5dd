//! HTTP/2 connections to a server: each has several requests at once, as many as both sides allow.

use std::cell::{Cell, Ref, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use crate::http::body::Body;
use crate::transport;
use crate::upstream::peer::Peer;
use crate::upstream::pool::lifetime::Lifetime;
use crate::upstream::pool::{Lease, Open};

/// What drives a connection, and knows how many streams the server takes.
type Driver = http2::Connection<TokioIo<Unsettled>, Body, Local>;

/// An HTTP/2 connection.
pub(crate) struct Http2 {
    sender: http2::SendRequest<Body>,
    /// None: it has ended.
    driver: Rc<RefCell<Option<Driver>>>,
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
    ) -> hyper::Result<Rc<Self>> {
        let peer = Peer::of(&stream);
        let stream = TokioIo::new(Unsettled { stream, opening: Some(opening) });
        let (sender, driver) =
            http2::Builder::new(Local).initial_max_send_streams(1).handshake(stream).await?;
        let driver = Rc::new(RefCell::new(Some(driver)));
        let driven = driver.clone();
        spawn_local(async move {
            let _open = open;
            std::future::poll_fn(|cx| poll_driver(&driven, cx)).await;
            // Requests that it has not taken end with it.
            let ended = driven.take();
            drop(ended);
        });
        let (streams, idle_since) = (Cell::new(0), Cell::new(None));
        Ok(Rc::new(Self { sender, driver, peer, streams, most, life, idle_since }))
    }

    /// Whether no request can follow.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether it takes one more request now.
    pub(super) fn has_room(&self, now: Duration) -> bool {
        let streams = self.streams.get();
        let theirs = |driver: Ref<'_, Option<Driver>>| {
            driver.as_ref().map_or(0, |driver| driver.current_max_send_streams())
        };
        let theirs = self.driver.try_borrow().map_or(0, theirs);
        streams < self.most && (streams as usize) < theirs && !self.life.is_over(now)
    }

    /// Whether it is closed, or was idle for longer than `limit`, or takes no request any more.
    pub(super) fn is_over(&self, now: Duration, limit: Duration) -> bool {
        if self.streams.get() > 0 {
            self.idle_since.set(None);
            return self.sender.is_closed();
        }
        let since = self.idle_since.get().unwrap_or(now);
        self.idle_since.set(Some(since));
        self.sender.is_closed() || now.saturating_sub(since) >= limit || self.life.is_over(now)
    }

    /// One more request on it.
    pub(super) fn lease(self: &Rc<Self>) -> Lease {
        let reused = self.life.uses() > 0;
        self.life.used();
        self.streams.set(self.streams.get() + 1);
        self.idle_since.set(None);
        Lease::Http2(self.sender.clone(), Stream { connection: self.clone(), reused })
    }
}

fn poll_driver(driver: &RefCell<Option<Driver>>, cx: &mut Context<'_>) -> Poll<()> {
    match &mut *driver.borrow_mut() {
        Some(driver) => Pin::new(driver).poll(cx).map(drop),
        None => Poll::Ready(()),
    }
}

/// Counts a stream on its connection while it lives.
pub(crate) struct Stream {
    pub(super) connection: Rc<Http2>,
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
