//! The body of an answer on its way out, together with the record of its exchange: when it ends, the exchange does.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Response, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::exchange::finish::Record;
use crate::exchange::tunnel::Switched;
use crate::http::body::{Body, BodyError};
use crate::http::fail::Reason;
use crate::http::sanitize;

/// See the module.
pub(crate) struct Outgoing {
    body: Body,
    record: Box<Record>,
    waiting: bool,
}

impl Outgoing {
    /// Makes the answer carry its record.
    pub(crate) fn wrap(response: Response<Body>, mut record: Box<Record>) -> Response<Self> {
        let (head, mut body) = response.into_parts();
        record.answered(head.status);
        record.note_answer(&head.headers, &mut body);
        if let Some(heads) = &mut record.heads {
            heads.note_response(&head);
        }
        let bodiless = record.bodiless(head.status);
        // HTTP/1's codec leaves such a body out and still tells its length; HTTP/2's would send it.
        if bodiless && record.version == Version::HTTP_2 {
            body = Body::Empty;
        }
        record.complete = body.is_end_stream() || bodiless;
        let is_whole = matches!(body, Body::Empty | Body::Full(_));
        record.at_once = is_whole && record.version < Version::HTTP_2 && record.is_new();
        Response::from_parts(head, Self { body, record, waiting: false })
    }

    fn broken(&mut self, reason: Reason) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.record.broke(reason);
        Poll::Ready(Some(Err(BodyError::new(reason))))
    }

    /// The server's side of a connection that is to speak another protocol from here on.
    pub(crate) fn take_switched(&mut self) -> Option<Box<Switched>> {
        self.record.switched.take()
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        // The head is gone: an answer can only break it off.
        if this.record.is_ended_by_guest() {
            return this.broken(Reason::PluginReset);
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                this.waiting = false;
                if let Some(trailers) = frame.trailers_mut() {
                    sanitize::response_trailers(trailers);
                }
                this.record.sent += frame.data_ref().map_or(0, Bytes::len) as u64;
                this.record.complete = this.body.is_end_stream() || frame.is_trailers();
                if let (Some(heads), Some(trailers)) = (&mut this.record.heads, frame.trailers_ref()) {
                    heads.note_trailers(trailers);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                this.record.complete = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                this.record.broke(error.reason);
                Poll::Ready(Some(Err(error)))
            }
            Poll::Pending => {
                if this.record.poll_ended_by_guest(cx).is_ready() {
                    return this.broken(Reason::PluginReset);
                }
                if !this.waiting {
                    this.waiting = true;
                    this.record.arm_for_body();
                }
                match this.record.deadline.poll_passed(cx) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(()) => this.broken(Reason::Timeout),
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
