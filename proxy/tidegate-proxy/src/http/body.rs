//! The one body type: of requests and responses, from clients, upstreams, filters and the gateway itself.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::http::fail::Reason;

/// A body that ended before its time.
#[derive(Debug)]
pub(crate) struct BodyError {
    /// Why.
    pub(crate) reason: Reason,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl BodyError {
    /// The body ends for this reason.
    pub(crate) fn new(reason: Reason) -> Self {
        Self { reason, source: None }
    }

    /// Whoever made the body wants the whole exchange to end (RFC 9113, 8.1: RST_STREAM with CANCEL).
    pub(crate) fn cancelled() -> Self {
        Self { reason: Reason::ClientGone, source: Some(h2::Error::from(h2::Reason::CANCEL).into()) }
    }

    /// The sender of the body failed.
    pub(crate) fn broken(reason: Reason, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { reason, source: Some(source.into()) }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "body ended early: {:?}", self.reason)
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// A stream of bytes with trailers.
pub(crate) type Stream = Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError>>>;

/// A body.
#[derive(Default)]
pub(crate) enum Body {
    /// No bytes.
    #[default]
    Empty,
    /// All bytes are here.
    Full(Bytes),
    /// Anything else.
    Stream(Stream),
}

impl Body {
    /// These bytes.
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }

    /// Whatever else is a body.
    pub(crate) fn stream(stream: impl HttpBody<Data = Bytes, Error = BodyError> + 'static) -> Self {
        Self::Stream(Box::pin(stream))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream(stream) => stream.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Full(_) => "Full",
            Self::Stream(_) => "Stream",
        })
    }
}

/// What a frame holds.
pub(crate) enum Piece {
    /// Bytes.
    Data(Bytes),
    /// The end, with trailers.
    Trailers(HeaderMap),
}

/// Takes a frame apart; frames of kinds that are not known hold nothing.
pub(crate) fn piece(frame: Frame<Bytes>) -> Piece {
    match frame.into_data() {
        Ok(data) => Piece::Data(data),
        Err(frame) => frame.into_trailers().map_or_else(|_| Piece::Data(Bytes::new()), Piece::Trailers),
    }
}
