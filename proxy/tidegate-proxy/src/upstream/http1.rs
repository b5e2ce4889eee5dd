//! One HTTP/1.1 connection to a server, driven by the exchange that uses it.
//!
//! hyper's connection is not a task of its own: the exchange polls it together with its answer, so that a request costs
//! no wake-up between two tasks. Whatever only that connection can change (the answer, its body) is polled with a waker
//! that does nothing, since the connection itself is always polled first with the real one.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Duration;

use atomic_waker::AtomicWaker;
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
    /// Wakes the task of the exchange that drives the connection.
    gate: Arc<Gate>,
    waker: Waker,
    _open: Open,
}

/// Passes wake-ups on to the task, but for those that the task causes itself by taking a piece of the answer: it drives
/// the connection anyway before it takes the next one.
#[derive(Default)]
struct Gate {
    task: AtomicWaker,
    muted: AtomicBool,
}

impl Wake for Gate {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.muted.load(Ordering::Relaxed) {
            self.task.wake();
        }
    }
}

/// How sending failed: the error, and the request when no byte of it was written.
pub(crate) type SendError = TrySendError<Request<Body>>;

impl Http1 {
    /// Starts HTTP/1.1 on a stream.
    pub(crate) async fn handshake(stream: Stream, open: Open) -> hyper::Result<Box<Self>> {
        let (sender, driver): (SendRequest<Body>, Driver) =
            Builder::new().max_header_size(128 * 1024).handshake(TokioIo::new(stream)).await?;
        let gate = Arc::new(Gate::default());
        Ok(Box::new(Self {
            waker: gate.clone().into(),
            gate,
            sender,
            driver: Some(Box::pin(driver.with_upgrades())),
            idle_since: Duration::ZERO,
            reused: false,
            _open: open,
        }))
    }

    /// Drives the connection as far as it goes now; the task is woken when it goes on.
    fn poll_driver(&mut self, cx: &mut Context<'_>) {
        self.gate.task.register(cx.waker());
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(&mut Context::from_waker(&self.waker)).is_ready()
        {
            self.driver = None;
        }
    }

    /// Takes from an answer without waking the task for it.
    fn poll_answer(&self, incoming: &mut Incoming) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.gate.muted.store(true, Ordering::Relaxed);
        let polled = Pin::new(incoming).poll_frame(&mut Context::from_waker(Waker::noop()));
        self.gate.muted.store(false, Ordering::Relaxed);
        polled
    }

    /// Whether another request can be sent: the last one is over on both sides and the server has not closed.
    pub(crate) fn is_usable(&mut self) -> bool {
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
        {
            self.driver = None;
        }
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
    pub(crate) fn first(&self, incoming: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        match self.poll_answer(incoming) {
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
        let Some(connection) = &mut this.connection else { return Poll::Ready(None) };
        connection.poll_driver(cx);
        let frame = ready!(connection.poll_answer(&mut this.incoming));
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
