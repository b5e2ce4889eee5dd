//! Two connections that speak something else than HTTP after an upgrade: bytes go both ways until one side ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::local::Client;
use crate::time::Deadline;
use crate::upstream::send::Tunnel;

/// The server's side of a connection that speaks another protocol, once the client has been told.
pub(crate) struct Switched {
    pub(crate) tunnel: Tunnel,
    /// How long no byte may go either way.
    pub(crate) idle: Duration,
    /// When it ends in any case.
    pub(crate) until: Option<Duration>,
}

/// Joins the client and the server, who both have switched, until one of them ends.
pub(crate) async fn join<S>(client: &Client, stream: S, switched: Switched)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Switched { tunnel: Tunnel { stream: mut server, open, place }, idle, until } = switched;
    let _held = (place, open);
    let mut peer = Watched { stream, deadline: Deadline::new(&client.local.deadlines), idle, until };
    if until.is_some() {
        peer.moved();
    }
    if let Err(error) = tokio::io::copy_bidirectional(&mut peer, &mut server).await {
        tracing::debug!(%error, "tunnel ended");
    }
}

/// The client's side; every byte in either direction passes here.
struct Watched<S> {
    stream: S,
    deadline: Deadline,
    idle: Duration,
    until: Option<Duration>,
}

impl<S> Watched<S> {
    fn moved(&self) {
        match self.until {
            None => self.deadline.set(Some(self.idle)),
            Some(until) => self.deadline.set_until(Some(until.min(self.deadline.now() + self.idle))),
        }
    }

    fn watch<T>(&self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(ready) => {
                self.moved();
                // Bytes that never stop must not outlast the limit.
                match self.until.map(|_| self.deadline.poll_passed(cx)) {
                    Some(Poll::Ready(())) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    _ => Poll::Ready(ready),
                }
            }
            Poll::Pending => match self.deadline.poll_passed(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watch(polled, cx)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(polled, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
