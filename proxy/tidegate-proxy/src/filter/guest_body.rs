//! A body on its way through one plugin: pieces go in, what the guest lets through comes out.
//!
//! The guest may hold pieces back; they are buffered in its instance up to a limit, and it sees all of them together.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tidegate_wasm::Side;

use crate::filter::wasm::{Decision, Guest};
use crate::http::body::{Body, BodyError, Piece, piece};
use crate::http::fail::{Fail, Reason};
use crate::http::reply::Reply;

/// Bytes that a guest may hold back of one body.
pub(crate) const HELD: usize = 1024 * 1024;

/// See the module.
pub(crate) struct GuestBody {
    inner: Body,
    guest: Rc<Guest>,
    side: Side,
    state: State,
    trailers: Option<HeaderMap>,
    /// What goes on past a guest that failed and is passed over.
    past: Bytes,
    /// The guest has seen the end of the body.
    ended: bool,
    /// Bytes that the head still promises.
    promised: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Pieces pass.
    Open,
    /// The guest holds the body; more may be fed.
    Held,
    /// The guest holds the body and is given nothing more.
    Shut,
    /// What was let through last is followed by trailers or nothing.
    Finishing,
    /// Nothing more.
    Done,
}

/// What feeding a guest until it lets go came to.
pub(crate) enum Released {
    /// The head may go on, and this body with it.
    Go,
    /// The guest answers itself.
    Reply(Reply),
}

impl GuestBody {
    /// `inner` will pass `guest`.
    pub(crate) fn new(inner: Body, guest: Rc<Guest>, side: Side) -> Self {
        Self {
            inner,
            guest,
            side,
            state: State::Open,
            trailers: None,
            past: Bytes::new(),
            ended: false,
            promised: None,
        }
    }

    /// As [`GuestBody::new`] for a guest that holds the head back; `shut`: and wants nothing more for now.
    pub(crate) fn held(inner: Body, guest: Rc<Guest>, side: Side, shut: bool) -> Self {
        let state = if shut { State::Shut } else { State::Held };
        Self { state, ..Self::new(inner, guest, side) }
    }

    /// The length in the head that goes before this body. More than it promises is refused instead of cut off; less is
    /// noticed by the connection. A length that the guest could not correct is taken out.
    pub(crate) fn promise(&mut self, headers: &mut HeaderMap) {
        if self.guest.rewrites_unseen(self.side) {
            headers.remove(CONTENT_LENGTH);
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        self.promised = length.and_then(|length| length.parse().ok());
    }

    fn passed(&mut self, data: Bytes) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(promised) = &mut self.promised {
            match promised.checked_sub(data.len() as u64) {
                Some(rest) => *promised = rest,
                None => return self.fail(BodyError::new(Reason::TooLarge)),
            }
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    /// Feeds the guest, which holds the head back, until it lets go.
    pub(crate) fn poll_released(&mut self, cx: &mut Context<'_>) -> Poll<Result<Released, Fail>> {
        loop {
            if let Poll::Ready(decision) = self.guest.poll_resumed(self.side, cx) {
                return Poll::Ready(decision.map(|decision| self.let_go(decision)));
            }
            if self.guest.is_fed(self.side) {
                self.state = State::Held;
            }
            if self.ended || self.state == State::Shut {
                return Poll::Pending;
            }
            let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
            match self.feed(frame) {
                Ok(Decision::Hold) => {}
                Ok(Decision::Wait) => self.state = State::Shut,
                Ok(decision) => return Poll::Ready(Ok(self.let_go(decision))),
                Err(fail) => return Poll::Ready(Err(fail)),
            }
        }
    }

    fn let_go(&mut self, decision: Decision) -> Released {
        match decision {
            Decision::Reply(reply) => Released::Reply(reply),
            Decision::Go | Decision::Hold | Decision::Wait => {
                self.state = if self.ended { State::Finishing } else { State::Open };
                Released::Go
            }
        }
    }

    /// One piece, or the end, goes to the guest.
    fn feed(&mut self, frame: Option<Result<Frame<Bytes>, BodyError>>) -> Result<Decision, Fail> {
        match frame {
            None => {
                self.ended = true;
                self.body(Bytes::new(), true)
            }
            Some(Err(error)) => Err(Fail::client(error.reason).because(error)),
            Some(Ok(frame)) => match piece(frame) {
                Piece::Data(data) => {
                    self.ended = self.inner.is_end_stream();
                    self.body(data, self.ended)
                }
                Piece::Trailers(trailers) => {
                    self.ended = true;
                    self.trailers(trailers)
                }
            },
        }
    }

    fn body(&mut self, data: Bytes, end: bool) -> Result<Decision, Fail> {
        let side = self.side;
        if self.guest.is_out() {
            self.past = data;
            return Ok(Decision::Go);
        }
        let decision = self.guest.call(|instance, id, now| match side {
            Side::Request => instance.on_request_body(id, data, end, now),
            Side::Response => instance.on_response_body(id, data, end, now),
        })?;
        if matches!(decision, Decision::Hold | Decision::Wait) && self.buffered() > HELD {
            return Err(match side {
                Side::Request => Fail::filter(Reason::TooLarge),
                Side::Response => Fail::filter(Reason::Internal),
            });
        }
        Ok(decision)
    }

    fn trailers(&mut self, trailers: HeaderMap) -> Result<Decision, Fail> {
        let side = self.side;
        if self.guest.is_out() {
            self.trailers = Some(trailers);
            return Ok(Decision::Go);
        }
        self.guest.call(|instance, id, now| match side {
            Side::Request => instance.on_request_trailers(id, trailers, now),
            Side::Response => instance.on_response_trailers(id, trailers, now),
        })
    }

    fn buffered(&self) -> usize {
        let side = self.side;
        self.guest.with(|instance, id| match side {
            Side::Request => instance.buffered_request_body(id),
            Side::Response => instance.buffered_response_body(id),
        })
    }

    /// What the guest has let through.
    fn take(&mut self) -> Bytes {
        let side = self.side;
        if !self.past.is_empty() {
            return std::mem::take(&mut self.past);
        }
        self.guest.with(|instance, id| match side {
            Side::Request => instance.take_request_body(id),
            Side::Response => instance.take_response_body(id),
        })
    }

    fn take_trailers(&mut self) -> Option<HeaderMap> {
        let side = self.side;
        let given = self.guest.with(|instance, id| match side {
            Side::Request => instance.take_request_trailers(id),
            Side::Response => instance.take_response_trailers(id),
        });
        given.or_else(|| self.trailers.take()).filter(|trailers| !trailers.is_empty())
    }
}

/// A body that fails for a filter's sake.
fn broken(fail: &Fail) -> BodyError {
    BodyError::new(fail.reason)
}

impl HttpBody for GuestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            match this.state {
                State::Done => return Poll::Ready(None),
                State::Open => {
                    let held = this.take();
                    if !held.is_empty() {
                        return this.passed(held);
                    }
                    let frame = ready!(Pin::new(&mut this.inner).poll_frame(cx));
                    if let Some(Err(error)) = frame {
                        this.state = State::Done;
                        return Poll::Ready(Some(Err(error)));
                    }
                    match this.feed(frame) {
                        Ok(Decision::Go) if this.ended => this.state = State::Finishing,
                        Ok(Decision::Go) => {}
                        Ok(Decision::Hold) => this.state = State::Held,
                        Ok(Decision::Wait) => this.state = State::Shut,
                        // The head is gone: an answer can no longer be given.
                        Ok(Decision::Reply(_)) => return this.fail(BodyError::new(Reason::PluginTrap)),
                        Err(fail) => return this.fail(broken(&fail)),
                    }
                }
                State::Held | State::Shut => match ready!(this.poll_released(cx)) {
                    Ok(Released::Go) => {}
                    Ok(Released::Reply(_)) => return this.fail(BodyError::new(Reason::PluginTrap)),
                    Err(fail) => return this.fail(broken(&fail)),
                },
                State::Finishing => {
                    let held = this.take();
                    if !held.is_empty() {
                        return this.passed(held);
                    }
                    this.state = State::Done;
                    return Poll::Ready(this.take_trailers().map(|trailers| Ok(Frame::trailers(trailers))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Done
    }

    fn size_hint(&self) -> SizeHint {
        // The guest may change the length; the head says it when it is known.
        SizeHint::default()
    }
}

impl GuestBody {
    fn fail(&mut self, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.state = State::Done;
        Poll::Ready(Some(Err(error)))
    }
}
