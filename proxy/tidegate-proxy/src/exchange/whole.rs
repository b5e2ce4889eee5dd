//! Answers whose body is all here when they meet filters: it passes them before the head goes on, so that the head can say
//! how long it has become.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Response, response};
use http_body::{Body as HttpBody, Frame};
use tidegate_wasm::Side;

use crate::filter::guest_body::GuestBody;
use crate::filter::wasm::{Decision, Guest, Reached};
use crate::http::body::{Body, BodyError};
use crate::http::fail::{Fail, Reason};

/// An answer with a whole body passes the guest and is put into `place`; what is to be done about it if it does not get
/// beyond the head, which the guest has then.
pub(crate) fn pass(
    guest: &Rc<Guest>,
    head: response::Parts,
    mut data: Bytes,
    place: &mut Option<Response<Body>>,
) -> Result<Option<(Decision, Bytes)>, Fail> {
    let (mut head, before) = (Some(head), data.len());
    let (decision, left) = match guest.whole_response(&mut head, &mut data)? {
        Reached::End => (Decision::Go, Some((data, None))),
        Reached::Body(decision) => (decision, None),
        Reached::Head(decision) => return Ok(Some((decision, data))),
    };
    let head = head.ok_or_else(|| Fail::gateway(Reason::Internal))?;
    *place = Some(with_length(head, GuestBody::shown(decision, left, guest, Side::Response)?, before));
    Ok(None)
}

/// An answer with a whole body, whose head has passed the guest: so does the body.
pub(crate) fn answer(guest: &Rc<Guest>, body: Body) -> Result<Response<Body>, Fail> {
    let head = self::head(guest)?;
    let Body::Full(data) = body else { return Ok(Response::from_parts(head, body)) };
    let before = data.len();
    Ok(with_length(head, GuestBody::at_once(data, guest, Side::Response)?, before))
}

/// An answer whose body had so many bytes before it passed the guest.
fn with_length(mut head: response::Parts, body: Body, before: usize) -> Response<Body> {
    let after = match &body {
        Body::Full(data) => data.len(),
        _ => 0,
    };
    if after != before {
        tell_length(&mut head, &body);
    }
    Response::from_parts(head, body)
}

/// The head as the guest leaves it.
pub(crate) fn head(guest: &Guest) -> Result<response::Parts, Fail> {
    let head = guest.with(|instance, id| instance.take_response_head(id));
    head.ok_or_else(|| Fail::gateway(Reason::Internal))
}

/// An answer that had a whole body and has passed all guests. As long as none of them holds the body it is whole again.
#[inline]
pub(crate) fn settle(response: &mut Response<Body>) {
    if matches!(response.body(), Body::Stream(_)) {
        ask_again(response);
    }
}

fn ask_again(response: &mut Response<Body>) {
    let (mut head, mut body) = std::mem::replace(response, Response::new(Body::Empty)).into_parts();
    // A guest that holds it is asked again, by the task that sends the answer.
    let mut context = Context::from_waker(Waker::noop());
    let body = match Pin::new(&mut body).poll_frame(&mut context) {
        Poll::Pending => body,
        Poll::Ready(None) => Body::Empty,
        Poll::Ready(Some(Ok(frame))) if body.is_end_stream() => match frame.into_data() {
            Ok(data) => Body::full(data),
            Err(frame) => Body::stream(Begun { first: Some(Ok(frame)), rest: body }),
        },
        Poll::Ready(Some(first)) => Body::stream(Begun { first: Some(first), rest: body }),
    };
    tell_length(&mut head, &body);
    *response = Response::from_parts(head, body);
}

/// A length that the head names is that of the body; where none is named the codec of the connection does it.
fn tell_length(head: &mut response::Parts, body: &Body) {
    let length = match body {
        Body::Empty => 0,
        Body::Full(data) => data.len(),
        Body::Stream(_) => return,
    };
    if let Some(named) = head.headers.get_mut(CONTENT_LENGTH) {
        *named = HeaderValue::from(length);
    }
}

/// A body of which a frame was taken.
struct Begun {
    first: Option<Result<Frame<Bytes>, BodyError>>,
    rest: Body,
}

impl HttpBody for Begun {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }
}
