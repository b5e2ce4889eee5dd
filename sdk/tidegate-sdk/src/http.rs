//! HTTP calls to other servers, awaited.
//!
//! ```no_run
//! use std::time::Duration;
//! use tidegate_sdk::{Outcome, http};
//!
//! async fn user_of(token: &str) -> Outcome<Option<String>> {
//!     let answer = http::get("/introspect")
//!         .to("auth")
//!         .header("authorization", token)
//!         .timeout(Duration::from_millis(300))
//!         .await?;
//!     Ok(answer.headers().get_str("x-user").map(str::to_owned))
//! }
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tidegate_abi::{BufferKind, MapKind};

use crate::fields::{Fields, Value};
use crate::hooks::{self, Event};
use crate::{Error, Outcome, host};

/// A GET call.
pub fn get(path: impl Into<String>) -> Call {
    Call::new("GET", path)
}

/// A POST call.
pub fn post(path: impl Into<String>) -> Call {
    Call::new("POST", path)
}

/// A PUT call.
pub fn put(path: impl Into<String>) -> Call {
    Call::new("PUT", path)
}

/// A DELETE call.
pub fn delete(path: impl Into<String>) -> Call {
    Call::new("DELETE", path)
}

/// A call, built step by step and sent by `.await`.
///
/// The upstream is one of the gateway's configuration, which the plugin must be allowed to call. Without
/// [`timeout`](Call::timeout) it is given [`DEFAULT_TIMEOUT`]. An answer with any status is an answer; there is an error
/// only where there is none. (Envoy makes a 503 or 504 of its own when a server cannot be reached or is too slow.)
#[derive(Debug, Clone)]
#[must_use = "a call is sent by `.await`"]
pub struct Call {
    upstream: String,
    method: String,
    path: String,
    authority: Option<String>,
    headers: Fields,
    body: Vec<u8>,
    trailers: Fields,
    timeout: Duration,
}

/// How long a call may take that does not say otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

impl Call {
    /// A call by any method.
    pub fn new(method: impl Into<String>, path: impl Into<String>) -> Self {
        Call {
            upstream: String::new(),
            method: method.into(),
            path: path.into(),
            authority: None,
            headers: Fields::new(),
            body: Vec::new(),
            trailers: Fields::new(),
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// Where to: the name of an upstream.
    pub fn to(mut self, upstream: impl Into<String>) -> Self {
        self.upstream = upstream.into();
        self
    }

    /// The host that the server is asked for; without it, the upstream's name.
    pub fn authority(mut self, authority: impl Into<String>) -> Self {
        self.authority = Some(authority.into());
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.headers.add(name, value);
        self
    }

    /// Adds headers.
    pub fn headers(mut self, headers: &Fields) -> Self {
        for (name, value) in headers.iter() {
            self.headers.add(name, value);
        }
        self
    }

    /// Sets the body; the gateway adds its length.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets a body of JSON.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn json(self, value: &impl serde::Serialize) -> Result<Self, serde_json::Error> {
        let body = serde_json::to_vec(value)?;
        Ok(self.header("content-type", "application/json").body(body))
    }

    /// Adds a trailer.
    pub fn trailer(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.trailers.add(name, value);
        self
    }

    /// How long to wait for the whole answer.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn dispatch(&self) -> Outcome<u32> {
        let authority = self.authority.as_deref().unwrap_or(&self.upstream);
        let mut headers = Fields::new();
        headers.add(":method", self.method.as_str());
        headers.add(":path", self.path.as_str());
        headers.add(":authority", authority);
        headers.add(":scheme", "http");
        for (name, value) in self.headers.iter().chain(self.trailers.iter()) {
            if let Some(problem) = crate::headers::problem_with(name, value) {
                return Err(Error::BadHeader { name: name.to_owned(), problem });
            }
        }
        let mut pairs = headers.to_pairs();
        pairs.extend(self.headers.to_pairs());
        let timeout = u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX).clamp(1, i32::MAX as u32);
        host::http_call(&self.upstream, &pairs, &self.body, &self.trailers.to_pairs(), timeout)
            .map_err(|refusal| Error::refused(format!("call the upstream \"{}\"", self.upstream), refusal))
    }
}

impl IntoFuture for Call {
    type Output = Outcome<Answer>;
    type IntoFuture = Calling;

    fn into_future(self) -> Calling {
        Calling { step: Step::New(Box::new(self)) }
    }
}

/// A call that is sent when this is first polled, and forgotten when it is dropped.
#[derive(Debug)]
pub struct Calling {
    step: Step,
}

#[derive(Debug)]
enum Step {
    New(Box<Call>),
    Sent { token: u32, waiting: Rc<Waiting> },
    Over,
}

#[derive(Debug, Default)]
struct Waiting {
    waker: RefCell<Option<Waker>>,
    answer: RefCell<Option<Outcome<Answer>>>,
}

thread_local! {
    static OPEN: RefCell<BTreeMap<u32, Rc<Waiting>>> = const { RefCell::new(BTreeMap::new()) };
}

impl Future for Calling {
    type Output = Outcome<Answer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Step::New(call) = &self.step {
            match call.dispatch() {
                Ok(token) => {
                    let waiting = Rc::new(Waiting::default());
                    OPEN.with(|open| open.borrow_mut().insert(token, waiting.clone()));
                    hooks::HTTP.set(Some(answered));
                    self.step = Step::Sent { token, waiting };
                }
                Err(error) => {
                    self.step = Step::Over;
                    return Poll::Ready(Err(error));
                }
            }
        }
        let Step::Sent { waiting, .. } = &self.step else { return Poll::Pending };
        match waiting.answer.take() {
            Some(answer) => {
                self.step = Step::Over;
                Poll::Ready(answer)
            }
            None => {
                waiting.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        if let Step::Sent { token, .. } = &self.step {
            let forgotten = OPEN.with(|open| open.borrow_mut().remove(token));
            drop(forgotten);
        }
    }
}

/// Hands an answer to whoever waits for it. It can only be read now, so all of it is.
fn answered(event: Event) {
    let Event::HttpAnswer { token, headers, body, .. } = event else { return };
    let Some(waiting) = OPEN.with(|open| open.borrow_mut().remove(&token)) else { return };
    waiting.answer.replace(Some(if headers == 0 { Err(why_not()) } else { read(body).and_then(given) }));
    if let Some(waker) = waiting.waker.take() {
        waker.wake();
    }
}

fn read(body: u32) -> Outcome<Answer> {
    let fields = |map| {
        host::headers(map)
            .map(Fields::from_pairs)
            .map_err(|refusal| Error::refused("read the answer's headers", refusal))
    };
    let body = match body {
        0 => Vec::new(),
        size => host::buffer(BufferKind::CallBody, 0, size as usize)
            .map_err(|refusal| Error::refused("read the answer's body", refusal))?,
    };
    Ok(Answer { headers: fields(MapKind::CallHeaders)?, body, trailers: fields(MapKind::CallTrailers)? })
}

/// An answer that a server gave. Tidegate, like other hosts, makes one of its own where there is none, and says so.
fn given(answer: Answer) -> Outcome<Answer> {
    match answer.headers.get_str("x-tidegate-no-answer") {
        Some(why) => Err(Error::NoAnswer { why: why.to_owned() }),
        None => Ok(answer),
    }
}

fn why_not() -> Error {
    let message = host::status().map(|(_, message)| message).unwrap_or_default();
    let why = match String::from_utf8_lossy(&message) {
        text if text.is_empty() => "the call failed or took too long".to_owned(),
        text => text.into_owned(),
    };
    Error::NoAnswer { why }
}

/// The answer to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    headers: Fields,
    body: Vec<u8>,
    trailers: Fields,
}

impl Answer {
    /// Its status; 0 when the host does not tell it.
    pub fn status(&self) -> u16 {
        self.headers.get(":status").and_then(Value::parse).unwrap_or(0)
    }

    /// Whether the status is one of success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status())
    }

    /// Its headers, `:status` among them.
    pub fn headers(&self) -> &Fields {
        &self.headers
    }

    /// Its body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Its body, to keep.
    pub fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// Its body, read as JSON.
    ///
    /// # Errors
    /// When it is not JSON of that type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// Its trailers.
    pub fn trailers(&self) -> &Fields {
        &self.trailers
    }
}
