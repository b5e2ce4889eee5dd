//! A connection of bytes inside one plugin: its events go in, what becomes of the bytes comes out.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tidegate_config::plan::{Failure, OnFailure};
use tidegate_wasm::{Instance, Now, Peer, Side, Step, StreamId, StreamInfo, Trap};

use crate::filter::entry::Plugin;
use crate::filter::failure::{outlives, policy_for};
use crate::filter::held::{Held, Waiting};
use crate::filter::host::Host;
use crate::filter::taping::Taping;
use crate::http::fail::Reason;
use crate::telemetry::recorder::ROOM;

/// A connection's stream in an instance; its end is told when it is dropped.
pub(crate) struct NetworkGuest {
    host: Rc<Host>,
    id: StreamId,
    held: Rc<Held>,
    on_failure: OnFailure,
    /// The guest failed and its policy is open: it is passed over from now on.
    out: Cell<bool>,
    /// It failed and its policy is closed.
    failed: Cell<bool>,
    /// The connection is recorded, since then.
    taping: Option<(Box<Taping>, Duration)>,
}

/// What a guest makes of what it was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on, with all that was held before it.
    Go,
    /// It is held; the guest may be shown more.
    Hold,
    /// It is held, and the guest is shown nothing more until it says so.
    Wait,
}

/// What has come from a guest by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// What is held of the client's bytes goes on.
    Resumed,
    /// After [`Verdict::Wait`]: it may be shown more.
    Fed,
    /// The connection ends.
    Closed,
    /// The guest is passed over: what is held of both sides goes on.
    Out,
}

impl NetworkGuest {
    /// Opens a stream.
    pub(crate) fn open(host: Rc<Host>, info: StreamInfo, entry: &Plugin) -> Result<Self, Reason> {
        let id = host.call(|instance, now| Ok(instance.open_connection(info, now)))?;
        let held = host.hold(id);
        let on_failure = entry.on_failure;
        if outlives(on_failure) {
            host.with(|instance| instance.outlive(id));
        }
        let taping = entry.recorder.as_ref().and_then(Taping::begin);
        let taping = taping.map(|taping| (taping, host.now().monotonic));
        if taping.is_some() {
            host.with(|instance| instance.tape(id, ROOM));
        }
        Ok(Self { host, id, held, on_failure, out: Cell::new(false), failed: Cell::new(false), taping })
    }

    /// The guest is told of the connection.
    pub(crate) fn opened(&self) -> Result<Verdict, Reason> {
        self.forget();
        self.call(|instance, id, now| instance.on_new_connection(id, now))
    }

    /// Bytes of one side pass the guest; after [`Verdict::Go`] they are to be taken.
    pub(crate) fn data(&self, side: Side, bytes: Bytes, end: bool) -> Result<Verdict, Reason> {
        if side == Side::Request {
            self.forget();
        }
        self.call(|instance, id, now| match side {
            Side::Request => instance.on_downstream_data(id, bytes, end, now),
            Side::Response => instance.on_upstream_data(id, bytes, end, now),
        })
    }

    /// What was said about earlier bytes does not count for later ones.
    fn forget(&self) {
        self.held.resume_request.set(false);
        self.held.feed_request.set(false);
    }

    fn call(
        &self,
        call: impl FnOnce(&mut Instance, StreamId, Now) -> Result<Step, Trap>,
    ) -> Result<Verdict, Reason> {
        match self.host.call(|instance, now| call(instance, self.id, now)) {
            Ok(Step::Continue) => Ok(Verdict::Go),
            Ok(Step::Pause) => Ok(Verdict::Hold),
            Ok(Step::Wait) => Ok(Verdict::Wait),
            Err(reason) => self.failed(reason).map(|()| Verdict::Go),
        }
    }

    /// The policy for a failure: end the connection, or go on without the guest.
    fn failed(&self, reason: Reason) -> Result<(), Reason> {
        if let Some((taping, _)) = &self.taping {
            taping.failed.set(true);
        }
        match policy_for(self.on_failure, reason) {
            Failure::Open => {
                self.out.set(true);
                Ok(())
            }
            Failure::Closed => {
                self.failed.set(true);
                Err(reason)
            }
        }
    }

    /// Whether the connection fails by this guest.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// Whether the guest is passed over.
    pub(crate) fn is_out(&self) -> bool {
        self.out.get()
    }

    /// What goes on of a side's bytes.
    pub(crate) fn take(&self, side: Side) -> Bytes {
        self.host.with(|instance| instance.take_data(self.id, side))
    }

    /// Bytes that the guest may hold back of one side; a connection of which it wants more is cut.
    pub(crate) fn may_hold(&self) -> usize {
        self.host.plugin().spec().limits.held_bytes
    }

    /// How many bytes of a side are held.
    pub(crate) fn buffered(&self, side: Side) -> usize {
        self.host.with(|instance| instance.buffered_data(self.id, side))
    }

    /// Tells which server the connection goes to.
    pub(crate) fn goes_to(&self, upstream: &Rc<str>, address: SocketAddr) {
        self.host.with(|instance| instance.set_server(self.id, upstream.clone(), address));
    }

    /// Tells why the connection ends, where it does not end in order.
    pub(crate) fn ends(&self, why: &str) {
        if let Some((taping, _)) = &self.taping {
            taping.failed.set(true);
        }
        self.host.with(|instance| instance.set_end(self.id, why));
    }

    /// What the guest wants by itself; else the task is woken when it does.
    pub(crate) fn poll_woken(&self, cx: &mut Context<'_>) -> Poll<Result<Woken, Reason>> {
        if let Some(reason) = self.held.failed.get()
            && !self.out.get()
        {
            return Poll::Ready(self.failed(reason).map(|()| Woken::Out));
        }
        if self.held.reset.replace(false) {
            return Poll::Ready(Ok(Woken::Closed));
        }
        if self.held.resume_request.replace(false) {
            return Poll::Ready(Ok(Woken::Resumed));
        }
        if self.held.feed_request.replace(false) {
            return Poll::Ready(Ok(Woken::Fed));
        }
        self.held.wake_later(Waiting::End, cx);
        Poll::Pending
    }

    /// Tells that a side's connection is closed, and by whom. What the guest does then changes nothing any more.
    pub(crate) fn closed(&self, side: Side, by: Peer) {
        if self.out.get() {
            return;
        }
        // A trap was counted and the instance is replaced; the connection is over anyway.
        _ = self.host.call(|instance, now| match side {
            Side::Request => instance.on_downstream_close(self.id, by, now),
            Side::Response => instance.on_upstream_close(self.id, by, now),
        });
    }
}

impl Drop for NetworkGuest {
    fn drop(&mut self) {
        self.host.release(self.id);
        if let Some((taping, opened)) = &self.taping {
            taping.end(None, self.host.now().monotonic.saturating_sub(*opened));
            self.host.keep_tape(self.id, taping);
        }
    }
}
