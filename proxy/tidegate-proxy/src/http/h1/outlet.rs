//! A message on its way out: its head, then its body piece by piece, as the connection takes them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::Body as HttpBody;
use tokio::io::AsyncWrite;

use super::Framing;
use super::encode::{chunk_start, last_chunk};
use crate::http::body::{BodyError, Piece, piece};
use crate::http::fail::Reason;

/// Pieces up to this size are copied behind what stands before them and written with it.
const COPIED: usize = 2048;
/// No more of a body is taken while this much waits to be written.
const WAITING: usize = 16 * 1024;
/// A buffer that grew larger than this is not kept for the next message.
const KEPT: usize = 16 * 1024;

/// Why a message could not be sent to its end.
#[derive(Debug)]
pub(crate) enum SendFault {
    /// The connection does not take it.
    Write(io::Error),
    /// Its body broke off.
    Body(BodyError),
}

/// The message that a connection sends; without one there is nothing to do.
#[derive(Default)]
pub(crate) struct Outlet {
    /// Bytes to write, of which `at` are written; `data`, then `tail`, come behind them.
    out: Vec<u8>,
    at: usize,
    data: Bytes,
    tail: &'static [u8],
    framing: Option<Framing>,
    /// A byte of it was written.
    begun: bool,
    /// A piece of its body was taken.
    taken: bool,
    /// Something was taken that the stream has not passed on: it is to be written, or the stream may still hold it back.
    flushing: bool,
}

impl Outlet {
    /// Begins a message: the place for its head. What the head says of the body is for [`Outlet::frame`].
    pub(crate) fn begin(&mut self) -> &mut Vec<u8> {
        self.out.clear();
        self.at = 0;
        (self.begun, self.taken, self.flushing) = (false, false, true);
        &mut self.out
    }

    /// The head is written: its body comes in this framing; none: there is no body.
    pub(crate) fn frame(&mut self, framing: Option<Framing>) {
        self.framing = framing.filter(|framing| *framing != Framing::Length(0));
    }

    /// Whether a body follows that was not taken to its end.
    pub(crate) fn has_body(&self) -> bool {
        self.framing.is_some()
    }

    /// Whether all of it is with the connection.
    pub(crate) fn is_over(&self) -> bool {
        self.framing.is_none() && !self.flushing
    }

    /// Whether the peer may have seen some of it.
    pub(crate) fn is_begun(&self) -> bool {
        self.begun
    }

    /// Whether a piece of its body was taken.
    pub(crate) fn is_taken(&self) -> bool {
        self.taken
    }

    /// Writes until all is written, the connection takes no more, or the body has nothing now. The body is dropped
    /// before its last bytes are written: whoever waits for its end need not wait for the peer.
    pub(crate) fn poll<S, B>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        body: &mut Option<B>,
    ) -> Poll<Result<(), SendFault>>
    where
        S: AsyncWrite + Unpin,
        B: HttpBody<Data = Bytes, Error = BodyError> + Unpin,
    {
        loop {
            let waits = self.fill(cx, body)?;
            ready!(self.poll_out(cx, stream)).map_err(SendFault::Write)?;
            if self.framing.is_none() {
                if self.out.capacity() > KEPT {
                    self.out = Vec::new();
                }
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// Writes what was taken so far, and has the stream pass it on.
    pub(crate) fn poll_out<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        while self.at < self.out.len() || !self.data.is_empty() || !self.tail.is_empty() {
            let written = ready!(self.poll_write(cx, stream))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.begun = true;
            self.flushing = true;
            self.advance(written);
        }
        self.out.clear();
        self.at = 0;
        if self.flushing {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.flushing = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes pieces of the body while there is room. True: the body has none now, and wakes the task for the next.
    fn fill<B>(&mut self, cx: &mut Context<'_>, body: &mut Option<B>) -> Result<bool, SendFault>
    where
        B: HttpBody<Data = Bytes, Error = BodyError> + Unpin,
    {
        while let Some(framing) = self.framing
            && self.data.is_empty()
            && self.tail.is_empty()
            && self.out.len() - self.at < WAITING
        {
            let Some(source) = body else { return Err(not_its_length()) };
            let Poll::Ready(frame) = Pin::new(&mut *source).poll_frame(cx) else { return Ok(true) };
            (self.taken, self.flushing) = (true, true);
            match frame.transpose().map_err(SendFault::Body)?.map(piece) {
                Some(Piece::Data(data)) => self.add(framing, data)?,
                Some(Piece::Trailers(trailers)) => self.end(framing, Some(&trailers))?,
                None => self.end(framing, None)?,
            }
            if self.framing == Some(Framing::Length(0)) {
                // A body that is all here has nothing more to say; another one may want to be asked for its end.
                if !source.is_end_stream()
                    && let Poll::Ready(Some(Ok(more))) = Pin::new(source).poll_frame(cx)
                    && more.data_ref().is_some_and(|data| !data.is_empty())
                {
                    return Err(not_its_length());
                }
                self.framing = None;
            }
            if self.framing.is_none() {
                *body = None;
            }
        }
        Ok(false)
    }

    fn add(&mut self, framing: Framing, data: Bytes) -> Result<(), SendFault> {
        if data.is_empty() {
            return Ok(());
        }
        match framing {
            Framing::Length(left) => {
                // More than was promised would be read as another message.
                let left = left.checked_sub(data.len() as u64).ok_or_else(not_its_length)?;
                self.framing = Some(Framing::Length(left));
            }
            Framing::Chunked => {
                chunk_start(&mut self.out, &data);
                self.tail = b"\r\n";
            }
            Framing::Close => {}
        }
        if data.len() <= COPIED {
            self.out.extend_from_slice(&data);
            self.out.extend_from_slice(std::mem::take(&mut self.tail));
        } else {
            self.data = data;
        }
        Ok(())
    }

    fn end(&mut self, framing: Framing, trailers: Option<&HeaderMap>) -> Result<(), SendFault> {
        match framing {
            Framing::Chunked => last_chunk(&mut self.out, trailers),
            Framing::Close => {}
            Framing::Length(_) => return Err(not_its_length()),
        }
        self.framing = None;
        Ok(())
    }

    fn poll_write<S: AsyncWrite + Unpin>(
        &self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<usize>> {
        let out = self.out.get(self.at..).unwrap_or_default();
        if self.data.is_empty() && self.tail.is_empty() {
            return Pin::new(stream).poll_write(cx, out);
        }
        let parts = [IoSlice::new(out), IoSlice::new(&self.data), IoSlice::new(self.tail)];
        if stream.is_write_vectored() {
            return Pin::new(stream).poll_write_vectored(cx, &parts);
        }
        let first = parts.iter().find(|part| !part.is_empty()).map_or(&[][..], |part| part);
        Pin::new(stream).poll_write(cx, first)
    }

    fn advance(&mut self, written: usize) {
        let of_out = written.min(self.out.len() - self.at);
        self.at += of_out;
        let of_data = (written - of_out).min(self.data.len());
        self.data.advance(of_data);
        self.tail = self.tail.get(written - of_out - of_data..).unwrap_or_default();
        if self.data.is_empty() {
            self.data = Bytes::new();
        }
    }
}

/// The body does not have as many bytes as its head says.
fn not_its_length() -> SendFault {
    SendFault::Body(BodyError::new(Reason::Internal))
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// Takes so many bytes and no more until it is given room for others.
    struct Narrow {
        room: usize,
        got: Vec<u8>,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let taken = buf.len().min(self.room);
            if taken == 0 {
                return Poll::Pending;
            }
            self.room -= taken;
            self.got.extend_from_slice(buf.get(..taken).unwrap_or_default());
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Pieces as they come.
    struct Pieces(Vec<Bytes>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, BodyError>>> {
            Poll::Ready(self.0.pop().map(|piece| Ok(http_body::Frame::data(piece))))
        }
    }

    /// Wherever the connection is full, also right before the last piece, of which then not a byte is written.
    #[test]
    fn it_is_over_once_all_of_it_is_written() {
        for framing in [Framing::Length(6000), Framing::Chunked] {
            for room in 0..6100 {
                let mut outlet = Outlet::default();
                outlet.begin().extend_from_slice(b"head");
                outlet.frame(Some(framing));
                let mut body = Some(Pieces(vec![Bytes::from(vec![b'x'; 3000]); 2]));
                let mut stream = Narrow { room, got: Vec::new() };
                let cx = &mut Context::from_waker(Waker::noop());
                while outlet.poll(cx, &mut stream, &mut body).is_pending() {
                    assert!(!outlet.is_over(), "{} bytes were written of {framing:?}", stream.got.len());
                    stream.room = 6100;
                }
                assert!(outlet.is_over());
                assert_eq!(stream.got.iter().filter(|byte| **byte == b'x').count(), 6000, "{framing:?}");
            }
        }
    }
}
