//! What an instance does for one request, in wire order: heads, bodies, trailers, the end.

use super::{
    Instance,
    run::{Before, Guest},
};
use crate::{
    HeadersPause, Now, Pending, Side, Step, StreamId, Trap,
    abi::exports::{Callback, Exports, OnHeaders},
    state::State,
    stream::{Cut, Flow, Hold, Part, Stream, fields::request_len, table::ROOT},
    tape::{Event, fields, response_fields},
};
use bytes::Bytes;
use http::{HeaderMap, request, response};
use std::net::SocketAddr;
use std::rc::Rc;
use tidegate_abi::Action;
use wasmtime::WasmParams;

impl Instance {
    /// Shows a request's head to the guest.
    ///
    /// # Errors
    /// When the guest breaks off; the head can still be taken.
    pub fn on_request_headers(
        &mut self,
        id: StreamId,
        head: impl Into<Rc<request::Parts>>,
        end_of_stream: bool,
        now: Now,
    ) -> Result<Step, Trap> {
        self.on_request_head(id, head.into(), None, end_of_stream, now)
    }

    /// As [`Instance::on_request_headers`] for a head that lacks fields which only a guest that looks at it needs.
    /// [`Instance::leave_request_head`] tells whether they are there afterwards.
    ///
    /// # Errors
    /// When the guest breaks off; the head can still be taken.
    pub fn on_request_head(
        &mut self,
        id: StreamId,
        head: Rc<request::Parts>,
        pending: Option<Pending>,
        end_of_stream: bool,
        now: Now,
    ) -> Result<Step, Trap> {
        let stream = self.stream_mut(id)?;
        let added = pending.as_ref().map_or(0, |pending| pending.fields);
        let count = count(request_len(&head) + added);
        stream.request_head = Some(head);
        stream.pending = pending;
        if stream.tape.is_some() {
            stream.note_request(now, end_of_stream);
        }
        let step = self.show_head(id, Side::Request, count, end_of_stream, now);
        self.noted(id, now, step)
    }

    /// Shows a response's head to the guest.
    ///
    /// # Errors
    /// When the guest breaks off; the head can still be taken.
    pub fn on_response_headers(
        &mut self,
        id: StreamId,
        head: response::Parts,
        end_of_stream: bool,
        now: Now,
    ) -> Result<Step, Trap> {
        let stream = self.stream_mut(id)?;
        stream.note(now, || Event::ResponseHeaders { headers: response_fields(&head), end: end_of_stream });
        let count = count(head.headers.len() + 1);
        stream.response_head = Some(head);
        stream.anew = stream.ended;
        let step = self.show_head(id, Side::Response, count, end_of_stream, now);
        self.noted(id, now, step)
    }

    /// Shows a chunk of the request's body to the guest, with all that is held before it.
    ///
    /// # Errors
    /// When the guest breaks off; the bytes can still be taken.
    pub fn on_request_body(
        &mut self,
        id: StreamId,
        chunk: Bytes,
        end_of_stream: bool,
        now: Now,
    ) -> Result<Step, Trap> {
        self.on_body(id, Side::Request, chunk, end_of_stream, now)
    }

    /// Shows a chunk of the response's body to the guest, with all that is held before it.
    ///
    /// # Errors
    /// When the guest breaks off; the bytes can still be taken.
    pub fn on_response_body(
        &mut self,
        id: StreamId,
        chunk: Bytes,
        end_of_stream: bool,
        now: Now,
    ) -> Result<Step, Trap> {
        self.on_body(id, Side::Response, chunk, end_of_stream, now)
    }

    /// Shows the request's trailers to the guest.
    ///
    /// # Errors
    /// When the guest breaks off; the trailers can still be taken.
    pub fn on_request_trailers(&mut self, id: StreamId, trailers: HeaderMap, now: Now) -> Result<Step, Trap> {
        self.on_trailers(id, Side::Request, trailers, now)
    }

    /// Shows the response's trailers to the guest.
    ///
    /// # Errors
    /// When the guest breaks off; the trailers can still be taken.
    pub fn on_response_trailers(
        &mut self,
        id: StreamId,
        trailers: HeaderMap,
        now: Now,
    ) -> Result<Step, Trap> {
        self.on_trailers(id, Side::Response, trailers, now)
    }

    /// Whether the guest has said that it has nothing more to do with this request.
    #[must_use]
    pub fn has_left(&self, id: StreamId) -> bool {
        self.store.data().streams.get(id.0).is_some_and(|stream| stream.left)
    }

    /// Bytes of the request's body that are held.
    #[must_use]
    pub fn buffered_request_body(&self, id: StreamId) -> usize {
        self.store.data().streams.get(id.0).map_or(0, |stream| stream.request.held())
    }

    /// Bytes of the response's body that are held.
    #[must_use]
    pub fn buffered_response_body(&self, id: StreamId) -> usize {
        self.store.data().streams.get(id.0).map_or(0, |stream| stream.response.held())
    }

    /// Tells which server the request goes to, for guests that ask.
    pub fn set_upstream(&mut self, id: StreamId, name: Option<Rc<str>>, address: Option<SocketAddr>) {
        if let Some(stream) = self.store.data_mut().streams.get_mut(id.0) {
            let info = Rc::make_mut(&mut stream.info);
            info.upstream = name;
            info.upstream_address = address;
        }
    }

    /// Lets the guest log a request that is over; [`Instance::close_stream`] then does not do it again. For
    /// requests that several instances have seen: all of them log before the first one forgets.
    pub fn log_stream(&mut self, id: StreamId, now: Now) {
        let Some(stream) = self.store.data_mut().streams.get_mut(id.0) else { return };
        stream.closing = true;
        // Connections log when they are done.
        if stream.announced && !stream.of_bytes && self.poisoned.is_none() {
            // A trap is kept in `poisoned`.
            let _ = self.log(id, now);
        }
    }

    /// The callback for the log, once.
    pub(super) fn log(&mut self, id: StreamId, now: Now) -> Result<(), Trap> {
        if self.exports.log.is_none() || std::mem::replace(&mut self.stream_mut(id)?.logged, true) {
            return Ok(());
        }
        self.call(id, now, |exports, store| exports.log.as_ref().map_or(Ok(()), |log| log.call(store, id.0)))
    }

    /// Tells the guest that the stream is done, as far as it wants to know.
    pub(super) fn done(&mut self, id: StreamId, now: Now) -> Result<(), Trap> {
        if self.exports.done.is_none() {
            return Ok(());
        }
        let done = self.call(id, now, |exports, store| {
            exports.done.as_ref().map_or(Ok(0), |done| done.call(store, id.0))
        });
        done.map(drop)
    }

    /// Tells the guest to forget the stream.
    pub(super) fn forget(&mut self, id: StreamId, now: Now) -> Result<(), Trap> {
        if self.exports.delete.is_none() {
            return Ok(());
        }
        self.call(id, now, |exports, store| {
            exports.delete.as_ref().map_or(Ok(()), |delete| delete.call(store, id.0))
        })
    }

    /// Ends a stream: the guest logs, is told that it is done, and forgets it. Never fails: a trap
    /// poisons the instance.
    pub fn close_stream(&mut self, id: StreamId, now: Now) {
        let Some(stream) = self.store.data_mut().streams.get_mut(id.0) else { return };
        stream.closing = true;
        let (of_bytes, taped) = (stream.of_bytes, stream.tape.is_some());
        stream.note(now, || Event::Closed);
        if stream.announced && self.poisoned.is_none() {
            // A trap is kept in `poisoned`.
            let _ = if of_bytes { self.end_connection(id, now) } else { self.end(id, now) };
        }
        if taped {
            self.keep_tape(id, now);
        }
        let state = self.store.data_mut();
        state.close(id.0);
        state.tell();
    }

    /// All three at once, unless one of them is looked at by itself.
    pub(super) fn end(&mut self, id: StreamId, now: Now) -> Result<(), Trap> {
        let Exports { log, done, delete, .. } = &self.exports;
        let all = log.is_some() && done.is_some() && delete.is_some();
        let state = self.store.data_mut();
        let stream = state.streams.get_mut(id.0).ok_or_else(|| unknown(id))?;
        if !all || stream.logged || !state.measured.enter_together(state.phase, 3) {
            return self.end_one_by_one(id, now);
        }
        stream.logged = true;
        let before = Before::of(stream);
        self.run((id, before), now, |Guest { exports, chain }, store, time| {
            let Exports { log: Some(log), done: Some(done), delete: Some(delete), .. } = exports else {
                return Ok(());
            };
            let passed = match chain {
                Some(chain) => chain.end(store, id.0)?,
                None => log.call(&mut *store, id.0).map(|()| 1)?,
            };
            if passed < 2 {
                time.proceed(store, id);
                done.call(&mut *store, id.0)?;
            }
            if passed < 3 {
                time.proceed(store, id);
                delete.call(store, id.0)?;
            }
            Ok(())
        })
    }

    fn end_one_by_one(&mut self, id: StreamId, now: Now) -> Result<(), Trap> {
        self.log(id, now)?;
        self.done(id, now)?;
        self.forget(id, now)
    }

    fn show_head(&mut self, id: StreamId, side: Side, count: u32, end: bool, now: Now) -> Result<Step, Trap> {
        let state = self.store.data_mut();
        let stream = state.streams.get_mut(id.0).ok_or_else(|| unknown(id))?;
        if on_head(&self.exports, side).is_none() || stream.left {
            // The guest is told of every request, as its other callbacks name it.
            if !stream.left && self.meets(id)? {
                self.announce(id, now)?;
            }
            return self.unasked(id, side);
        }
        if let Some(trap) = &self.poisoned {
            return Err(trap.clone());
        }
        let announces = stream.meets() && self.exports.context_create.is_some();
        stream.flow_mut(side).turn_to(Part::Head);
        let mut before = Before::of(stream);
        let together = announces && state.measured.enter_together(state.phase, 2);
        if announces && !together {
            self.announce(id, now)?;
            before = Before::of(self.stream_mut(id)?);
        }
        if !together {
            self.store.data_mut().enter();
        }
        let action = self.run((id, before), now, |Guest { exports, chain }, store, time| {
            if together {
                let told = match (chain, &exports.context_create) {
                    (Some(chain), _) if side == Side::Request => {
                        chain.begin(store, (id.0, ROOT), (count, end))?
                    }
                    (_, Some(create)) => create.call(&mut *store, (id.0, ROOT)).map(|()| None)?,
                    (_, None) => None,
                };
                if let Some(action) = told {
                    return Ok(action);
                }
                time.proceed(store, id);
            }
            match on_head(exports, side) {
                Some(function) => function.call(store, id.0, count, end),
                None => Ok(0),
            }
        })?;
        Ok(self.after_head(id, side, action))
    }

    fn on_body(&mut self, id: StreamId, side: Side, chunk: Bytes, end: bool, now: Now) -> Result<Step, Trap> {
        let stream = self.stream_mut(id)?;
        stream.note_body(now, side, &chunk, end);
        let step = self.show_body(id, side, chunk, end, now);
        self.noted(id, now, step)
    }

    fn show_body(
        &mut self,
        id: StreamId,
        side: Side,
        chunk: Bytes,
        end: bool,
        now: Now,
    ) -> Result<Step, Trap> {
        let stream = self.stream_mut(id)?;
        let ended = stream.ended && side == Side::Request;
        let flow = stream.flow_mut(side);
        flow.received += chunk.len() as u64;
        if ended {
            return Ok(Step::Wait);
        }
        let before = flow.body.len();
        flow.body.push(chunk);
        let size = count(flow.body.len());
        let shown = Shown { id, side, part: Part::Body { end } };
        match self.ask(shown, now, (id.0, size, u32::from(end)), on_body)? {
            Some(action) => Ok(self.after_body(id, side, action, before)),
            None => self.unasked(id, side),
        }
    }

    fn on_trailers(&mut self, id: StreamId, side: Side, trailers: HeaderMap, now: Now) -> Result<Step, Trap> {
        let stream = self.stream_mut(id)?;
        stream.note(now, || Event::Trailers { side: side.into(), headers: fields(&trailers) });
        let step = self.show_trailers(id, side, trailers, now);
        self.noted(id, now, step)
    }

    fn show_trailers(
        &mut self,
        id: StreamId,
        side: Side,
        trailers: HeaderMap,
        now: Now,
    ) -> Result<Step, Trap> {
        let stream = self.stream_mut(id)?;
        let ended = stream.ended && side == Side::Request;
        let flow = stream.flow_mut(side);
        let (hold, fields) = (flow.hold, count(trailers.len()));
        flow.trailers = Some(trailers);
        if ended {
            return self.unasked(id, side);
        }
        match self.ask(Shown { id, side, part: Part::Trailers }, now, (id.0, fields), on_trailers)? {
            Some(action) => Ok(self.after_trailers(id, side, action, hold)),
            None => self.unasked(id, side),
        }
    }

    /// Shows the guest a part of a side, by the callback that `find` finds; none: it has no such callback, or must not
    /// see it now.
    pub(super) fn ask<P: WasmParams>(
        &mut self,
        Shown { id, side, part }: Shown,
        now: Now,
        params: P,
        find: fn(&Exports, Side) -> Option<&Callback<P, u32>>,
    ) -> Result<Option<u32>, Trap> {
        let hold = self.stream_mut(id)?.flow(side).hold;
        let hidden = matches!(hold, Hold::All | Hold::Stopped);
        if find(&self.exports, side).is_none() || hidden || self.has_left(id) {
            return Ok(None);
        }
        self.enter(id, side, part, now)?;
        let action = self.call(id, now, |exports, store| match find(exports, side) {
            Some(function) => function.call(store, params),
            None => Ok(0),
        });
        action.map(Some)
    }

    /// The step for a part that the guest has no callback for, or must not see now.
    pub(super) fn unasked(&mut self, id: StreamId, side: Side) -> Result<Step, Trap> {
        if let Some(trap) = &self.poisoned {
            return Err(trap.clone());
        }
        let stream = self.stream_mut(id)?;
        let held = stream.ended && side == Side::Request || stream.flow(side).hold != Hold::None;
        Ok(if held { Step::Wait } else { Step::Continue })
    }

    /// Before a callback: an instance that works, a guest that knows the stream, and a note of
    /// what it is shown.
    pub(super) fn enter(&mut self, id: StreamId, side: Side, part: Part, now: Now) -> Result<(), Trap> {
        if self.turn_to(id, side, part)? { self.announce(id, now) } else { Ok(()) }
    }

    /// As [`Instance::enter`], but for the guest that is still to be told of the stream: whether it is.
    #[inline]
    fn turn_to(&mut self, id: StreamId, side: Side, part: Part) -> Result<bool, Trap> {
        let announces = self.meets(id)?;
        self.stream_mut(id)?.flow_mut(side).turn_to(part);
        Ok(announces)
    }

    /// Before the guest is called about a stream, if it works: whether it is still to be told of it.
    #[inline]
    fn meets(&mut self, id: StreamId) -> Result<bool, Trap> {
        if let Some(trap) = &self.poisoned {
            return Err(trap.clone());
        }
        let is_new = self.stream_mut(id)?.meets();
        Ok(is_new && self.exports.context_create.is_some())
    }

    /// Tells the guest of the stream.
    fn announce(&mut self, id: StreamId, now: Now) -> Result<(), Trap> {
        self.call(id, now, |exports, store| {
            exports.context_create.as_ref().map_or(Ok(()), |create| create.call(store, (id.0, ROOT)))
        })
    }

    #[inline]
    pub(super) fn after_head(&mut self, id: StreamId, side: Side, action: u32) -> Step {
        if Action::of_headers(action) == Action::Continue {
            return settle(self.store.data_mut(), id, side, |_| Hold::None);
        }
        self.after_other(id, side, action)
    }

    /// After a head that does not simply go on.
    fn after_other(&mut self, id: StreamId, side: Side, action: u32) -> Step {
        let stops = self.plugin.spec.on_headers_pause == HeadersPause::StopAll;
        let state = self.store.data_mut();
        let woken = state.may_be_woken();
        let calls = state.streams.get(id.0).map_or(0, |stream| stream.calls);
        let exact = self.plugin.module().traits().exact;
        settle(state, id, side, |_| match Action::of_headers(action) {
            Action::PauseAll => Hold::Stopped,
            Action::Pause if exact => Hold::Parts,
            Action::Pause if stops => Hold::Stopped,
            // A body must not overtake the answer that decides about its head.
            Action::Pause if calls > 0 => Hold::All,
            Action::Pause if woken => Hold::Offered,
            // With nothing else to wait for, it can only be the body.
            Action::Pause => Hold::Parts,
            _ => Hold::None,
        })
    }

    pub(super) fn after_body(&mut self, id: StreamId, side: Side, action: u32, before: usize) -> Step {
        let exact = self.plugin.module().traits().exact;
        let state = self.store.data_mut();
        let woken = state.may_be_woken();
        settle(state, id, side, |flow| match Action::of_body(action) {
            Action::Continue if woken && flow.hold == Hold::Offered && !flow.touched => Hold::All,
            Action::Continue => Hold::None,
            Action::ContinueAndEndStream => {
                flow.put_aside();
                Hold::Parts
            }
            Action::PauseUnfed if exact => Hold::Stopped,
            Action::PauseAll | Action::PauseUnfed => {
                flow.body.truncate(before);
                Hold::Parts
            }
            Action::Pause => Hold::Parts,
        })
    }

    /// Guests answer `Continue` for trailers by default, so that alone sets nothing free that waits
    /// for something else.
    fn after_trailers(&mut self, id: StreamId, side: Side, action: u32, before: Hold) -> Step {
        let state = self.store.data_mut();
        let woken = state.may_be_woken();
        let calls = state.streams.get(id.0).map_or(0, |stream| stream.calls);
        let exact = self.plugin.module().traits().exact;
        settle(state, id, side, |flow| match Action::of_trailers(action) {
            Action::Continue if before == Hold::None || !woken || exact => Hold::None,
            Action::Continue if calls == 0 && flow.touched => Hold::None,
            _ => Hold::All,
        })
    }

    #[inline]
    pub(super) fn stream_mut(&mut self, id: StreamId) -> Result<&mut Stream, Trap> {
        self.store.data_mut().streams.get_mut(id.0).ok_or_else(|| unknown(id))
    }
}

#[cold]
pub(super) fn unknown(id: StreamId) -> Trap {
    Trap::Trapped { message: format!("there is no stream {id}").into(), backtrace: "".into() }
}

/// What a guest is shown.
#[derive(Clone, Copy)]
pub(super) struct Shown {
    pub(super) id: StreamId,
    pub(super) side: Side,
    pub(super) part: Part,
}

/// The callback for a side's body.
fn on_body(exports: &Exports, side: Side) -> Option<&Callback<(u32, u32, u32), u32>> {
    match side {
        Side::Request => exports.request_body.as_ref(),
        Side::Response => exports.response_body.as_ref(),
    }
}

/// The callback for a side's trailers.
fn on_trailers(exports: &Exports, side: Side) -> Option<&Callback<(u32, u32), u32>> {
    match side {
        Side::Request => exports.request_trailers.as_ref(),
        Side::Response => exports.response_trailers.as_ref(),
    }
}

/// The callback for a side's head.
fn on_head(exports: &Exports, side: Side) -> Option<&OnHeaders> {
    match side {
        Side::Request => exports.request_headers.as_ref(),
        Side::Response => exports.response_headers.as_ref(),
    }
}

/// Notes what is held now, as `hold` decides, and says it as a step.
pub(super) fn settle(
    state: &mut State,
    id: StreamId,
    side: Side,
    hold: impl FnOnce(&mut Flow) -> Hold,
) -> Step {
    let Some(stream) = state.streams.get_mut(id.0) else { return Step::Wait };
    let flow = stream.flow_mut(side);
    let cut = std::mem::replace(&mut flow.cut, Cut::No);
    if cut != Cut::No {
        // The answer begins anew; a guest that would answer its own answer must not hold it.
        flow.settle(Hold::None);
        return if cut == Cut::Ended { Step::Wait } else { Step::Continue };
    }
    let hold = hold(flow);
    flow.settle(hold);
    match hold {
        Hold::None => Step::Continue,
        Hold::Parts | Hold::Offered => Step::Pause,
        Hold::All | Hold::Stopped => Step::Wait,
    }
}

pub(super) fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
