//! The body of a request on its way in: counted, and ended when the client stalls.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tidegate_wasm::Side;

use crate::exchange::Exchange;
use crate::http::body::{Body, BodyError, Piece, piece};
use crate::http::fail::Reason;
use crate::http::sanitize;
use crate::time::Deadline;

/// What an exchange wants to know of its request's body.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Bytes so far.
    pub(crate) bytes: Cell<u64>,
    /// Something came since this was last taken.
    pub(crate) moved: Cell<bool>,
    /// The body broke off for this reason.
    pub(crate) broken: Cell<Option<Reason>>,
}

/// The wait for a listener that is gone.
const PATIENCE: Duration = Duration::from_secs(30);

struct Uplink<B> {
    body: B,
    progress: Rc<Progress>,
    deadline: Deadline,
    patience: Duration,
    waiting: bool,
}

impl Exchange {
    /// The request's body; nothing is wrapped where there is none.
    pub(crate) fn uplink<B>(&mut self, body: Option<B>) -> Body
    where
        B: HttpBody<Data = Bytes, Error = BodyError> + Unpin + 'static,
    {
        let Some(body) = body else { return Body::Empty };
        let listener = self.record.view.listener(self.record.listener);
        let patience = listener.map_or(PATIENCE, |listener| listener.spec.timeouts.body);
        let progress = Rc::new(Progress::default());
        self.record.progress = Some(progress.clone());
        let deadline = Deadline::new(&self.record.client.local.deadlines);
        let body = Body::stream(Uplink { body, progress, deadline, patience, waiting: false });
        if self.record.tap.is_some() { self.record.tap_body(body, Side::Request) } else { body }
    }
}

impl<B> Uplink<B> {
    fn broken(&self, reason: Reason) -> BodyError {
        self.progress.broken.set(Some(reason));
        BodyError::new(reason)
    }
}

impl<B> HttpBody for Uplink<B>
where
    B: HttpBody<Data = Bytes, Error = BodyError> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => {
                this.progress.broken.set(Some(error.reason));
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(Some(Ok(frame))) => {
                this.waiting = false;
                this.progress.moved.set(true);
                Poll::Ready(Some(Ok(match piece(frame) {
                    Piece::Data(data) => {
                        this.progress.bytes.set(this.progress.bytes.get() + data.len() as u64);
                        Frame::data(data)
                    }
                    Piece::Trailers(mut trailers) => {
                        sanitize::trailers(&mut trailers);
                        Frame::trailers(trailers)
                    }
                })))
            }
            Poll::Pending => {
                if !this.waiting {
                    this.waiting = true;
                    this.deadline.set(Some(this.patience));
                }
                match this.deadline.poll_passed(cx) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(this.broken(Reason::ClientTimeout)))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
