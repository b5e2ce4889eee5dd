//! One HTTP/1.1 connection to a server, driven by the exchange that uses it.
//!
//! hyper's connection is not a task of its own: the exchange polls it together with its answer, so that a request costs
//! no wake-up between two tasks. Whatever only that connection can change (the answer, its body) is polled with a waker
//! that does nothing, since the connection itself is always polled first with the real one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::http::body::{Body, BodyError};
use crate::http::fail::Reason;
use crate::transport::Stream;
use crate::upstream::pool::Open;
use crate::upstream::send::Message;

type Driver = hyper::client::conn::http1::Connection<TokioIo<Stream>, Body>;

/// A connection, idle or lent to an exchange.
pub(crate) struct Http1 {
    sender: SendRequest<Body>,
    driver: Option<Pin<Box<dyn Future<Output = hyper::Result<()>>>>>,
    /// Of the worker's clock, when it was last given back.
    pub(crate) idle_since: Duration,
    /// Whether an exchange has used it before: then a failure may be the server closing an idle connection.
    pub(crate) reused: bool,
    _open: Open,
}

/// How sending failed: the error, and the request when no byte of it was written.
pub(crate) type SendError = TrySendError<Request<Body>>;

impl Http1 {
    /// Starts HTTP/1.1 on a stream.
    pub(crate) async fn handshake(stream: Stream, open: Open) -> hyper::Result<Box<Self>> {
        let (sender, driver): (SendRequest<Body>, Driver) =
            Builder::new().max_header_size(128 * 1024).handshake(TokioIo::new(stream)).await?;
        Ok(Box::new(Self {
            sender,
            driver: Some(Box::pin(driver.with_upgrades())),
            idle_since: Duration::ZERO,
            reused: false,
            _open: open,
        }))
    }

    /// Drives the connection as far as it goes now.
    fn poll_driver(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(cx).is_ready()
        {
            self.driver = None;
        }
    }

    /// Whether another request can be sent: the last one is over on both sides and the server has not closed.
    pub(crate) fn is_usable(&mut self) -> bool {
        self.poll_driver(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }

    /// As [`Http1::is_usable`] for a connection that was driven just now.
    pub(crate) fn is_free(&mut self) -> bool {
        self.driver.is_some() && (self.sender.is_ready() || self.is_usable())
    }

    /// Sends a request; ready with the head of its answer.
    pub(crate) fn send(
        &mut self,
        message: Message,
    ) -> impl Future<Output = Result<Response<Incoming>, SendError>> {
        // Out of the future: it holds the answer's place only.
        let answer = self.sender.try_send_request(message.into_request());
        async move {
            let mut answer = std::pin::pin!(answer);
            std::future::poll_fn(|cx| {
                self.poll_driver(cx);
                answer.as_mut().poll(&mut Context::from_waker(Waker::noop()))
            })
            .await
        }
    }

    /// Drives the connection to its end, for a protocol that took it over.
    pub(crate) async fn drive(mut self: Box<Self>) {
        if let Some(driver) = self.driver.take() {
            drop(driver.await);
        }
    }

    /// The first piece of an answer's body where it has come with the head.
    pub(crate) fn first(incoming: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        match Pin::new(incoming).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(frame) => frame,
            Poll::Pending => None,
        }
    }
}

/// What a connection is given back to.
pub(crate) trait Home {
    /// Takes a connection whose answer is over.
    fn put(&self, connection: Box<Http1>);
}

/// The body of an answer together with the connection it comes from.
pub(crate) struct Lent<H: Home> {
    first: Option<Frame<Bytes>>,
    incoming: Incoming,
    connection: Option<Box<Http1>>,
    home: H,
}

impl<H: Home> Lent<H> {
    /// `first` was read from `incoming` already.
    pub(crate) fn new(
        first: Option<Frame<Bytes>>,
        incoming: Incoming,
        connection: Box<Http1>,
        home: H,
    ) -> Self {
        Self { first, incoming, connection: Some(connection), home }
    }

    fn give_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.home.put(connection);
        }
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
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(connection) = &mut this.connection {
            connection.poll_driver(cx);
        }
        let frame = ready!(Pin::new(&mut this.incoming).poll_frame(&mut Context::from_waker(Waker::noop())));
        match frame {
            Some(Ok(frame)) => {
                if this.incoming.is_end_stream() {
                    this.give_back();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => {
                this.connection = None;
                Poll::Ready(Some(Err(BodyError::broken(Reason::Reset, error))))
            }
            None => {
                this.give_back();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.incoming.size_hint();
        let first = self.first.as_ref().and_then(Frame::data_ref).map_or(0, Bytes::len) as u64;
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + first);
        }
        hint.set_lower(rest.lower() + first);
        hint
    }
}

/// The upgrade that an answer carries.
pub(crate) fn upgrade_of(response: &mut Response<Incoming>) -> Option<OnUpgrade> {
    response.extensions_mut().remove::<OnUpgrade>()
}
