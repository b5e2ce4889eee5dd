//! The body of a request, read from its connection as the exchange asks for it: nothing is read ahead of it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::wire::Wire;
use crate::http::body::BodyError;
use crate::http::h1::Part;

/// See the module. It may be read by another task than the connection's.
pub(super) struct Incoming {
    wire: Rc<Wire>,
    /// The end was handed over: from here on the connection reads for itself.
    over: bool,
}

impl Incoming {
    /// The body that the connection has begun.
    pub(super) fn new(wire: Rc<Wire>) -> Self {
        Self { wire, over: false }
    }
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let part = std::task::ready!(self.wire.poll_body(cx));
        self.over = self.wire.is_body_over() || part.is_err();
        Poll::Ready(part.transpose().map(|part| {
            part.map(|part| match part {
                Part::Data(data) => Frame::data(data),
                Part::Trailers(fields) => Frame::trailers(fields),
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        if self.over {
            return SizeHint::with_exact(0);
        }
        self.wire.body_left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.over {
            self.wire.abandon_body();
        }
    }
}
