//! A byte stream of a client or a server, with or without TLS, and with bytes that were read ahead.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes up to which several buffers are written as one.
const TOGETHER: usize = 1024;

/// TCP, or TLS over it.
#[derive(Debug)]
pub(crate) enum Transport {
    /// Clear text.
    Plain(TcpStream),
    /// The gateway is the server.
    Server(Box<tokio_rustls::server::TlsStream<TcpStream>>),
    /// The gateway is the client.
    Client(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// What has passed a stream, for the task that owns its connection and for those who ask what there is. Atomics only because
/// hyper wants its streams to be `Send`: one thread writes and reads them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pulse(Arc<Passed>);

/// Bytes, inside TLS.
#[derive(Debug, Default)]
struct Passed {
    read: AtomicU64,
    written: AtomicU64,
    /// The sum of both when somebody last asked whether it had changed.
    seen: AtomicU64,
}

impl Pulse {
    /// Whether a byte has gone either way since this was last asked.
    pub(crate) fn take_moved(&self) -> bool {
        let sum = self.read().wrapping_add(self.written());
        let moved = self.0.seen.load(Ordering::Relaxed) != sum;
        if moved {
            self.0.seen.store(sum, Ordering::Relaxed);
        }
        moved
    }

    /// Bytes that the other end has sent.
    pub(crate) fn read(&self) -> u64 {
        self.0.read.load(Ordering::Relaxed)
    }

    /// Bytes that it was sent.
    pub(crate) fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    #[inline]
    fn reads(&self, bytes: usize) {
        self.0.read.store(self.read().wrapping_add(bytes as u64), Ordering::Relaxed);
    }

    #[inline]
    fn wrote(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = polled {
            self.0.written.store(self.written().wrapping_add(bytes as u64), Ordering::Relaxed);
        }
        polled
    }
}

/// A transport whose first bytes may have been read already.
#[derive(Debug)]
pub(crate) struct Stream {
    ahead: Vec<u8>,
    pulse: Pulse,
    transport: Transport,
}

impl Stream {
    /// `ahead` is what was read from `transport` and is to be read again.
    pub(crate) fn new(transport: Transport, ahead: Vec<u8>) -> Self {
        Self { ahead, pulse: Pulse::default(), transport }
    }

    /// `bytes` were read and are to be read once more.
    pub(crate) fn read_again(&mut self, bytes: &[u8]) {
        self.pulse.reads(bytes.len().wrapping_neg());
        self.ahead.splice(..0, bytes.iter().copied());
    }

    /// What happens on the stream from here on.
    pub(crate) fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Whether it is known without a look that nothing has come, not even the end. TLS may hold something back.
    pub(crate) fn is_quiet(&self, cx: &mut Context<'_>) -> bool {
        matches!(self.transport, Transport::Plain(_)) && self.poll_readable(cx).is_pending()
    }

    /// Ready when there is something to read, the end included.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.transport {
            Transport::Plain(stream) => stream.poll_read_ready(cx),
            Transport::Server(stream) => stream.get_ref().0.poll_read_ready(cx),
            Transport::Client(stream) => stream.get_ref().0.poll_read_ready(cx),
        }
    }
}

impl Stream {
    /// The TLS session with a client.
    pub(crate) fn server_session(&self) -> Option<&rustls::ServerConnection> {
        match &self.transport {
            Transport::Server(stream) => Some(stream.get_ref().1),
            Transport::Plain(_) | Transport::Client(_) => None,
        }
    }

    /// The TLS session with a server.
    pub(crate) fn client_session(&self) -> Option<&rustls::ClientConnection> {
        match &self.transport {
            Transport::Client(stream) => Some(stream.get_ref().1),
            Transport::Plain(_) | Transport::Server(_) => None,
        }
    }

    /// This end's address.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        self.tcp().local_addr().ok()
    }

    fn tcp(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(stream) => stream,
            Transport::Server(stream) => stream.get_ref().0,
            Transport::Client(stream) => stream.get_ref().0,
        }
    }

    /// Makes the end of this stream a reset: the peer must not take what it got for all there is.
    pub(crate) fn reset_when_dropped(&self) {
        // A connection that is gone already needs none.
        drop(self.tcp().set_zero_linger());
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.ahead.is_empty() {
            let n = this.ahead.len().min(buf.remaining());
            let rest = this.ahead.split_off(n);
            buf.put_slice(&this.ahead);
            this.ahead = rest;
            this.pulse.reads(n);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Server(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Client(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        this.pulse.reads(buf.filled().len() - before);
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Server(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Client(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        self.pulse.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A short head and a short body are cheaper copied together than written from two places.
        let whole: usize = bufs.iter().map(|buf| buf.len()).sum();
        if whole <= TOGETHER {
            if let [only] = bufs {
                return self.poll_write(cx, only);
            }
            let mut together = [0; TOGETHER];
            let mut rest = &mut together[..];
            for buf in bufs {
                // Cannot fail: there is room for all of them.
                _ = io::Write::write(&mut rest, buf)?;
            }
            return self.poll_write(cx, together.get(..whole).unwrap_or_default());
        }
        let polled = match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Server(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Client(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        self.pulse.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Server(stream) => stream.is_write_vectored(),
            Transport::Client(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            // Clear text has nothing of its own to flush.
            Transport::Plain(_) => Poll::Ready(Ok(())),
            Transport::Server(stream) => Pin::new(stream).poll_flush(cx),
            Transport::Client(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Server(stream) => Pin::new(stream).poll_shutdown(cx),
            Transport::Client(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
