//! A request inside one plugin: its events go in, its decision comes out.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{StatusCode, request, response};
use tidegate_config::plan::{Failure, OnFailure};
use tidegate_wasm::{Facts, Instance, Now, Pending, Side, Step, StreamId, StreamInfo, Tape, Trap, Whole};

use crate::filter::entry::Plugin;
use crate::filter::failure::{outlives, policy_for};
use crate::filter::held::{Held, Waiting};
use crate::filter::host::Host;
use crate::filter::taping::Taping;
use crate::filter::traced::{Called, Follow, Told};
use crate::http::fail::{Fail, Reason};
use crate::http::reply::Reply;
use crate::telemetry::recorder::{BRIEF_ROOM, ROOM};
use crate::time::monotonic;

/// A request's stream in an instance; closed when dropped.
pub(crate) struct Guest {
    host: Rc<Host>,
    id: StreamId,
    held: Rc<Held>,
    on_failure: OnFailure,
    /// The guest failed and its policy is open: it is passed over from now on.
    out: Cell<bool>,
    /// It failed and its policy is closed, or it broke the request off.
    failed: Cell<bool>,
    /// What the guest made of the request while its body was on the way upstream.
    end: RefCell<Option<End>>,
    /// The request is recorded.
    taping: Option<Box<Taping>>,
    /// The request is traced.
    follow: Option<Rc<Follow>>,
}

/// How a guest ended a request whose head had gone on.
pub(crate) enum End {
    /// By an answer.
    Reply(Box<Reply>),
    /// By a failure, or by breaking it off.
    Fail(Reason),
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
    Reply(Box<Reply>),
}

/// How far a response with its whole body has come.
pub(crate) enum Reached {
    /// Past the guest.
    End,
    /// The guest has the head and has not seen the body.
    Head(Decision),
    /// The head goes on; of the body the guest has what is left.
    Body(Decision),
}

impl Guest {
    /// Opens a stream in an instance of this plugin.
    pub(crate) fn open(
        host: Rc<Host>,
        info: Rc<StreamInfo>,
        facts: Option<Rc<Facts>>,
        entry: &Plugin,
        (follow, tapped): (Option<Follow>, bool),
    ) -> Rc<Self> {
        let id = host.open(info, facts);
        let held = host.hold(id);
        if outlives(entry.on_failure) {
            host.with(|instance| instance.outlive(id));
        }
        let taping = entry.recorder.as_ref().and_then(Taping::begin);
        if taping.is_some() {
            host.with(|instance| instance.tape(id, ROOM));
        } else if tapped {
            host.with(|instance| instance.tape_briefly(id, BRIEF_ROOM));
        }
        let follow = follow.map(Rc::new);
        if let Some(follow) = &follow {
            host.with(|instance| instance.trace(id));
            // The stream is new. Calls are noted where they carry a trace.
            if follow.trace != 0 {
                _ = held.trace.set(follow.clone());
            }
        }
        Rc::new(Self {
            follow,
            host,
            id,
            held,
            on_failure: entry.on_failure,
            out: Cell::new(false),
            failed: Cell::new(false),
            end: RefCell::new(None),
            taping,
        })
    }

    /// What became of the request as a whole, for its record.
    #[inline]
    pub(crate) fn tell_end(&self, status: Option<StatusCode>, took: Duration) {
        if let Some(taping) = &self.taping {
            taping.end(status.map(|status| status.as_u16()), took);
        }
    }

    /// Calls the guest about this stream.
    pub(crate) fn call(
        &self,
        name: &'static str,
        call: impl FnOnce(&mut Instance, StreamId, Now) -> Result<Step, Trap>,
    ) -> Result<Decision, Fail> {
        if self.out.get() {
            return Ok(Decision::Go);
        }
        let traced = self.follow.is_some().then(|| self.begin_timed());
        let step = self.host.pass(|instance, now| call(instance, self.id, now));
        if let Some(began) = traced {
            self.end_timed(name, began, matches!(step, Ok(Step::Pause | Step::Wait)));
        }
        match step {
            Ok(step) => self.decided(step),
            Err(reason) => self.failed(reason).map(|()| Decision::Go),
        }
    }

    /// What a callback came to, when what the guest asked for in it is done.
    fn decided(&self, step: Step) -> Result<Decision, Fail> {
        if let Some(decision) = self.wish()? {
            return Ok(decision);
        }
        Ok(match step {
            Step::Continue => Decision::Go,
            Step::Pause => Decision::Hold,
            Step::Wait => Decision::Wait,
        })
    }

    /// A callback of a traced request begins.
    #[cold]
    fn begin_timed(&self) -> Duration {
        let now = monotonic();
        if let Some(follow) = &self.follow {
            follow.told.borrow_mut().begins(now);
        }
        self.host.with(Instance::time_call);
        now
    }

    #[cold]
    fn end_timed(&self, name: &'static str, began: Duration, holds: bool) {
        let took = monotonic().saturating_sub(began);
        // An instance that broke off was replaced, and tells nothing.
        let host = self.host.with(Instance::take_timed).unwrap_or_default();
        if let Some(follow) = &self.follow {
            follow.told.borrow_mut().ends(Called { name, began, took, host }, holds);
        }
    }

    /// How often it was called for a request that is traced or tapped, and the time of that in the guest, in host
    /// functions, and held.
    pub(crate) fn times(&self) -> (usize, [Duration; 3]) {
        let Some(follow) = &self.follow else { return Default::default() };
        let told = follow.told.borrow();
        let took: Duration = told.calls.iter().map(|call| call.took).sum();
        let host: Duration = told.calls.iter().map(|call| call.host).sum();
        (told.calls.len(), [took.saturating_sub(host), host, told.waited])
    }

    /// What was noted of a tapped request.
    pub(crate) fn tape(&self) -> Option<Tape> {
        self.with(|instance, id| match &self.taping {
            Some(_) => instance.taped(id).cloned(),
            None => instance.take_tape(id),
        })
    }

    /// What was noted of a traced request, and the number of its span.
    pub(crate) fn take_trace(&self) -> Option<(u64, Told)> {
        let follow = self.follow.as_ref()?;
        let mut told = follow.told.take();
        told.attributes = self.host.with(|instance| instance.take_span(self.id));
        Some((follow.span, told))
    }

    /// Reads or takes something of the stream.
    pub(crate) fn with<T>(&self, read: impl FnOnce(&mut Instance, StreamId) -> T) -> T {
        self.host.with(|instance| read(instance, self.id))
    }

    /// Whether the guest wants the route to be chosen again.
    pub(crate) fn clears_route(&self) -> bool {
        self.held.clear_route.take()
    }

    /// Whether the guest has chosen anything since this was last asked.
    #[inline]
    pub(crate) fn has_chosen(&self) -> bool {
        self.held.chose.replace(false)
    }

    /// The upstream and the rule that the guest has chosen since this was last asked.
    #[inline]
    pub(crate) fn take_choices(&self) -> (Option<usize>, Option<usize>) {
        (self.held.upstream.take(), self.held.rule.take())
    }

    /// The server that the guest has chosen since this was last asked.
    #[inline]
    pub(crate) fn take_server(&self) -> Option<SocketAddr> {
        self.held.server.take()
    }

    /// Whether there are bytes of the guest's own for the response's body.
    #[inline]
    pub(crate) fn has_injected(&self) -> bool {
        self.held.injects.get()
    }

    /// Those bytes, and whether nothing follows them.
    pub(crate) fn take_injected(&self) -> Option<(Bytes, bool)> {
        if !self.held.injects.replace(false) {
            return None;
        }
        self.with(Instance::take_injected)
    }

    /// Has the task woken by what the guest may put into the response's body.
    pub(crate) fn wake_by_injection(&self, cx: &Context<'_>) {
        if self.plugin().injects() {
            self.held.wake_later(Side::Response, cx);
        }
    }

    /// Why it broke the request off, in its own words.
    pub(crate) fn take_details(&self) -> String {
        self.held.details.take()
    }

    /// The code that it runs.
    fn plugin(&self) -> &tidegate_wasm::Plugin {
        self.host.plugin()
    }

    /// Bytes that the guest may hold back of one body.
    pub(crate) fn may_hold(&self) -> usize {
        self.plugin().spec().limits.held_bytes
    }

    /// Whether the guest has anything to do with this side's body and trailers.
    pub(crate) fn wants_body(&self, side: Side) -> bool {
        let plugin = self.plugin();
        match side {
            Side::Request => plugin.wants_request_body() || plugin.wants_request_trailers(),
            Side::Response => plugin.wants_response_body() || plugin.wants_response_trailers(),
        }
    }

    /// Whether the guest can make this side's body longer or shorter.
    pub(crate) fn writes_bodies(&self) -> bool {
        self.plugin().writes_bodies()
    }

    /// Whether the guest may change this side's body without having seen its head, and so could not have said that
    /// the length is another one.
    pub(crate) fn rewrites_unseen(&self, side: Side) -> bool {
        let plugin = self.plugin();
        plugin.writes_bodies()
            && match side {
                Side::Request => !plugin.wants_request_headers(),
                Side::Response => !plugin.wants_response_headers(),
            }
    }

    /// Whether the request fails by this guest.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.get()
    }

    /// A guest that has let the request's head go and wants no more of it is passed over from now on.
    #[inline]
    pub(crate) fn may_leave(&self) {
        if self.with(|instance, id| instance.has_left(id)) {
            self.out.set(true);
        }
    }

    /// Whether the guest is passed over.
    pub(crate) fn is_out(&self) -> bool {
        self.out.get()
    }

    /// The policy for a failure: refuse, or go on without the guest.
    fn failed(&self, reason: Reason) -> Result<(), Fail> {
        if let Some(taping) = &self.taping {
            taping.failed.set(true);
        }
        match policy_for(self.on_failure, reason) {
            Failure::Open => {
                self.out.set(true);
                Ok(())
            }
            Failure::Closed => {
                if !self.failed.replace(true)
                    && let Some(slot) = self.host.slot()
                {
                    slot.notice();
                }
                Err(Fail::filter(reason))
            }
        }
    }

    /// What the guest has asked for about this request as a whole.
    fn wish(&self) -> Result<Option<Decision>, Fail> {
        if let Some(reply) = self.held.reply.borrow_mut().take() {
            return Ok(Some(Decision::Reply(reply)));
        }
        if self.held.reset.get() {
            self.failed.set(true);
            if let Some(taping) = &self.taping {
                taping.failed.set(true);
            }
            return Err(Fail::filter(Reason::PluginReset));
        }
        Ok(None)
    }

    /// Whether the body of this side is to break off behind what was let through.
    pub(crate) fn breaks(&self, side: Side) -> bool {
        self.held.breaks(side).get()
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
        if self.held.resume(side).replace(false) || self.out.get() {
            return Poll::Ready(Ok(Decision::Go));
        }
        self.held.wake_later(side, cx);
        Poll::Pending
    }

    /// Whether the guest wants to be given more of a side for which it had asked to wait.
    pub(crate) fn is_fed(&self, side: Side) -> bool {
        self.held.feed(side).replace(false)
    }

    /// Waits as [`Guest::poll_resumed`] tells.
    pub(crate) async fn resumed(&self, side: Side) -> Result<Decision, Fail> {
        poll_fn(|cx| self.poll_resumed(side, cx)).await
    }

    /// The request's head passes the guest.
    pub(crate) fn request_head(
        &self,
        head: Rc<request::Parts>,
        pending: Option<Pending>,
        end: bool,
    ) -> Result<Decision, Fail> {
        self.begin(Side::Request);
        self.call("on_request_headers", |instance, id, now| {
            instance.on_request_head(id, head, pending, end, now)
        })
    }

    /// The response's head passes the guest.
    pub(crate) fn response_head(&self, head: response::Parts, end: bool) -> Result<Decision, Fail> {
        self.begin(Side::Response);
        self.call("on_response_headers", |instance, id, now| instance.on_response_headers(id, head, end, now))
    }

    /// Whether a response with its whole body can pass the guest at once: nobody looks at single callbacks, when the guest
    /// breaks off nothing of the response is wanted, and it has not ended the request just before.
    #[inline]
    pub(crate) fn takes_whole(&self) -> bool {
        let watched = self.follow.is_some() || self.taping.is_some();
        let ended = self.held.reset.get() || self.held.reply.borrow().is_some();
        let once = !self.out.get() && !watched && !ended && !outlives(self.on_failure);
        once && self.wants_body(Side::Response)
    }

    /// Such a response passes the guest, both parts in their places.
    pub(crate) fn whole_response(
        &self,
        head: &mut Option<response::Parts>,
        body: &mut Bytes,
    ) -> Result<Reached, Fail> {
        self.begin(Side::Response);
        let whole = self.host.pass(|instance, now| instance.on_whole_response(self.id, head, body, now));
        match whole {
            Ok(Whole::Passed) => Ok(Reached::End),
            Ok(Whole::Head(step)) => self.decided(step).map(Reached::Head),
            Ok(Whole::Body(step)) => self.decided(step).map(Reached::Body),
            Err(reason) => {
                self.failed(reason)?;
                // No policy lets such a request go on.
                Err(Fail::filter(reason))
            }
        }
    }

    /// Before a callback that is shown more of a side: what was said before does not count for it.
    pub(crate) fn begin(&self, side: Side) {
        self.held.resume(side).set(false);
        self.held.feed(side).set(false);
    }

    /// After a wait: what happens next happens at another time.
    pub(crate) fn look_at_the_clock(&self) {
        self.host.look_at_the_clock();
    }

    /// The guest ended the request, whose head had gone on; the first end counts.
    pub(crate) fn ended(&self, end: End) {
        self.end.borrow_mut().get_or_insert(end);
    }

    /// Whether the guest can end the request while it waits for others.
    pub(crate) fn ends_by_itself(&self) -> bool {
        self.plugin().ends_by_itself() && !self.out.get()
    }

    /// Ready once the guest, in a callback that is no part of the request's walk, has answered or broken the request
    /// off; how is noted.
    pub(crate) fn poll_ended(&self, cx: &Context<'_>) -> Poll<()> {
        if self.ends() {
            return Poll::Ready(());
        }
        self.held.wake_later(Waiting::End, cx);
        Poll::Pending
    }

    /// As [`Guest::poll_ended`] where nobody waits for it.
    pub(crate) fn ends(&self) -> bool {
        match self.wish() {
            Ok(Some(Decision::Reply(reply))) => self.ended(End::Reply(reply)),
            Err(fail) => self.ended(End::Fail(fail.reason)),
            Ok(_) => return false,
        }
        true
    }

    /// Whether the guest has ended the request, and nobody has taken up how.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// How the guest ended the request.
    pub(crate) fn take_end(&self) -> Option<End> {
        self.end.borrow_mut().take()
    }

    /// The request is over: what the guest logs comes before any guest of the request is told that it is done.
    pub(crate) fn log(&self) {
        // A trap on the way out hurts no request: it was counted and the instance is replaced.
        _ = self.host.pass(|instance, now| {
            instance.log_stream(self.id, now);
            instance.poisoned().map_or(Ok(()), |trap| Err(trap.clone()))
        });
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.host.release(self.id);
        if let Some(taping) = &self.taping {
            self.host.keep_tape(self.id, taping);
        }
    }
}
