//! A byte stream of a client or a server, with or without TLS, and with bytes that were read ahead.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

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

/// Whether a byte has come since this was last cleared. Read by the task that owns the connection; an atomic only
/// because hyper wants its streams to be `Send`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<AtomicBool>);

impl Heard {
    /// Whether something came.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Forgets it.
    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// A transport whose first bytes may have been read already.
#[derive(Debug)]
pub(crate) struct Stream {
    ahead: Vec<u8>,
    heard: Heard,
    transport: Transport,
}

impl Stream {
    /// `ahead` is what was read from `transport` and is to be read again.
    pub(crate) fn new(transport: Transport, ahead: Vec<u8>) -> Self {
        Self { ahead, heard: Heard::default(), transport }
    }

    /// A flag that is set whenever bytes come.
    pub(crate) fn heard(&self) -> Heard {
        self.heard.clone()
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
            this.heard.0.store(true, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = match &mut this.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Server(stream) => Pin::new(stream).poll_read(cx, buf),
            Transport::Client(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        if buf.filled().len() > before {
            this.heard.0.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Server(stream) => Pin::new(stream).poll_write(cx, buf),
            Transport::Client(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Server(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Transport::Client(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
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
            Transport::Plain(stream) => Pin::new(stream).poll_flush(cx),
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
