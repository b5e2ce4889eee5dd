//! A request on its way out, which can be had back while nothing of it was sent.

use std::task::{Context, Poll};

use http::request::Parts;
use tokio::io::AsyncWrite;

use super::encode;
use crate::http::added::Added;
use crate::http::body::Body;
use crate::http::h1::{Outlet, SendFault};

/// The request that a connection sends; without one there is nothing to do.
#[derive(Default)]
pub(super) struct Sending {
    outlet: Outlet,
    body: Option<Body>,
}

impl Sending {
    /// Begins a request. A body that is whole is only borrowed from `body`; one that streams is taken out of it.
    pub(super) fn begin(&mut self, head: &Parts, added: Option<&Added>, body: &mut Body) {
        let framing = encode::head(self.outlet.begin(), head, added, body);
        self.outlet.frame(Some(framing));
        self.body = Some(match body {
            Body::Empty => Body::Empty,
            Body::Full(bytes) => Body::Full(bytes.clone()),
            Body::Stream(_) => std::mem::take(body),
        });
    }

    /// Whether all of it is with the connection.
    pub(super) fn is_over(&self) -> bool {
        self.outlet.is_over()
    }

    /// Whether the server may have seen some of it.
    pub(super) fn is_begun(&self) -> bool {
        self.outlet.is_begun()
    }

    /// The body, where nothing was taken from it.
    pub(super) fn untouched(&mut self) -> Option<Body> {
        if self.outlet.is_taken() { None } else { self.body.take() }
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
        self.outlet.poll(cx, stream, &mut self.body)
    }
}
