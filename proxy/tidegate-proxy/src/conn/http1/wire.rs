//! The bytes of one HTTP/1 connection: shared by the connection, which reads heads and writes answers, and by the body of
//! the request that it serves.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head::{self, Head, Reader, Refused};
use crate::conn::watch::{Phase, Told};
use crate::http::body::BodyError;
use crate::http::fail::Reason;
use crate::http::h1::{Decoder, Framing, Garbage, Inlet, Part};
use crate::transport::Stream;

/// Bytes that are read while a request is served, to notice that its client leaves: behind it, or of a body that nobody
/// takes yet.
const AHEAD: usize = 16 * 1024;
/// Bytes of a body that nobody wants that are read so that the connection can stay.
const UNWANTED: usize = 64 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// See the module.
pub(crate) struct Wire {
    io: RefCell<Io>,
    phase: Cell<Phase>,
    told: Cell<Option<Told>>,
}

struct Io {
    stream: Stream,
    /// What was read and not used yet.
    buffer: BytesMut,
    inlet: Inlet,
    body: Arriving,
    /// What is not written of the interim answer that a body waits for; empty: it is to be flushed.
    owed: Option<&'static [u8]>,
    /// What is not written of other interim answers, which go first; empty: they are to be flushed.
    passed: Option<Bytes>,
    /// The task that reads the body, and the one that drives the connection.
    reader: Option<Waker>,
    driver: Option<Waker>,
}

/// The body of the request that is served.
enum Arriving {
    /// There is none, or it has come.
    Over,
    /// It is to be read.
    Wanted(Decoder),
    /// It is to be read, and nobody will.
    Abandoned(Decoder),
    /// What follows cannot be read any more.
    Broken,
}

impl Wire {
    /// A connection without a request.
    pub(crate) fn new(stream: Stream) -> Self {
        let io = Io {
            stream,
            buffer: BytesMut::new(),
            inlet: Inlet::new(),
            body: Arriving::Over,
            owed: None,
            passed: None,
            reader: None,
            driver: None,
        };
        Self { io: RefCell::new(io), phase: Cell::new(Phase::Fresh), told: Cell::new(None) }
    }

    /// What the connection is doing.
    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// It does something else now.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
    }

    /// One more request is served at most. `why`: [`Told::Late`] refuses a head that is not complete, [`Told::Close`] does
    /// not wait for one that has not begun.
    pub(crate) fn end(&self, why: Told) {
        self.told.set(Some(why));
    }

    /// Whether this is the last request.
    pub(super) fn is_ending(&self) -> bool {
        self.told.get().is_some()
    }

    /// The stream of a connection that is between requests, if nothing was read of the next one.
    pub(crate) fn into_stream(self) -> Option<Stream> {
        let io = self.io.into_inner();
        io.buffer.is_empty().then_some(io.stream)
    }

    /// The head of the next request; none: the connection is over.
    pub(super) fn poll_head(
        &self,
        cx: &mut Context<'_>,
        reader: &mut Reader,
    ) -> Poll<Result<Option<Head>, Box<Refused>>> {
        let io = &mut *self.io.borrow_mut();
        loop {
            if !io.buffer.is_empty() {
                if let Some(head) = reader.head(&mut io.buffer).map_err(Box::new)? {
                    return Poll::Ready(Ok(Some(head)));
                }
                if !io.buffer.is_empty() {
                    self.phase.set(Phase::Head);
                }
            }
            match io.poll_read(cx, 0) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ok(None)),
                Poll::Ready(Ok(_)) => {}
                // Nobody has asked for anything, nor is about to.
                Poll::Pending if self.told.get() == Some(Told::Close) && io.buffer.is_empty() => {
                    return Poll::Ready(Ok(None));
                }
                Poll::Pending if self.told.get() == Some(Told::Late) => {
                    let refused = head::refused(&io.buffer, Garbage::Late);
                    return Poll::Ready(Err(Box::new(refused)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// A request's body begins; true: there is one. `expects`: it comes after an interim answer only.
    pub(super) fn begin(&self, framing: Framing, expects: bool) -> bool {
        self.phase.set(Phase::Busy);
        if framing == Framing::Length(0) {
            return false;
        }
        let io = &mut *self.io.borrow_mut();
        io.body = Arriving::Wanted(Decoder::new(framing));
        // A client that has sent something already does not wait.
        io.owed = (expects && io.buffer.is_empty()).then_some(CONTINUE);
        true
    }

    /// The next part of the request's body; none at its end.
    pub(super) fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Part>, BodyError>> {
        let io = &mut *self.io.borrow_mut();
        loop {
            let decoder = match &mut io.body {
                Arriving::Over => return Poll::Ready(Ok(None)),
                Arriving::Wanted(decoder) => decoder,
                Arriving::Abandoned(_) | Arriving::Broken => {
                    return Poll::Ready(Err(BodyError::new(Reason::ClientGone)));
                }
            };
            match decoder.decode(&mut io.buffer) {
                Ok(None) if !decoder.is_over() => {}
                Ok(part) => {
                    if decoder.is_over() {
                        io.close_body(Arriving::Over, cx);
                    }
                    return Poll::Ready(Ok(part));
                }
                Err(garbage) => {
                    io.close_body(Arriving::Broken, cx);
                    return Poll::Ready(Err(BodyError::broken(head::reason(garbage), garbage)));
                }
            }
            let run = decoder.run();
            let read = match io.poll_interim(cx) {
                Poll::Ready(Ok(())) => io.poll_read(cx, run),
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => Poll::Pending,
            };
            let error = match read {
                Poll::Pending => {
                    io.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(Ok(read)) if read > 0 => continue,
                Poll::Ready(Ok(_)) => io::ErrorKind::UnexpectedEof.into(),
                Poll::Ready(Err(error)) => error,
            };
            io.close_body(Arriving::Broken, cx);
            return Poll::Ready(Err(BodyError::broken(Reason::ClientGone, error)));
        }
    }

    /// Whether all of the body was read.
    pub(super) fn is_body_over(&self) -> bool {
        matches!(self.io.borrow().body, Arriving::Over)
    }

    /// Bytes of the body that are still to come, where that is known.
    pub(super) fn body_left(&self) -> Option<u64> {
        match &self.io.borrow().body {
            Arriving::Wanted(decoder) => decoder.left(),
            _ => None,
        }
    }

    /// Nobody reads the body any more.
    pub(super) fn abandon_body(&self) {
        let io = &mut *self.io.borrow_mut();
        if let Arriving::Wanted(decoder) = std::mem::replace(&mut io.body, Arriving::Broken) {
            io.body = Arriving::Abandoned(decoder);
        }
        if let Some(driver) = io.driver.take() {
            driver.wake();
        }
    }

    /// Ready once the client has left. What it sends ahead is kept, up to a limit. One that sends no more may read on: the
    /// [`Phase`] says so, and gives it time; who wants more of its body finds out by reading.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let io = &mut *self.io.borrow_mut();
        let mut run = 0;
        if let Arriving::Wanted(decoder) = &io.body {
            run = decoder.run();
            match &mut io.driver {
                Some(driver) => driver.clone_from(cx.waker()),
                empty => *empty = Some(cx.waker().clone()),
            }
            // Another task that reads the body notices, and a socket wakes one of us only.
            if io.reader.as_ref().is_some_and(|reader| !reader.will_wake(cx.waker())) {
                return Poll::Pending;
            }
        }
        if io.stream.is_quiet(cx) {
            return Poll::Pending;
        }
        while io.buffer.len() < AHEAD && self.phase.get() != Phase::HalfClosed {
            match ready!(io.poll_read(cx, run)) {
                Ok(0) => self.phase.set(Phase::HalfClosed),
                Ok(_) => {}
                Err(_) => return Poll::Ready(()),
            }
            // What it waits for is here now.
            if let Some(reader) = io.reader.take() {
                reader.wake();
            }
        }
        Poll::Pending
    }

    /// Interim answers of the server have come, which go before anything else.
    #[cold]
    pub(super) fn pass_on(&self, heads: &[u8]) {
        let io = &mut *self.io.borrow_mut();
        let mut passed = BytesMut::from(io.passed.take().unwrap_or_default());
        // One that has begun goes to its end first.
        if let Some(owed) = io.owed.filter(|owed| owed.len() < CONTINUE.len()) {
            passed.extend_from_slice(owed);
            io.owed = None;
        }
        passed.extend_from_slice(heads);
        io.passed = Some(passed.freeze());
    }

    /// Sends interim answers as far as the client takes them now.
    pub(super) fn poll_passed(&self, cx: &mut Context<'_>) {
        let io = &mut *self.io.borrow_mut();
        if io.passed.is_none() {
            return;
        }
        match io.poll_passed(cx) {
            // Whoever reads the body may have waited for that.
            Poll::Ready(Ok(())) => {
                if let Some(reader) = io.reader.take() {
                    reader.wake();
                }
            }
            // That the client is gone will be seen by those who read.
            Poll::Ready(Err(_)) => io.passed = None,
            Poll::Pending => {}
        }
    }

    /// The answer begins: appends what is left of an interim one. True: another request may follow as far as the body
    /// of this one goes, which is passed over where it is here already.
    pub(super) fn begin_answer(&self, out: &mut Vec<u8>) -> bool {
        let io = &mut *self.io.borrow_mut();
        if let Some(passed) = io.passed.take() {
            out.extend_from_slice(&passed);
        }
        let owed = io.owed.take().unwrap_or_default();
        let unsaid = owed.len() == CONTINUE.len();
        if !unsaid {
            out.extend_from_slice(owed);
        }
        match &mut io.body {
            Arriving::Over | Arriving::Wanted(_) => !unsaid,
            Arriving::Abandoned(decoder) => {
                if !unsaid && pass_over(decoder, &mut io.buffer).is_some_and(|_| decoder.is_over()) {
                    io.body = Arriving::Over;
                    return true;
                }
                false
            }
            Arriving::Broken => false,
        }
    }

    /// The answer is with the client. True: so is the request with us, and the next one may be read.
    pub(super) fn settle(&self, cx: &mut Context<'_>) -> bool {
        let io = &mut *self.io.borrow_mut();
        io.driver = None;
        let mut unwanted = 0;
        loop {
            let decoder = match &mut io.body {
                Arriving::Over => return true,
                Arriving::Abandoned(decoder) => decoder,
                Arriving::Wanted(_) | Arriving::Broken => break,
            };
            let Some(passed) = pass_over(decoder, &mut io.buffer) else { break };
            unwanted += passed;
            if decoder.is_over() {
                io.body = Arriving::Over;
                return true;
            }
            if unwanted > UNWANTED || !matches!(io.poll_read(cx, 0), Poll::Ready(Ok(1..))) {
                break;
            }
        }
        io.break_body();
        false
    }

    /// Nothing is read any more.
    pub(super) fn shut(&self) {
        self.io.borrow_mut().break_body();
    }

    /// Whether a client's bytes are waiting that nobody will read: closing would be a reset, which may take the answer
    /// away from it.
    pub(super) fn is_cut_off(&self, cx: &mut Context<'_>) -> bool {
        let io = self.io.borrow();
        !matches!(io.body, Arriving::Over) || !io.buffer.is_empty() || io.stream.poll_readable(cx).is_ready()
    }

    /// Takes what a client still sends, until it sees that nobody answers.
    pub(super) fn poll_discard(&self, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        let io = &mut *self.io.borrow_mut();
        loop {
            io.buffer.clear();
            match ready!(io.poll_read(cx, UNWANTED as u64)) {
                Ok(read) if read > 0 && read < *left => *left -= read,
                _ => return Poll::Ready(()),
            }
        }
    }

    /// The end of this connection is a reset: what was sent is not all there is.
    pub(super) fn reset_when_dropped(&self) {
        self.io.borrow().stream.reset_when_dropped();
    }

    /// Leaves HTTP: what was read ahead is read again from the stream.
    pub(super) fn unread(&self) {
        let io = &mut *self.io.borrow_mut();
        let ahead = std::mem::take(&mut io.buffer);
        io.stream.read_again(&ahead);
    }
}

impl Io {
    /// Reads what has come. `run`: so much is known to come.
    fn poll_read(&mut self, cx: &mut Context<'_>, run: u64) -> Poll<io::Result<usize>> {
        self.inlet.poll_read(cx, &mut self.stream, &mut self.buffer, run)
    }

    /// Sends the interim answers of the server.
    fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(passed) = &mut self.passed {
            if passed.is_empty() {
                ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                self.passed = None;
            } else {
                let written = ready!(Pin::new(&mut self.stream).poll_write(cx, passed))?;
                if written == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                passed.advance(written);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends the interim answer that the body waits for.
    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A client that does not wait may well read nothing before it has sent all.
        if self.owed.is_none() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_passed(cx))?;
        while let Some(owed) = self.owed {
            if owed.is_empty() {
                ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
                self.owed = None;
            } else {
                let written = ready!(Pin::new(&mut self.stream).poll_write(cx, owed))?;
                self.owed = owed.get(written..);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// The body may be on its way to the server still, in a task of its own, which is to notice.
    fn break_body(&mut self) {
        self.body = Arriving::Broken;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// The body is read no more: from here on the connection's own task reads.
    fn close_body(&mut self, state: Arriving, cx: &Context<'_>) {
        self.body = state;
        self.reader = None;
        if let Some(driver) = self.driver.take()
            && !driver.will_wake(cx.waker())
        {
            driver.wake();
        }
    }
}

/// Passes over what is here of a body; how much that was. None: it is malformed.
fn pass_over(decoder: &mut Decoder, buffer: &mut BytesMut) -> Option<usize> {
    let before = buffer.len();
    while decoder.decode(buffer).ok()?.is_some() {}
    Some(before - buffer.len())
}

/// The connection as a stream. Each call borrows it for itself only: the body of an answer may read the request's.
pub(super) struct Shared(pub(super) Rc<Wire>);

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.io.borrow_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.io.borrow_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0.io.borrow_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.io.borrow().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.io.borrow_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.io.borrow_mut().stream).poll_shutdown(cx)
    }
}
