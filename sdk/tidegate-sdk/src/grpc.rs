//! gRPC calls and streams to other servers. Messages are bytes; encode them with whatever library makes them.
//!
//! ```no_run
//! use std::time::Duration;
//! use tidegate_sdk::{Outcome, grpc};
//!
//! async fn check(request: Vec<u8>) -> Outcome<Vec<u8>> {
//!     let answer = grpc::call("envoy.service.auth.v3.Authorization", "Check")
//!         .to("auth")
//!         .message(request)
//!         .timeout(Duration::from_millis(200))
//!         .await?;
//!     Ok(answer.into_message())
//! }
//! ```

mod stream;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tidegate_abi::{BufferKind, MapKind};

use crate::fields::{Fields, Value};
use crate::hooks::{self, Event};
use crate::http::DEFAULT_TIMEOUT;
use crate::{Error, Outcome, host};
pub use stream::Stream;

/// A call of a method, by the full names of service and method.
pub fn call(service: impl Into<String>, method: impl Into<String>) -> Call {
    Call {
        upstream: String::new(),
        service: service.into(),
        method: method.into(),
        metadata: Fields::new(),
        message: Vec::new(),
        timeout: DEFAULT_TIMEOUT,
    }
}

/// A call, built step by step: sent with one message by `.await`, or opened as a stream by [`open`](Call::open).
#[derive(Debug, Clone)]
#[must_use = "a call is sent by `.await` or `open`"]
pub struct Call {
    upstream: String,
    service: String,
    method: String,
    metadata: Fields,
    message: Vec<u8>,
    timeout: Duration,
}

impl Call {
    /// Where to: the name of an upstream.
    pub fn to(mut self, upstream: impl Into<String>) -> Self {
        self.upstream = upstream.into();
        self
    }

    /// Adds metadata.
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.add(name, value);
        self
    }

    /// The message to send.
    pub fn message(mut self, message: impl Into<Vec<u8>>) -> Self {
        self.message = message.into();
        self
    }

    /// How long to wait for the answer; without it, [`DEFAULT_TIMEOUT`]. Streams have no limit.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Opens a stream of messages both ways. The message that was given is not sent.
    ///
    /// # Errors
    /// When the host refuses: no such upstream, too many calls.
    pub fn open(self) -> Outcome<Stream> {
        let to = [self.upstream.as_str(), &self.service, &self.method];
        let token =
            host::grpc_stream(to, &self.metadata.to_pairs()).map_err(|refusal| self.refused(refusal))?;
        Ok(Stream::new(token, register(token)))
    }

    fn dispatch(&self) -> Outcome<u32> {
        let timeout = u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX).clamp(1, i32::MAX as u32);
        let to = [self.upstream.as_str(), &self.service, &self.method];
        host::grpc_call(to, &self.metadata.to_pairs(), &self.message, timeout)
            .map_err(|refusal| self.refused(refusal))
    }

    fn refused(&self, refusal: host::Refusal) -> Error {
        Error::refused(format!("call {}/{} at \"{}\"", self.service, self.method, self.upstream), refusal)
    }
}

impl IntoFuture for Call {
    type Output = Outcome<Answer>;
    type IntoFuture = Calling;

    fn into_future(self) -> Calling {
        Calling { call: Some(Box::new(self)), open: None }
    }
}

/// A call that is sent when this is first polled, and broken off when it is dropped.
#[derive(Debug)]
pub struct Calling {
    call: Option<Box<Call>>,
    open: Option<(u32, Rc<Open>)>,
}

/// What is known of a call or stream that is going on.
#[derive(Debug, Default)]
struct Open {
    seen: RefCell<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    initial: Option<Fields>,
    messages: VecDeque<Outcome<Vec<u8>>>,
    trailing: Fields,
    /// The status that it ended with, and the server's message.
    closed: Option<(u32, String)>,
    waker: Option<Waker>,
}

thread_local! {
    static OPEN: RefCell<BTreeMap<u32, Rc<Open>>> = const { RefCell::new(BTreeMap::new()) };
}

fn register(token: u32) -> Rc<Open> {
    let call = Rc::new(Open::default());
    OPEN.with(|open| open.borrow_mut().insert(token, call.clone()));
    hooks::GRPC.set(Some(told));
    call
}

fn forget(token: u32) {
    // Fails only while the thread ends.
    let known = OPEN.try_with(|open| open.borrow_mut().remove(&token)).ok().flatten();
    if known.is_some_and(|call| call.seen.borrow().closed.is_none()) {
        // The host forgets it in any case when it is over.
        let _ = host::grpc_cancel(token);
    }
}

impl Future for Calling {
    type Output = Outcome<Answer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(call) = self.call.take() {
            match call.dispatch() {
                Ok(token) => self.open = Some((token, register(token))),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        let Some((_, open)) = &self.open else { return Poll::Pending };
        let mut seen = open.seen.borrow_mut();
        if let Some(message) = seen.messages.pop_front() {
            let metadata = seen.initial.take().unwrap_or_default();
            return Poll::Ready(message.map(|message| Answer { metadata, message }));
        }
        if let Some((status, message)) = seen.closed.clone() {
            return Poll::Ready(Err(Error::Grpc { status, message }));
        }
        seen.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        if let Some((token, _)) = &self.open {
            forget(*token);
        }
    }
}

fn told(event: Event) {
    let token = match event {
        Event::GrpcInitialMetadata { token }
        | Event::GrpcMessage { token, .. }
        | Event::GrpcTrailingMetadata { token }
        | Event::GrpcClose { token, .. } => token,
        _ => return,
    };
    let Some(open) = OPEN.with(|open| open.borrow().get(&token).cloned()) else { return };
    let fields = |map| Fields::from_pairs(host::headers(map).unwrap_or_default());
    let mut seen = open.seen.borrow_mut();
    match event {
        Event::GrpcInitialMetadata { .. } => seen.initial = Some(fields(MapKind::GrpcInitialMetadata)),
        Event::GrpcMessage { size, .. } => {
            let message = match size {
                0 => Ok(Vec::new()),
                size => host::buffer(BufferKind::GrpcMessage, 0, size as usize)
                    .map_err(|refusal| Error::refused("read the message", refusal)),
            };
            seen.messages.push_back(message);
        }
        Event::GrpcTrailingMetadata { .. } => seen.trailing = fields(MapKind::GrpcTrailingMetadata),
        Event::GrpcClose { status, .. } => {
            let message = host::status().map(|(_, message)| message).unwrap_or_default();
            seen.closed = Some((status, String::from_utf8_lossy(&message).into_owned()));
        }
        _ => {}
    }
    let waker = seen.waker.take();
    drop(seen);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    metadata: Fields,
    message: Vec<u8>,
}

impl Answer {
    /// The server's first metadata.
    pub fn metadata(&self) -> &Fields {
        &self.metadata
    }

    /// The message.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// The message, to keep.
    pub fn into_message(self) -> Vec<u8> {
        self.message
    }
}
