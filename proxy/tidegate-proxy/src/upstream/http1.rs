//! One HTTP/1.1 connection to a server, driven by the exchange that uses it.
//!
//! The connection is not a task of its own and has no channels: an exchange writes its request, reads the answer and
//! gives the connection back, all in its own polls. `encode` and `decode` know the bytes of heads, `sending` is a request
//! on its way out and `lent` an answer on its way in; the rest is in `http/h1`.

mod decode;
mod encode;
mod lent;
mod sending;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::io;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::request::Parts;
use http::{HeaderMap, StatusCode};

pub(crate) use self::decode::Head;

pub(crate) use self::lent::{Arrived, Home};
use self::sending::Sending;
use crate::http::added::Added;
use crate::http::body::{Body, BodyError};
use crate::http::fail::{Fail, Reason};
use crate::http::h1::{Decoder, Garbage, Inlet, Lines, MAX_FIELDS, Part, READ, SendFault};
use crate::http::interim::{Allowance, Heard};
use crate::transport::Stream;
use crate::upstream::peer::Peer;
use crate::upstream::pool::{Lifetime, Open};

/// A connection, idle or lent to an exchange.
pub(crate) struct Http1 {
    stream: Stream,
    /// What was read and not used yet.
    buffer: BytesMut,
    inlet: Inlet,
    sending: Sending,
    /// Whether another request may follow this one.
    keep_alive: bool,
    /// Bytes at the front of the buffer that are no whole head.
    known: usize,
    lines: Lines,
    /// Interim answers to this request that may still come.
    interim: Allowance,
    /// Of the worker's clock, when it was last given back.
    pub(crate) idle_since: Duration,
    /// Whether an exchange has used it before: then a failure may be the server closing an idle connection.
    pub(crate) reused: bool,
    /// How long and how often it is used.
    pub(crate) life: Lifetime,
    /// What guests have asked for.
    peer: OnceCell<Box<Peer>>,
    open: Open,
}

/// Why there is no head of an answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Not a byte of the request was written.
    Unsent(io::Error),
    /// The request's body broke off.
    Body(BodyError),
    /// The connection broke, or ended before there was an answer.
    Lost(io::Error),
    /// The answer is none.
    Garbage(Garbage),
    /// An interim answer cannot be passed on.
    Interim(Fail),
}

impl From<Garbage> for Fault {
    fn from(garbage: Garbage) -> Self {
        Self::Garbage(garbage)
    }
}

impl Http1 {
    /// Starts HTTP/1.1 on a stream.
    pub(crate) fn new(stream: Stream, open: Open, life: Lifetime) -> Box<Self> {
        Box::new(Self {
            stream,
            buffer: BytesMut::new(),
            inlet: Inlet::new(),
            sending: Sending::default(),
            keep_alive: true,
            known: 0,
            lines: Lines::new(MAX_FIELDS),
            interim: Allowance::default(),
            idle_since: Duration::ZERO,
            reused: false,
            life,
            peer: OnceCell::new(),
            open,
        })
    }

    /// What is known of the connection.
    pub(crate) fn peer(&self) -> &Peer {
        self.peer.get_or_init(|| Box::new(Peer::of(&self.stream)))
    }

    /// Whether an idle connection can take a request: the server has neither closed it nor sent anything.
    pub(crate) fn is_usable(&mut self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        self.is_free() && (self.stream.is_quiet(cx) || self.poll_read(cx, 0).is_pending())
    }

    /// Whether the last request is over on both sides and another one may follow.
    pub(crate) fn is_free(&self) -> bool {
        self.keep_alive && self.buffer.is_empty() && self.sending.is_over()
    }

    /// Keeps no more memory than an idle connection needs.
    pub(crate) fn rest(&mut self) {
        self.inlet.rest();
        if self.buffer.capacity() > READ {
            self.buffer = BytesMut::new();
        }
    }

    /// Begins a request; [`Http1::poll_head`] sends it. A body that streams is taken out of `body`.
    fn begin(&mut self, head: &Parts, added: Option<&Added>, body: &mut Body) {
        (self.known, self.interim) = (0, Allowance::default());
        self.sending.begin(head, added, body);
    }

    /// The body of the request that was begun, if nothing of it has left the gateway.
    pub(crate) fn untouched(&mut self) -> Option<Body> {
        if self.sending.is_begun() { None } else { self.sending.untouched() }
    }

    /// Sends the request and reads the head of its answer; those of interim ones before it go to `heard`. `fields` is an
    /// empty map to use; `head_only`: the request is HEAD.
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        fields: &mut HeaderMap,
        head_only: bool,
        heard: Heard<'_>,
    ) -> Poll<Result<Head, Fault>> {
        match self.poll_send(cx) {
            Ok(()) => {}
            Err(SendFault::Write(error)) => return Poll::Ready(Err(Fault::Unsent(error))),
            Err(SendFault::Body(error)) => return Poll::Ready(Err(Fault::Body(error))),
        }
        loop {
            if !self.buffer.is_empty() {
                let before = self.buffer.len();
                let (known, lines) = (&mut self.known, &mut self.lines);
                if let Some(head) = decode::head(&mut self.buffer, known, lines, fields, head_only)? {
                    let status = head.parts.status;
                    if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
                        self.keep_alive &= head.keep_alive && !status.is_informational();
                        return Poll::Ready(Ok(head));
                    }
                    self.interim.take(before - self.buffer.len())?;
                    heard(head.parts).map_err(Fault::Interim)?;
                    continue;
                }
            }
            match ready!(self.poll_read(cx, 0)) {
                Ok(0) => return Poll::Ready(Err(Fault::Lost(io::ErrorKind::UnexpectedEof.into()))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Fault::Lost(error))),
            }
        }
    }

    /// Sends a request; ready with the head of its answer.
    pub(crate) async fn send(
        &mut self,
        head: &Parts,
        added: Option<&Added>,
        body: &mut Body,
        fields: &mut HeaderMap,
        heard: Heard<'_>,
    ) -> Result<Head, Fault> {
        let head_only = head.method == http::Method::HEAD;
        self.begin(head, added, body);
        std::future::poll_fn(|cx| self.poll_head(cx, fields, head_only, heard)).await
    }

    /// Sends on what is not sent yet. A connection that takes no more may still bring the answer: a server that
    /// refuses a body answers and closes.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), SendFault> {
        if self.sending.is_over() {
            return Ok(());
        }
        match self.sending.poll(cx, &mut self.stream) {
            Poll::Pending | Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(SendFault::Write(_))) if self.sending.is_begun() => {
                self.sending.drop_rest();
                self.keep_alive = false;
                Ok(())
            }
            Poll::Ready(Err(fault)) => Err(fault),
        }
    }

    /// The next part of an answer's body; none at its end.
    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
        decoder: &mut Decoder,
    ) -> Poll<Result<Option<Part>, BodyError>> {
        match self.poll_send(cx) {
            Ok(()) => {}
            Err(SendFault::Write(error)) => return Poll::Ready(Err(lost(error))),
            Err(SendFault::Body(error)) => return Poll::Ready(Err(error)),
        }
        loop {
            match decoder
                .decode(&mut self.buffer)
                .map_err(|garbage| BodyError::broken(Reason::Reset, garbage))
            {
                Ok(None) if !decoder.is_over() => {}
                outcome => return Poll::Ready(outcome),
            }
            match ready!(self.poll_read(cx, decoder.run())) {
                Ok(0) => {
                    self.keep_alive = false;
                    if !decoder.close() {
                        return Poll::Ready(Err(lost(io::ErrorKind::UnexpectedEof.into())));
                    }
                }
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(lost(error))),
            }
        }
    }

    /// Reads what has come. `run`: so much is known to come.
    fn poll_read(&mut self, cx: &mut Context<'_>, run: u64) -> Poll<io::Result<usize>> {
        self.inlet.poll_read(cx, &mut self.stream, &mut self.buffer, run)
    }

    /// Leaves HTTP: what was read ahead is read again from the stream. None: the request is not over.
    pub(crate) fn into_stream(mut self) -> Option<(Stream, Open)> {
        if !self.sending.is_over() {
            return None;
        }
        self.stream.read_again(&self.buffer);
        Some((self.stream, self.open))
    }
}

fn lost(error: io::Error) -> BodyError {
    BodyError::broken(Reason::Reset, error)
}
