//! Sends one request on one connection. Above this nothing knows which HTTP version the server speaks.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http::header::HOST;
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::http::body::{Body, BodyError};
use crate::http::fail::{Fail, Reason, Retry};
use crate::upstream::http1::{Home, Http1, Lent, SendError, upgrade_of};
use crate::upstream::pool::{Lease, Place, Stream};

/// A request that is to be sent. The head is boxed, since it is handed on many times before it is written.
pub(crate) struct Message {
    pub(crate) head: Box<Parts>,
    pub(crate) body: Body,
}

impl Message {
    /// As hyper takes it.
    pub(crate) fn into_request(self) -> Request<Body> {
        Request::from_parts(*self.head, self.body)
    }
}

impl From<Request<Body>> for Message {
    fn from(request: Request<Body>) -> Self {
        let (head, body) = request.into_parts();
        Self { head: Box::new(head), body }
    }
}

/// An answer, its body bound to the connection that it comes from.
pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    /// The server switched protocols.
    pub(crate) tunnel: Option<Tunnel>,
}

/// A connection that no longer speaks HTTP.
pub(crate) struct Tunnel {
    pub(crate) upgrade: OnUpgrade,
    pub(crate) connection: Box<Http1>,
    pub(crate) place: Place,
}

/// A request that was not answered.
pub(crate) struct Refused {
    pub(crate) fail: Fail,
    /// The request itself where not a byte of it was written.
    pub(crate) message: Option<Message>,
}

/// Sends `message` and waits for the head of its answer.
pub(crate) async fn send(place: Place, lease: Lease, mut message: Message) -> Result<Answer, Refused> {
    match lease {
        Lease::Http1(mut connection) => {
            message.head.version = Version::HTTP_11;
            let outcome = connection.send(message).await;
            answered(place, connection, outcome)
        }
        Lease::Http2(sender, stream) => Box::pin(send_http2(place, sender, stream, message)).await,
    }
}

/// What became of a request on an HTTP/1.1 connection.
fn answered(
    place: Place,
    connection: Box<Http1>,
    outcome: Result<Response<Incoming>, SendError>,
) -> Result<Answer, Refused> {
    let mut response = match outcome {
        Ok(response) => response,
        Err(mut error) => {
            let message = error.take_message().map(Message::from);
            let fail = refusal(error.into_error(), message.is_some(), connection.reused);
            return Err(Refused { fail, message });
        }
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        if let Some(upgrade) = upgrade_of(&mut response) {
            let tunnel = Some(Tunnel { upgrade, connection, place });
            return Ok(Answer { response: response.map(|_| Body::Empty), tunnel });
        }
        return Err(Refused { fail: Fail::upstream(Reason::Garbage, Retry::Never), message: None });
    }
    let (head, mut incoming) = response.into_parts();
    // Small answers are all here by the time their head is: then the connection is free again at once.
    let body = if incoming.is_end_stream() {
        place.put(connection);
        Body::Empty
    } else {
        match connection.first(&mut incoming) {
            Some(Ok(frame)) if incoming.is_end_stream() && frame.is_data() => {
                place.put(connection);
                frame.into_data().map_or(Body::Empty, Body::full)
            }
            Some(Ok(frame)) => Body::stream(Lent::new(Some(frame), incoming, connection, place)),
            Some(Err(error)) => {
                let fail = Fail::upstream(Reason::Reset, Retry::Idempotent).because(error);
                return Err(Refused { fail, message: None });
            }
            None => Body::stream(Lent::new(None, incoming, connection, place)),
        }
    };
    Ok(Answer { response: Response::from_parts(head, body), tunnel: None })
}

async fn send_http2(
    place: Place,
    mut sender: hyper::client::conn::http2::SendRequest<Body>,
    stream: Stream,
    message: Message,
) -> Result<Answer, Refused> {
    let request = absolute(message.into_request(), place.pool.cluster.tls.is_some())
        .map_err(|fail| Refused { fail, message: None })?;
    match sender.try_send_request(request).await {
        Ok(response) => {
            let response = response.map(|incoming| match Body::incoming(incoming, Reason::Reset) {
                Body::Empty => Body::Empty,
                body => Body::stream(OnStream { body, _stream: stream, _place: place }),
            });
            Ok(Answer { response, tunnel: None })
        }
        Err(mut error) => {
            let message = error.take_message().map(relative).map(Message::from);
            let fail = refusal(error.into_error(), message.is_some(), true);
            Err(Refused { fail, message })
        }
    }
}

/// What an error of hyper means, and whether another attempt is safe.
fn refusal(error: hyper::Error, unsent: bool, reused: bool) -> Fail {
    let refused_stream = std::error::Error::source(&error)
        .and_then(|source| source.downcast_ref::<h2::Error>())
        .and_then(h2::Error::reason)
        .is_some_and(|reason| reason == h2::Reason::REFUSED_STREAM);
    let reason = if error.is_parse() { Reason::Garbage } else { Reason::Reset };
    let retry = if unsent || refused_stream {
        Retry::Safe
    } else if reused || reason == Reason::Reset {
        Retry::Idempotent
    } else {
        Retry::Never
    };
    Fail::upstream(reason, retry).because(error)
}

/// HTTP/2 wants scheme and authority in the target.
fn absolute(mut request: Request<Body>, secure: bool) -> Result<Request<Body>, Fail> {
    let broken = || Fail::gateway(Reason::Internal);
    let host = request.headers_mut().remove(HOST).ok_or_else(broken)?;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(Authority::try_from(host.as_bytes()).map_err(|error| broken().because(error))?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| broken().because(error))?;
    *request.version_mut() = Version::HTTP_2;
    Ok(request)
}

/// Undoes [`absolute`].
fn relative(mut request: Request<Body>) -> Request<Body> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if let Some(host) = parts.authority.take().and_then(|a| http::HeaderValue::from_str(a.as_str()).ok()) {
        request.headers_mut().insert(HOST, host);
    }
    parts.scheme = None;
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    request
}

/// A body that counts its stream and its place while it lasts.
struct OnStream {
    body: Body,
    _stream: Stream,
    _place: Place,
}

impl HttpBody for OnStream {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
