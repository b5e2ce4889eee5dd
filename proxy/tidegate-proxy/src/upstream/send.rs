//! Sends one request on one connection. Above this nothing knows which HTTP version the server speaks.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, TE};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{Method, Request, Response, Uri, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tidegate_config::plan::Retries;
use tokio::task::{JoinHandle, spawn_local};

use crate::http::added::Added;
use crate::http::body::{Body, BodyError};
use crate::http::fail::{Fail, Reason, Retry};
use crate::http::h2::{Arriving, Departing, broken, strip};
use crate::http::interim::{self, Allowance, Heard};
use crate::transport;
use crate::upstream::http1::{Arrived, Fault, Http1};
use crate::upstream::pool::{Lease, Open, Place, Stream};
use crate::upstream::replay::Replay;

/// A request that is to be sent, once or, while it is whole, again.
pub(crate) struct Message {
    pub(crate) head: Rc<Parts>,
    pub(crate) body: Body,
    /// Fields that are not in the head.
    added: Option<Added>,
    /// What was here is with a connection.
    spent: bool,
    /// From which the body can be had again.
    replay: Option<Replay>,
    /// Servers of HTTP/2 may leave it unseen, and then it is sent again.
    unseen: bool,
}

impl Message {
    /// A request of which nothing was sent.
    pub(crate) fn new(head: Rc<Parts>, body: Body, added: Option<Added>) -> Self {
        Self { head, body, added, spent: false, replay: None, unseen: false }
    }

    /// Whether it can be sent from its start.
    pub(crate) fn is_whole(&self) -> bool {
        !self.spent || self.replay.as_ref().is_some_and(Replay::is_whole)
    }

    /// Whether its body is kept only for servers that leave it unseen.
    pub(crate) fn is_for_unseen(&self) -> bool {
        self.unseen && self.replay.is_some()
    }

    /// Whether it is a body that is too long to be kept because of which it cannot be sent again.
    pub(crate) fn is_too_long(&self) -> bool {
        self.spent && self.replay.is_some() && !self.is_whole()
    }

    /// Keeps so many bytes of a body that comes in pieces.
    pub(crate) fn keep_body(&mut self, limit: usize) {
        if self.streams() && self.replay.is_none() {
            let replay = Replay::new(std::mem::take(&mut self.body), limit);
            self.body = replay.body();
            self.replay = Some(replay);
        }
    }

    /// A server of HTTP/2 that goes away may leave it unseen; a body is kept for that case where it goes to one.
    pub(crate) fn may_go_unseen(&mut self) {
        self.unseen = true;
    }

    /// Another attempt will send it from its start.
    pub(crate) fn renew(&mut self) {
        if let (true, Some(replay)) = (self.spent, &self.replay) {
            self.body = replay.body();
            self.spent = false;
        }
    }

    /// The same request once more, where all of it is here.
    pub(crate) fn copy(&mut self) -> Option<Self> {
        let body = match (&self.body, &self.replay) {
            (_, Some(replay)) => replay.copy()?,
            (Body::Empty, None) if !self.spent => Body::Empty,
            (Body::Full(bytes), None) if !self.spent => Body::Full(bytes.clone()),
            _ => return None,
        };
        if let Some(added) = self.added.take() {
            added.insert(&mut Rc::make_mut(&mut self.head).headers);
        }
        Some(Self::new(self.head.clone(), body, None))
    }

    /// The same request for the first attempt of several at once; a body that is still to come goes with it.
    pub(crate) fn begin(&mut self) -> Self {
        if let Some(copy) = self.copy() {
            return copy;
        }
        if let Some(added) = self.added.take() {
            added.insert(&mut Rc::make_mut(&mut self.head).headers);
        }
        self.spent = true;
        Self::new(self.head.clone(), std::mem::take(&mut self.body), None)
    }

    /// Nothing of it is wanted again.
    pub(crate) fn let_go(&self) {
        if let Some(replay) = &self.replay {
            replay.let_go();
        }
    }

    fn streams(&self) -> bool {
        matches!(self.body, Body::Stream(_))
    }
}

/// An answer, its body bound to the connection that it comes from.
pub(crate) struct Answer {
    pub(crate) response: Response<Body>,
    /// The server switched protocols.
    pub(crate) tunnel: Option<Tunnel>,
    /// No field of the head is about one connection only, and there is one framing.
    pub(crate) clean: bool,
}

/// A connection that no longer speaks HTTP.
pub(crate) struct Tunnel {
    pub(crate) stream: transport::Stream,
    pub(crate) open: Open,
    pub(crate) place: Place,
}

/// Sends `message` and waits for the head of its answer; interim ones before it go to `heard`. `again`: the message may
/// be wanted once more, so it stays whole where that is possible.
pub(crate) async fn send(
    place: Place,
    lease: Lease,
    message: &mut Message,
    (again, heard): (bool, Heard<'_>),
) -> Result<Answer, Fail> {
    match lease {
        Lease::Http1(connection) => send_http1(place, connection, message, heard).await,
        Lease::Http2(stream) => Box::pin(send_http2(place, stream, message, (again, heard))).await,
    }
}

/// Sends a request that is not wanted again whatever comes of it, and whose interim answers nobody wants.
pub(crate) async fn once(place: Place, lease: Lease, request: Request<Body>) -> Result<Answer, Fail> {
    let (head, body) = request.into_parts();
    let mut message = Message::new(Rc::new(head), body, None);
    send(place, lease, &mut message, (false, &|_| Ok(()))).await
}

async fn send_http1(
    place: Place,
    mut connection: Box<Http1>,
    message: &mut Message,
    heard: Heard<'_>,
) -> Result<Answer, Fail> {
    message.spent |= message.streams();
    let mut fields = place.pool.take_fields();
    let added = message.added.as_ref();
    let head = match connection.send(&message.head, added, &mut message.body, &mut fields, heard).await {
        Ok(head) => head,
        Err(fault) => {
            if message.spent
                && let Some(body) = connection.untouched()
            {
                message.body = body;
                message.spent = false;
            }
            return Err(no_answer(fault));
        }
    };
    let clean = head.clean;
    match head.arrived(connection, place).map_err(|garbage| no_answer(garbage.into()))? {
        Arrived::Answer(response) => Ok(Answer { response, tunnel: None, clean }),
        Arrived::Switched(response, connection, place) => {
            let (stream, open) =
                connection.into_stream().ok_or_else(|| Fail::upstream(Reason::Garbage, Retry::Never))?;
            Ok(Answer { response, tunnel: Some(Tunnel { stream, open, place }), clean: false })
        }
    }
}

/// What a fault of an HTTP/1.1 connection means, and whether another attempt is safe.
fn no_answer(fault: Fault) -> Fail {
    match fault {
        Fault::Unsent(error) => Fail::upstream(Reason::Reset, Retry::Stale).because(error),
        Fault::Lost(error) => Fail::upstream(Reason::Reset, Retry::Idempotent).because(error),
        // Not as long as its head says: a filter has changed it, and the server has nothing to do with that.
        Fault::Body(error) if error.reason == Reason::Internal => {
            Fail::filter(Reason::Internal).because(error)
        }
        Fault::Body(error) => Fail::upstream(Reason::Reset, Retry::Never).because(error),
        Fault::Garbage(error) => Fail::upstream(Reason::Garbage, Retry::Never).because(error),
        Fault::Interim(fail) => fail,
    }
}

async fn send_http2(
    place: Place,
    stream: Stream,
    message: &mut Message,
    (again, heard): (bool, Heard<'_>),
) -> Result<Answer, Fail> {
    let mut sender = stream.connection.sender();
    // The connection may have ended meanwhile; the message is whole still.
    poll_fn(|cx| sender.poll_ready(cx)).await.map_err(|error| refusal(error, true))?;
    if again && message.unseen && message.body.size_hint().lower() <= Retries::UNSEEN as u64 {
        message.keep_body(Retries::UNSEEN);
    }
    let keep = again && stream.connection.is_crowded();
    let request = request(message, (again, keep));
    let (head, body) = absolute(request, place.pool.cluster.tls.is_some())?.into_parts();
    let is_whole = body.is_end_stream();
    let lost = |error| refusal(error, false);
    let (mut answer, mut departing) =
        sender.send_request(Request::from_parts(head, ()), is_whole).map_err(lost)?;
    let (mut pump, mut untaken) = (None, None);
    if !is_whole {
        // A stream that the server has no room for waits for its turn. A connection that is going away says so here of all
        // its streams; one that the server may still act on goes on, and must not be sent on another connection as well.
        let opened = poll_fn(|cx| sender.poll_ready(cx)).await;
        match opened.is_err() && poll_fn(|cx| Poll::Ready(departing.poll_reset(cx).is_ready())).await {
            true => untaken = Some(body),
            false => pump = Pump::start(Departing::new(departing, body)).await,
        }
    }
    let mut allowance = Allowance::default();
    let asked = place.asked(&stream);
    let answer = poll_fn(|cx| {
        while let Poll::Ready(Some(interim)) = answer.poll_informational(cx) {
            let (head, ()) = interim.map_err(lost)?.into_parts();
            allowance.take(interim::size(&head.headers)).map_err(|garbage| no_answer(garbage.into()))?;
            heard(head)?;
        }
        Pin::new(&mut answer).poll(cx).map_err(lost)
    })
    .await;
    drop(asked);
    // Of a stream that ended before its turn nobody has taken of the body.
    if let (Err(_), Some(body), true) = (&answer, untaken, keep) {
        (message.body, message.spent) = (body, false);
    }
    let (head, arriving) = answer?.into_parts();
    let body = match arriving.is_end_stream() {
        true => Body::Empty,
        false => {
            let body = Arriving::new(arriving, &head.headers, Reason::Reset);
            Body::stream(OnStream { body, _pump: pump, _stream: stream, _place: place })
        }
    };
    Ok(Answer { response: Response::from_parts(head, body), tunnel: None, clean: false })
}

/// A request's body on its way by itself: a server may answer while it comes, and the client take none of that answer
/// before it has sent all. It goes on for as long as the answer does: dropping this resets the stream, since a client
/// that never ends its body would keep the server's place for it.
struct Pump(JoinHandle<()>);

impl Pump {
    /// None: all of it is with the connection already.
    async fn start(mut departing: Departing<Body>) -> Option<Self> {
        if poll_fn(|cx| Poll::Ready(departing.poll(cx).is_ready())).await {
            return None;
        }
        Some(Self(spawn_local(async move { poll_fn(|cx| departing.poll(cx)).await })))
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The message as HTTP/2 takes it: taken out of `message`, or copied where it may be wanted `again`; `keep`: its head in any
/// case.
fn request(message: &mut Message, (again, keep): (bool, bool)) -> Request<Body> {
    if let Some(added) = message.added.take() {
        added.insert(&mut Rc::make_mut(&mut message.head).headers);
    }
    let copied = match &message.body {
        Body::Empty if again => Some(Body::Empty),
        Body::Full(bytes) if again => Some(Body::Full(bytes.clone())),
        _ => None,
    };
    let kept = keep || copied.is_some() || (again && message.replay.is_some());
    let mut request = Request::new(copied.unwrap_or_else(|| {
        message.spent = true;
        std::mem::take(&mut message.body)
    }));
    *request.method_mut() = message.head.method.clone();
    *request.uri_mut() = message.head.uri.clone();
    *request.headers_mut() = match Rc::get_mut(&mut message.head) {
        Some(head) if !kept => std::mem::take(&mut head.headers),
        _ => message.head.headers.clone(),
    };
    request
}

/// What an error of HTTP/2 means, and whether another attempt is safe. `unsent`: nothing of the request was sent.
fn refusal(error: h2::Error, unsent: bool) -> Fail {
    // What we refuse ourselves, such as a head that is too large, the server may have acted on all the same.
    let refused = error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    // A server that goes away names the last stream that it may have acted on (RFC 9113, 6.8): this one is after it.
    let gone = error.is_go_away() && error.is_remote();
    let retry = match unsent || gone {
        true => Retry::Stale,
        false if refused => Retry::Safe,
        // Of this stream, as over HTTP/1; an end of the connection may be because of another one.
        false if error.is_library() && error.is_reset() => Retry::Never,
        false => Retry::Idempotent,
    };
    let ours = error.reason().is_none() && !error.is_io();
    if ours && !unsent {
        return Fail::gateway(Reason::Internal).because(error);
    }
    let reason = if unsent { Reason::Reset } else { broken(&error) };
    Fail::upstream(reason, retry).because(error)
}

/// HTTP/2 wants scheme and authority in the target.
fn absolute(mut request: Request<Body>, secure: bool) -> Result<Request<Body>, Fail> {
    let broken = || Fail::gateway(Reason::Internal);
    let host = request.headers_mut().remove(HOST).ok_or_else(broken)?;
    let te = request.headers_mut().remove(TE).filter(|te| te == "trailers");
    strip(request.headers_mut());
    // Without it servers of gRPC answer nothing.
    if let Some(te) = te {
        request.headers_mut().insert(TE, te);
    }
    let bodiless = matches!(*request.method(), Method::GET | Method::HEAD | Method::DELETE);
    if let Some(length) = request.body().size_hint().exact().filter(|&length| length > 0 || !bodiless) {
        request.headers_mut().entry(CONTENT_LENGTH).or_insert_with(|| length.into());
    }
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(Authority::try_from(host.as_bytes()).map_err(|error| broken().because(error))?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| broken().because(error))?;
    *request.version_mut() = Version::HTTP_2;
    Ok(request)
}

/// A body that counts its stream and its place while it lasts.
struct OnStream {
    body: Arriving,
    _pump: Option<Pump>,
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
