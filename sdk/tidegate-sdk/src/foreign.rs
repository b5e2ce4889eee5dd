//! Functions that a host offers by name beyond the ABI.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tidegate_abi::{BufferKind, Status};

use crate::hooks::{self, Event};
use crate::host::{self, Refusal};
use crate::{Error, Outcome};

/// Calls a function of the host; what arguments and result mean is up to it.
///
/// ```no_run
/// use tidegate_sdk::{Outcome, foreign};
///
/// /// As a filter for Envoy does it.
/// fn choose_route_again() -> Outcome<()> {
///     foreign::call("clear_route_cache", b"").map(drop)
/// }
/// ```
///
/// # Errors
/// When the host does not know the function (status 1), or the function refuses.
pub fn call(name: &str, arguments: &[u8]) -> Outcome<Vec<u8>> {
    host::foreign(name, arguments).map_err(|refusal| refused(name, refusal))
}

/// Whether the host is Tidegate and has this function of its own; false in every other host.
///
/// ```no_run
/// # fn choose(request: &tidegate_sdk::Request) -> tidegate_sdk::Outcome<()> {
/// if tidegate_sdk::foreign::has("tidegate_set_upstream") {
///     request.set_upstream("canary")
/// } else {
///     request.route_by_header("x-variant", "canary")
/// }
/// # }
/// ```
pub fn has(name: &str) -> bool {
    host::foreign("tidegate_has", name.as_bytes()).is_ok()
}

/// Calls a function of Tidegate's that answers later, and waits for its result. It is sent when it is first polled, and
/// given up when it is dropped or the request is over.
///
/// The future's output is an error when the host does not know the function (status 1), when the function refuses, or
/// with the status that the call ends with.
///
/// ```no_run
/// use tidegate_sdk::{Outcome, foreign};
///
/// async fn wait(milliseconds: u32) -> Outcome<()> {
///     foreign::call_later("tidegate_sleep", milliseconds.to_le_bytes()).await.map(drop)
/// }
/// ```
pub fn call_later(name: &'static str, arguments: impl Into<Vec<u8>>) -> Later {
    Later { name, step: Step::New(arguments.into()) }
}

/// A call whose result comes later.
#[derive(Debug)]
#[must_use = "it is sent when it is awaited"]
pub struct Later {
    name: &'static str,
    step: Step,
}

#[derive(Debug)]
enum Step {
    New(Vec<u8>),
    Sent { token: u32, waiting: Rc<Waiting> },
    Over,
}

#[derive(Debug, Default)]
struct Waiting {
    waker: RefCell<Option<Waker>>,
    result: RefCell<Option<Result<Vec<u8>, Refusal>>>,
}

thread_local! {
    static OPEN: RefCell<BTreeMap<u32, Rc<Waiting>>> = const { RefCell::new(BTreeMap::new()) };
}

impl Later {
    /// Sends the call at once.
    pub(crate) fn begin(name: &'static str, arguments: &[u8]) -> Result<Self, Refusal> {
        let token = host::foreign(name, arguments)?;
        let token = token.try_into().map(u32::from_le_bytes).map_err(|_| Status::ParseFailure)?;
        let waiting = Rc::new(Waiting::default());
        OPEN.with(|open| open.borrow_mut().insert(token, waiting.clone()));
        hooks::FOREIGN.set(Some(answered));
        Ok(Later { name, step: Step::Sent { token, waiting } })
    }
}

impl Future for Later {
    type Output = Outcome<Vec<u8>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let name = self.name;
        if let Step::New(arguments) = &self.step {
            match Later::begin(name, arguments) {
                Ok(mut sent) => self.step = std::mem::replace(&mut sent.step, Step::Over),
                Err(refusal) => {
                    self.step = Step::Over;
                    return Poll::Ready(Err(refused(name, refusal)));
                }
            }
        }
        let Step::Sent { waiting, .. } = &self.step else { return Poll::Pending };
        match waiting.result.take() {
            Some(result) => {
                self.step = Step::Over;
                Poll::Ready(result.map_err(|refusal| refused(name, refusal)))
            }
            None => {
                waiting.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        let Step::Sent { token, .. } = self.step else { return };
        if OPEN.with(|open| open.borrow_mut().remove(&token)).is_some() {
            // Where the request is over the host has given it up already.
            let _ = host::foreign("tidegate_cancel", &token.to_le_bytes());
        }
    }
}

/// Hands a result to whoever waits for it. It can only be read now, so all of it is.
fn answered(event: Event) {
    let Event::ForeignResult { token, size } = event else { return };
    let Some(waiting) = OPEN.with(|open| open.borrow_mut().remove(&token)) else { return };
    waiting.result.replace(Some(read(size)));
    if let Some(waker) = waiting.waker.take() {
        waker.wake();
    }
}

fn read(size: u32) -> Result<Vec<u8>, Refusal> {
    if size > 0 {
        return host::buffer(BufferKind::CallData, 0, size as usize);
    }
    match host::status()? {
        (0, _) => Ok(Vec::new()),
        (status, message) => {
            if !message.is_empty() {
                log::debug!("a function of the host failed: {}", message.escape_ascii());
            }
            Err(Refusal(status))
        }
    }
}

fn refused(name: &str, refusal: Refusal) -> Error {
    Error::refused(format!("call the host's function {name}"), refusal)
}
