//! An answer on its way in: its body, together with the connection that it comes from.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::Http1;
use super::decode::Head;
use crate::http::body::{Body, BodyError};
use crate::http::h1::{Decoder, Garbage, Part};

/// What a connection is given back to.
pub(crate) trait Home {
    /// Takes a connection whose answer is over.
    fn put(&self, connection: Box<Http1>);
}

/// An answer whose head has come.
pub(crate) enum Arrived<H: Home> {
    /// An answer; its connection goes home by itself.
    Answer(Response<Body>),
    /// The server speaks another protocol from here on.
    Switched(Response<Body>, Box<Http1>, H),
}

impl Head {
    /// Binds the answer to its connection. Small answers are all here by the time their head is: then the connection
    /// is free again at once.
    pub(crate) fn arrived<H: Home + Unpin + 'static>(
        self,
        mut connection: Box<Http1>,
        home: H,
    ) -> Result<Arrived<H>, Garbage> {
        if self.parts.status == StatusCode::SWITCHING_PROTOCOLS {
            let response = Response::from_parts(self.parts, Body::Empty);
            return Ok(Arrived::Switched(response, connection, home));
        }
        let mut decoder = Decoder::new(self.framing);
        let first = decoder.decode(&mut connection.buffer)?;
        let body = match (first, decoder.is_over()) {
            (None, true) => {
                home.put(connection);
                Body::Empty
            }
            (Some(Part::Data(data)), true) => {
                home.put(connection);
                Body::Full(data)
            }
            (first, _) => {
                Body::stream(Lent { first: first.map(frame), decoder, connection: Some(connection), home })
            }
        };
        Ok(Arrived::Answer(Response::from_parts(self.parts, body)))
    }
}

/// The body of an answer that was not all here with its head.
struct Lent<H: Home> {
    first: Option<Frame<Bytes>>,
    decoder: Decoder,
    connection: Option<Box<Http1>>,
    home: H,
}

impl<H: Home> Lent<H> {
    fn give_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.home.put(connection);
        }
    }
}

fn frame(part: Part) -> Frame<Bytes> {
    match part {
        Part::Data(data) => Frame::data(data),
        Part::Trailers(fields) => Frame::trailers(fields),
    }
}

impl<H: Home + Unpin> HttpBody for Lent<H> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Some(frame) = this.first.take() {
            if this.decoder.is_over() {
                this.give_back();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        let Some(connection) = &mut this.connection else { return Poll::Ready(None) };
        match ready!(connection.poll_body(cx, &mut this.decoder)) {
            Ok(part) => {
                if this.decoder.is_over() {
                    this.give_back();
                }
                Poll::Ready(part.map(frame).map(Ok))
            }
            Err(error) => {
                this.connection = None;
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.decoder.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len) as u64;
        match self.decoder.left() {
            Some(left) => SizeHint::with_exact(first + left),
            None => SizeHint::default(),
        }
    }
}
