//! Two connections that speak something else than HTTP after an upgrade: bytes go both ways until one side ends.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::spawn_local;

use crate::local::Client;
use crate::time::Deadline;
use crate::upstream::send::Tunnel;

/// Joins the client and the server once both have switched; ends after `idle` without a byte.
pub(crate) fn spawn(client: &Rc<Client>, downstream: OnUpgrade, tunnel: Tunnel, idle: Duration) {
    let deadline = Deadline::new(&client.local.deadlines);
    let Tunnel { stream: mut server, open: upstream, place } = tunnel;
    let client = client.clone();
    spawn_local(async move {
        let _held = (place, upstream);
        // The tunnel counts as an open connection, so that a drain waits for it.
        let open = &client.site.open;
        open.set(open.get() + 1);
        if let Ok(peer) = downstream.await {
            let mut peer = Watched { stream: TokioIo::new(peer), deadline, idle };
            let joined = tokio::io::copy_bidirectional(&mut peer, &mut server).await;
            if let Err(error) = joined {
                tracing::debug!(%error, "tunnel ended");
            }
        }
        open.set(open.get() - 1);
    });
}

/// The client's side; every byte in either direction passes here.
struct Watched {
    stream: TokioIo<Upgraded>,
    deadline: Deadline,
    idle: Duration,
}

impl Watched {
    fn watch<T>(&self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Ready(ready) => {
                self.deadline.set(Some(self.idle));
                Poll::Ready(ready)
            }
            Poll::Pending => match self.deadline.poll_passed(cx) {
                Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watch(polled, cx)
    }
}

impl AsyncWrite for Watched {
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
