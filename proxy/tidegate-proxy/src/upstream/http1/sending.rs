//! A request on its way out: its head, then its body piece by piece, as the connection takes them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::request::Parts;
use http_body::Body as HttpBody;
use tokio::io::AsyncWrite;

use super::encode::{self, Framing};
use crate::http::added::Added;
use crate::http::body::{Body, BodyError, Piece, piece};
use crate::http::fail::Reason;

/// Pieces up to this size are copied behind what stands before them and written with it.
const COPIED: usize = 2048;
/// No more of a body is taken while this much waits to be written.
const WAITING: usize = 16 * 1024;
/// A buffer that grew larger than this is not kept for the next request.
const KEPT: usize = 16 * 1024;

/// Why a request could not be sent to its end.
#[derive(Debug)]
pub(super) enum SendFault {
    /// The connection does not take it.
    Write(io::Error),
    /// Its body broke off.
    Body(BodyError),
}

/// The request that a connection sends; without one there is nothing to do.
#[derive(Default)]
pub(super) struct Sending {
    /// Bytes to write, of which `at` are written; `data`, then `tail`, come behind them.
    out: Vec<u8>,
    at: usize,
    data: Bytes,
    tail: &'static [u8],
    body: Body,
    framing: Option<Framing>,
    /// A byte of it was written.
    begun: bool,
    /// A piece of a body that streams was taken.
    taken: bool,
    /// The stream may still hold something back.
    flushing: bool,
}

impl Sending {
    /// Begins a request. A body that is whole is only borrowed from `body`; one that streams is taken out of it.
    pub(super) fn begin(&mut self, head: &Parts, added: Option<&Added>, body: &mut Body) {
        self.out.clear();
        self.at = 0;
        (self.begun, self.taken, self.flushing) = (false, false, true);
        let framing = encode::head(&mut self.out, head, added, body);
        self.framing = (framing != Framing::Length(0)).then_some(framing);
        match body {
            Body::Empty => self.body = Body::Empty,
            Body::Full(bytes) => self.body = Body::Full(bytes.clone()),
            Body::Incoming(..) | Body::Stream(_) => self.body = std::mem::take(body),
        }
    }

    /// Whether all of it is with the connection.
    pub(super) fn is_over(&self) -> bool {
        self.framing.is_none() && !self.flushing
    }

    /// Whether the server may have seen some of it.
    pub(super) fn is_begun(&self) -> bool {
        self.begun
    }

    /// The body, where nothing was taken from it.
    pub(super) fn untouched(&mut self) -> Option<Body> {
        (!self.taken).then(|| std::mem::take(&mut self.body))
    }

    /// Lets go of what was not written.
    pub(super) fn drop_rest(&mut self) {
        *self = Self::default();
    }

    /// Writes until all is written, the connection takes no more, or the body has nothing now.
    pub(super) fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<Result<(), SendFault>> {
        loop {
            let waits = self.fill(cx)?;
            while self.at < self.out.len() || !self.data.is_empty() || !self.tail.is_empty() {
                let written = ready!(self.poll_write(cx, stream)).map_err(SendFault::Write)?;
                if written == 0 {
                    return Poll::Ready(Err(SendFault::Write(io::ErrorKind::WriteZero.into())));
                }
                self.begun = true;
                self.flushing = true;
                self.advance(written);
            }
            self.out.clear();
            self.at = 0;
            if self.flushing {
                ready!(Pin::new(&mut *stream).poll_flush(cx)).map_err(SendFault::Write)?;
                self.flushing = false;
            }
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

    /// Takes pieces of the body while there is room. True: the body has none now, and wakes the task for the next.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, SendFault> {
        while let Some(framing) = self.framing
            && self.data.is_empty()
            && self.tail.is_empty()
            && self.out.len() - self.at < WAITING
        {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else { return Ok(true) };
            self.taken = true;
            match frame.transpose().map_err(SendFault::Body)?.map(piece) {
                Some(Piece::Data(data)) => self.add(framing, data)?,
                Some(Piece::Trailers(trailers)) => self.end(framing, Some(&trailers))?,
                None => self.end(framing, None)?,
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
                // More than was promised would be read as another request.
                let left = left.checked_sub(data.len() as u64).ok_or_else(not_its_length)?;
                // A body that is all here has nothing more to say; its end need not be asked for.
                self.framing = (left > 0).then_some(Framing::Length(left));
                if left == 0 {
                    self.body = Body::Empty;
                }
            }
            Framing::Chunked => {
                encode::chunk_start(&mut self.out, &data);
                self.tail = b"\r\n";
            }
        }
        if data.len() <= COPIED {
            self.out.extend_from_slice(&data);
            self.out.extend_from_slice(std::mem::take(&mut self.tail));
        } else {
            self.data = data;
        }
        Ok(())
    }

    fn end(&mut self, framing: Framing, trailers: Option<&http::HeaderMap>) -> Result<(), SendFault> {
        match framing {
            Framing::Chunked => encode::last_chunk(&mut self.out, trailers),
            Framing::Length(_) => return Err(not_its_length()),
        }
        self.framing = None;
        self.body = Body::Empty;
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
