//! A request inside one plugin: its events go in, its decision comes out.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::request;
use http::response;
use tidegate_config::plan::{Failure, OnFailure};
use tidegate_wasm::{Instance, Now, Side, Step, StreamId, StreamInfo, Trap};

use crate::filter::plugins::{Held, Host};
use crate::http::fail::{Fail, Reason};
use crate::http::reply::Reply;

/// A request's stream in an instance; closed when dropped.
pub(crate) struct Guest {
    host: Rc<Host>,
    id: StreamId,
    pub(crate) held: Rc<Held>,
    on_failure: OnFailure,
    /// The guest failed and its policy is open: it is passed over from now on.
    out: std::cell::Cell<bool>,
}

/// What a call into a guest came to.
pub(crate) enum Decision {
    /// The message goes on.
    Go,
    /// It waits until the guest resumes it; the guest may be given more.
    Hold,
    /// It waits, and the guest is given nothing more until it says so.
    Wait,
    /// The guest answers itself.
    Reply(Reply),
}

impl Guest {
    /// Opens a stream.
    pub(crate) fn open(host: Rc<Host>, info: StreamInfo, on_failure: OnFailure) -> Result<Self, Fail> {
        let id = host.call(|instance, now| Ok(instance.open_stream(info, now))).map_err(Fail::filter)?;
        let held = host.hold(id);
        Ok(Self { host, id, held, on_failure, out: std::cell::Cell::new(false) })
    }

    /// Calls the guest about this stream.
    pub(crate) fn call(
        &self,
        call: impl FnOnce(&mut Instance, StreamId, Now) -> Result<Step, Trap>,
    ) -> Result<Decision, Fail> {
        if self.out.get() {
            return Ok(Decision::Go);
        }
        let step = match self.host.call(|instance, now| call(instance, self.id, now)) {
            Ok(step) => step,
            Err(reason) => return self.failed(reason).map(|()| Decision::Go),
        };
        if let Some(decision) = self.wish()? {
            return Ok(decision);
        }
        Ok(match step {
            Step::Continue => Decision::Go,
            Step::Pause => Decision::Hold,
            Step::Wait => Decision::Wait,
        })
    }

    /// Reads or takes something of the stream.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&mut Instance, StreamId) -> T) -> T {
        self.host.with(|instance| read(instance, self.id))
    }

    /// Whether the guest may change this side's body without having seen its head, and so could not have said that
    /// the length is another one.
    pub(crate) fn rewrites_unseen(&self, side: Side) -> bool {
        self.host.with(|instance| {
            let plugin = instance.plugin();
            plugin.writes_bodies()
                && match side {
                    Side::Request => !plugin.wants_request_headers(),
                    Side::Response => !plugin.wants_response_headers(),
                }
        })
    }

    /// Whether the guest takes part still.
    pub(crate) fn is_out(&self) -> bool {
        self.out.get()
    }

    /// The policy for a failure: refuse, or go on without the guest.
    fn failed(&self, reason: Reason) -> Result<(), Fail> {
        let policy =
            if reason == Reason::PluginTimeout { self.on_failure.timeout } else { self.on_failure.trap };
        match policy {
            Failure::Open => {
                self.out.set(true);
                Ok(())
            }
            Failure::Closed => Err(Fail::filter(reason)),
        }
    }

    /// What the guest has asked for about this request as a whole.
    fn wish(&self) -> Result<Option<Decision>, Fail> {
        if let Some(reply) = self.held.reply.borrow_mut().take() {
            return Ok(Some(Decision::Reply(reply)));
        }
        if self.held.reset.get() {
            return Err(Fail::filter(Reason::ClientGone));
        }
        Ok(None)
    }

    /// Ready once the guest resumed the side, answered, or failed.
    pub(crate) fn poll_resumed(&self, side: Side, cx: &mut Context<'_>) -> Poll<Result<Decision, Fail>> {
        if let Some(reason) = self.held.failed.get()
            && !self.out.get()
        {
            return Poll::Ready(self.failed(reason).map(|()| Decision::Go));
        }
        match self.wish() {
            Ok(Some(decision)) => return Poll::Ready(Ok(decision)),
            Err(fail) => return Poll::Ready(Err(fail)),
            Ok(None) => {}
        }
        let resumed = match side {
            Side::Request => &self.held.resume_request,
            Side::Response => &self.held.resume_response,
        };
        if resumed.replace(false) || self.out.get() {
            return Poll::Ready(Ok(Decision::Go));
        }
        *self.held.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Whether the guest wants to be given more of a side for which it had asked to wait.
    pub(crate) fn is_fed(&self, side: Side) -> bool {
        match side {
            Side::Request => self.held.feed_request.replace(false),
            Side::Response => self.held.feed_response.replace(false),
        }
    }

    /// Waits as [`Guest::poll_resumed`] tells.
    pub(crate) async fn resumed(&self, side: Side) -> Result<Decision, Fail> {
        poll_fn(|cx| self.poll_resumed(side, cx)).await
    }

    /// The request's head passes the guest.
    pub(crate) fn request_head(&self, head: request::Parts, end: bool) -> Result<Decision, Fail> {
        self.held.resume_request.set(false);
        self.held.feed_request.set(false);
        self.call(|instance, id, now| instance.on_request_headers(id, head, end, now))
    }

    /// The response's head passes the guest.
    pub(crate) fn response_head(&self, head: response::Parts, end: bool) -> Result<Decision, Fail> {
        self.held.resume_response.set(false);
        self.held.feed_response.set(false);
        self.call(|instance, id, now| instance.on_response_headers(id, head, end, now))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.host.release(self.id);
    }
}
