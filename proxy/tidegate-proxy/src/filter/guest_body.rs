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
use tidegate_wasm::{Instance, Side, StreamId};

use crate::filter::wasm::{Decision, End, Guest};
use crate::http::body::{Body, BodyError, Piece, piece};
use crate::http::fail::{Fail, Reason};
use crate::http::reply::Reply;

/// See the module.
pub(crate) struct GuestBody {
    inner: Body,
    guest: Rc<Guest>,
    side: Side,
    state: State,
    /// The guest has seen the end of the body.
    ended: bool,
    /// Nothing came when the body was last asked, so time has gone by when something does.
    waited: bool,
    /// What was let through and has not gone on yet.
    ready: Bytes,
    /// As [`GuestBody::ready`], at the end.
    trailers: Option<HeaderMap>,
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
    /// It breaks off.
    Broken(Reason),
    /// Nothing more.
    Done,
}

/// What feeding a guest until it lets go came to.
pub(crate) enum Released {
    /// The head may go on, and this body with it.
    Go,
    /// The guest answers itself.
    Reply(Box<Reply>),
}

impl GuestBody {
    /// `inner` will pass `guest`.
    pub(crate) fn new(inner: Body, guest: Rc<Guest>, side: Side) -> Self {
        Self {
            inner,
            guest,
            side,
            state: State::Open,
            ended: false,
            waited: false,
            ready: Bytes::new(),
            trailers: None,
            promised: None,
        }
    }

    /// As [`GuestBody::new`] for a guest that holds the head back; `shut`: and wants nothing more for now.
    pub(crate) fn held(inner: Body, guest: Rc<Guest>, side: Side, shut: bool) -> Self {
        let state = if shut { State::Shut } else { State::Held };
        Self { state, ..Self::new(inner, guest, side) }
    }

    /// A body that is all here passes the guest; its head has done so.
    ///
    /// # Errors
    /// When the guest breaks off.
    pub(crate) fn at_once(data: Bytes, guest: &Rc<Guest>, side: Side) -> Result<Body, Fail> {
        let mut left = None;
        guest.begin(side);
        let decision = guest.call(of_body(side), |instance, id, now| {
            let step = match side {
                Side::Request => instance.on_request_body(id, data, true, now),
                Side::Response => instance.on_response_body(id, data, true, now),
            }?;
            if step == tidegate_wasm::Step::Continue {
                left = Some(passes(instance, id, side, true));
            }
            Ok(step)
        })?;
        Self::shown(decision, left, guest, side)
    }

    /// As [`GuestBody::at_once`] for a body that the guest has just been shown; `left`: what it has left of it.
    ///
    /// # Errors
    /// When the guest holds more than it may.
    pub(crate) fn shown(
        decision: Decision,
        left: Option<(Bytes, Option<HeaderMap>)>,
        guest: &Rc<Guest>,
        side: Side,
    ) -> Result<Body, Fail> {
        if let Decision::Go = decision {
            let left = left.unwrap_or_else(|| guest.with(|instance, id| passes(instance, id, side, true)));
            let (ready, trailers) = match left {
                (data, None) if !guest.breaks(side) && !guest.has_injected() => return Ok(Body::full(data)),
                left => left,
            };
            let body = Self::new(Body::Empty, guest.clone(), side);
            let mut body = Self { ended: true, ready, trailers, ..body };
            body.put_in(false);
            return Ok(Body::stream(body));
        }
        let mut body = Self { ended: true, ..Self::new(Body::Empty, guest.clone(), side) };
        match decision {
            Decision::Hold | Decision::Wait if body.holds_too_much() => return Err(body.too_much()),
            Decision::Go | Decision::Hold => body.state = State::Held,
            Decision::Wait => body.state = State::Shut,
            Decision::Reply(reply) => body.state = State::Broken(body.note(End::Reply(reply))),
        }
        Ok(Body::stream(body))
    }

    /// Whether a length in the head is not to be trusted: the guest could change the body and not correct it.
    pub(crate) fn lies_about_length(&self) -> bool {
        self.guest.writes_bodies() && self.guest.rewrites_unseen(self.side)
    }

    /// The length in the head that goes before this body: it breaks off where it comes to more or less.
    pub(crate) fn promise(&mut self, headers: &HeaderMap) {
        if !self.guest.writes_bodies() {
            return;
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        self.promised = length.and_then(|length| length.parse().ok());
    }

    /// Whether the head promises more than has gone on.
    fn owes(&self) -> bool {
        self.promised.is_some_and(|left| left > 0)
    }

    /// What was let through goes on.
    fn passed(&mut self) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let data = std::mem::take(&mut self.ready);
        if let Some(promised) = &mut self.promised {
            match promised.checked_sub(data.len() as u64) {
                Some(rest) => *promised = rest,
                None => return self.fail(End::Fail(Reason::Internal)),
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
            let frame = ready!(self.poll_inner(cx));
            match self.feed(frame) {
                Ok(Decision::Hold) => {}
                Ok(Decision::Wait) => self.state = State::Shut,
                Ok(decision) => return Poll::Ready(Ok(self.let_go(decision))),
                Err(fail) => return Poll::Ready(Err(fail)),
            }
        }
    }

    fn poll_inner(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if frame.is_pending() {
            self.waited = true;
        } else if std::mem::take(&mut self.waited) {
            self.guest.look_at_the_clock();
        }
        frame
    }

    fn let_go(&mut self, decision: Decision) -> Released {
        match decision {
            Decision::Reply(reply) => Released::Reply(reply),
            Decision::Go | Decision::Hold | Decision::Wait => {
                self.state = State::Open;
                if self.ready.is_empty() {
                    self.take();
                }
                self.put_in(false);
                Released::Go
            }
        }
    }

    /// One piece, or the end, goes to the guest.
    fn feed(&mut self, frame: Option<Result<Frame<Bytes>, BodyError>>) -> Result<Decision, Fail> {
        match frame {
            None => {
                self.ended = true;
                self.body(Bytes::new())
            }
            Some(Err(error)) => Err(Fail::client(error.reason).because(error)),
            Some(Ok(frame)) => match piece(frame) {
                Piece::Data(data) => {
                    self.ended = self.inner.is_end_stream();
                    self.body(data)
                }
                Piece::Trailers(trailers) => {
                    self.ended = true;
                    self.trailers(trailers)
                }
            },
        }
    }

    fn body(&mut self, data: Bytes) -> Result<Decision, Fail> {
        let (side, end) = (self.side, self.ended);
        if self.guest.is_out() {
            self.ready = data;
            return Ok(Decision::Go);
        }
        let Self { guest, ready, trailers, .. } = self;
        guest.begin(side);
        let decision = guest.call(of_body(side), |instance, id, now| {
            let step = match side {
                Side::Request => instance.on_request_body(id, data, end, now),
                Side::Response => instance.on_response_body(id, data, end, now),
            }?;
            if step == tidegate_wasm::Step::Continue {
                (*ready, *trailers) = passes(instance, id, side, end);
            }
            Ok(step)
        })?;
        match decision {
            Decision::Go if self.guest.is_out() => self.take(),
            Decision::Go => self.put_in(false),
            Decision::Hold | Decision::Wait if self.holds_too_much() => return Err(self.too_much()),
            _ => {}
        }
        Ok(decision)
    }

    fn trailers(&mut self, trailers: HeaderMap) -> Result<Decision, Fail> {
        let side = self.side;
        if self.guest.is_out() {
            self.trailers = Some(trailers);
            return Ok(Decision::Go);
        }
        self.guest.begin(side);
        let decision = self.guest.call(of_trailers(side), |instance, id, now| match side {
            Side::Request => instance.on_request_trailers(id, trailers, now),
            Side::Response => instance.on_response_trailers(id, trailers, now),
        })?;
        if matches!(decision, Decision::Go) {
            self.take();
        }
        Ok(decision)
    }

    fn buffered(&self) -> usize {
        let side = self.side;
        self.guest.with(|instance, id| match side {
            Side::Request => instance.buffered_request_body(id),
            Side::Response => instance.buffered_response_body(id),
        })
    }

    fn holds_too_much(&self) -> bool {
        self.buffered() > self.guest.may_hold()
    }

    /// The guest holds more than it may.
    fn too_much(&self) -> Fail {
        Fail::filter(match self.side {
            Side::Request => Reason::TooLarge,
            Side::Response => Reason::Internal,
        })
    }

    /// What the guest has let through, or left behind.
    fn take(&mut self) {
        let (side, end) = (self.side, self.ended);
        let (ready, trailers) = self.guest.with(|instance, id| passes(instance, id, side, end));
        self.ready = ready;
        self.trailers = trailers;
    }

    /// What the guest puts into a response's body goes on: `behind` what it has let through, or before.
    #[inline]
    fn put_in(&mut self, behind: bool) {
        if self.side == Side::Response && self.guest.has_injected() {
            self.put_bytes_in(behind);
        }
    }

    #[cold]
    fn put_bytes_in(&mut self, behind: bool) {
        let Some((data, end)) = self.guest.take_injected() else { return };
        let passed = std::mem::take(&mut self.ready);
        self.ready = match (behind, end) {
            (true, _) => joined(passed, data),
            (false, true) => data,
            (false, false) => joined(data, passed),
        };
        if end {
            // Whoever sends the rest is not waited for.
            self.inner = Body::Empty;
            (self.ended, self.trailers, self.state) = (true, None, State::Open);
        }
    }

    /// The body breaks off. On the way upstream the exchange has to answer for it.
    fn fail(&mut self, end: End) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let reason = self.note(end);
        self.broken(reason)
    }

    /// Notes for the exchange how the guest has ended the body; the reason for which it breaks off.
    fn note(&self, end: End) -> Reason {
        let reason = match &end {
            End::Reply(_) => Reason::PluginReset,
            End::Fail(reason) => *reason,
        };
        if self.side == Side::Request {
            self.guest.ended(end);
        }
        reason
    }

    fn broken(&mut self, reason: Reason) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.state = State::Done;
        Poll::Ready(Some(Err(BodyError::new(reason))))
    }
}

fn joined(first: Bytes, second: Bytes) -> Bytes {
    match (first.is_empty(), second.is_empty()) {
        (true, _) => second,
        (_, true) => first,
        (false, false) => [first, second].concat().into(),
    }
}

/// What goes on of a body, and at its end the trailers.
fn passes(instance: &mut Instance, id: StreamId, side: Side, end: bool) -> (Bytes, Option<HeaderMap>) {
    let trailers = |trailers: Option<HeaderMap>| trailers.filter(|trailers| !trailers.is_empty());
    match side {
        Side::Request => {
            let body = instance.take_request_body(id);
            (body, if end { trailers(instance.take_request_trailers(id)) } else { None })
        }
        Side::Response => {
            let body = instance.take_response_body(id);
            (body, if end { trailers(instance.take_response_trailers(id)) } else { None })
        }
    }
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
                State::Broken(reason) => return this.broken(reason),
                _ => this.put_in(true),
            }
            match this.state {
                // While the body is held, what the guest puts in.
                _ if !this.ready.is_empty() => return this.passed(),
                State::Open if this.guest.breaks(this.side) => {
                    // Whoever sends it is to have sent what went before: a reset takes back what is still in queues.
                    this.state = State::Broken(this.note(End::Fail(Reason::PluginReset)));
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                // HTTP/2 would end such a message as if it were whole.
                State::Open if this.ended && this.owes() => return this.fail(End::Fail(Reason::Internal)),
                State::Open if this.ended => {
                    this.state = State::Done;
                    return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
                }
                State::Open => {
                    let Poll::Ready(frame) = this.poll_inner(cx) else {
                        if this.side == Side::Response {
                            this.guest.wake_by_injection(cx);
                        }
                        return Poll::Pending;
                    };
                    if let Some(Err(error)) = frame {
                        this.state = State::Done;
                        return Poll::Ready(Some(Err(error)));
                    }
                    match this.feed(frame) {
                        Ok(Decision::Go) => {}
                        Ok(Decision::Hold) => this.state = State::Held,
                        Ok(Decision::Wait) => this.state = State::Shut,
                        Ok(Decision::Reply(reply)) => return this.fail(End::Reply(reply)),
                        Err(fail) => return this.fail(End::Fail(fail.reason)),
                    }
                }
                State::Held | State::Shut => match this.poll_released(cx) {
                    Poll::Pending if this.side == Side::Response && this.guest.has_injected() => {}
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(Released::Go)) => {}
                    Poll::Ready(Ok(Released::Reply(reply))) => return this.fail(End::Reply(reply)),
                    Poll::Ready(Err(fail)) => return this.fail(End::Fail(fail.reason)),
                },
                State::Done | State::Broken(_) => {}
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let passed = self.ended && self.ready.is_empty() && self.trailers.is_none();
        let injected = self.side == Side::Response && self.guest.has_injected();
        let passed = passed && !injected && !self.guest.breaks(self.side) && !self.owes();
        self.state == State::Done || self.state == State::Open && passed
    }

    fn size_hint(&self) -> SizeHint {
        // The guest may change the length; the head says it when it is known.
        SizeHint::default()
    }
}

/// Names of callbacks, for traces.
fn of_body(side: Side) -> &'static str {
    match side {
        Side::Request => "on_request_body",
        Side::Response => "on_response_body",
    }
}

fn of_trailers(side: Side) -> &'static str {
    match side {
        Side::Request => "on_request_trailers",
        Side::Response => "on_response_trailers",
    }
}
