//! HTTP/2 connections to a server: each has several requests at once.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use crate::http::body::Body;
use crate::transport;
use crate::upstream::peer::Peer;
use crate::upstream::pool::{Lease, Open};

/// Requests on one HTTP/2 connection before another one is opened.
const STREAMS: u32 = 100;

/// An HTTP/2 connection.
pub(crate) struct Http2 {
    sender: http2::SendRequest<Body>,
    pub(super) peer: Peer,
    streams: Cell<u32>,
    /// When `tidy` first saw it without a stream.
    idle_since: Cell<Option<Duration>>,
}

impl Http2 {
    /// Starts HTTP/2 on a stream of bytes; its own task drives it.
    pub(super) async fn start(stream: transport::Stream, open: Open) -> hyper::Result<Rc<Self>> {
        let peer = Peer::of(&stream);
        let (sender, driver) = http2::Builder::new(Local).handshake(TokioIo::new(stream)).await?;
        spawn_local(async move {
            let _open = open;
            drop(driver.await);
        });
        Ok(Rc::new(Self { sender, peer, streams: Cell::new(0), idle_since: Cell::new(None) }))
    }

    /// Whether no request can follow.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Whether it takes one more request now.
    pub(super) fn has_room(&self) -> bool {
        self.streams.get() < STREAMS
    }

    /// Whether it is closed, or was idle for longer than `limit`.
    pub(super) fn is_over(&self, now: Duration, limit: Duration) -> bool {
        if self.streams.get() > 0 {
            self.idle_since.set(None);
            return self.sender.is_closed();
        }
        let since = self.idle_since.get().unwrap_or(now);
        self.idle_since.set(Some(since));
        self.sender.is_closed() || now.saturating_sub(since) >= limit
    }

    /// One more request on it.
    pub(super) fn lease(self: &Rc<Self>) -> Lease {
        self.streams.set(self.streams.get() + 1);
        self.idle_since.set(None);
        Lease::Http2(self.sender.clone(), Stream(self.clone()))
    }
}

/// Counts a stream on its connection while it lives.
pub(crate) struct Stream(pub(super) Rc<Http2>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
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
