//! What an instance does for one connection of bytes, in wire order: it opens, bytes come from both sides, both close,
//! the end.
//!
//! A connection is a stream whose request side carries what the client sends and whose response side what the server
//! sends. The limit of time is for each call: a connection may live for days.

use super::Instance;
use super::streams::{Shown, count, settle};
use crate::{
    Now, Side, Step, StreamId, StreamInfo, Trap,
    abi::exports::{Callback, Exports},
    budget::Used,
    stream::{Hold, Part},
    tape::{Content, Event},
};
use bytes::Bytes;
use std::net::SocketAddr;
use std::rc::Rc;
use tidegate_abi::{Action, Peer};

impl Instance {
    /// Tells of a connection; its first callback is [`Instance::on_new_connection`].
    pub fn open_connection(&mut self, info: impl Into<Rc<StreamInfo>>, now: Now) -> StreamId {
        let id = self.open_stream(info, now);
        if let Some(stream) = self.store.data_mut().streams.get_mut(id.0) {
            stream.of_bytes = true;
        }
        id
    }

    /// Shows a connection to the guest before anything is done with it. After [`Step::Pause`] bytes of the client may
    /// be shown to it, after [`Step::Wait`] only once an effect names the stream.
    ///
    /// # Errors
    /// When the guest breaks off.
    pub fn on_new_connection(&mut self, id: StreamId, now: Now) -> Result<Step, Trap> {
        self.stream_mut(id)?.note(now, || Event::Connected);
        let step = self.show_connection(id, now);
        self.noted(id, now, step)
    }

    fn show_connection(&mut self, id: StreamId, now: Now) -> Result<Step, Trap> {
        self.renew(id)?;
        if self.exports.new_connection.is_none() {
            // The guest is told of every connection, as its other callbacks name it.
            self.enter(id, Side::Request, Part::Idle, now)?;
            return self.unasked(id, Side::Request);
        }
        self.enter(id, Side::Request, Part::Head, now)?;
        let action = self.call(id, now, |exports, store| match &exports.new_connection {
            Some(function) => function.call(store, id.0),
            None => Ok(0),
        })?;
        let state = self.store.data_mut();
        let woken = state.may_be_woken();
        Ok(settle(state, id, Side::Request, |_| match Action::of_connection(action) {
            Action::Continue => Hold::None,
            // With nothing else to wait for, it can only be the client's bytes.
            _ if woken => Hold::All,
            _ => Hold::Parts,
        }))
    }

    /// Shows bytes of the client to the guest, with all that is held before them.
    ///
    /// # Errors
    /// When the guest breaks off; the bytes can still be taken.
    pub fn on_downstream_data(
        &mut self,
        id: StreamId,
        chunk: Bytes,
        end_of_stream: bool,
        now: Now,
    ) -> Result<Step, Trap> {
        self.on_data(id, Side::Request, chunk, end_of_stream, now)
    }

    /// Shows bytes of the server to the guest, with all that is held before them.
    ///
    /// # Errors
    /// When the guest breaks off; the bytes can still be taken.
    pub fn on_upstream_data(
        &mut self,
        id: StreamId,
        chunk: Bytes,
        end_of_stream: bool,
        now: Now,
    ) -> Result<Step, Trap> {
        self.on_data(id, Side::Response, chunk, end_of_stream, now)
    }

    /// What is to go on of a side's bytes; empty if nothing is.
    pub fn take_data(&mut self, id: StreamId, side: Side) -> Bytes {
        match side {
            Side::Request => self.take_request_body(id),
            Side::Response => self.take_response_body(id),
        }
    }

    /// Bytes of a side that are held.
    #[must_use]
    pub fn buffered_data(&self, id: StreamId, side: Side) -> usize {
        match side {
            Side::Request => self.buffered_request_body(id),
            Side::Response => self.buffered_response_body(id),
        }
    }

    /// Tells the guest that the client's connection is closed, and by whom.
    ///
    /// # Errors
    /// When the guest breaks off.
    pub fn on_downstream_close(&mut self, id: StreamId, by: Peer, now: Now) -> Result<(), Trap> {
        self.on_close(id, Side::Request, by, now)
    }

    /// Tells the guest that the server's connection is closed, and by whom.
    ///
    /// # Errors
    /// When the guest breaks off.
    pub fn on_upstream_close(&mut self, id: StreamId, by: Peer, now: Now) -> Result<(), Trap> {
        self.on_close(id, Side::Response, by, now)
    }

    /// Tells which server the connection goes to, for guests that ask.
    pub fn set_server(&mut self, id: StreamId, upstream: Rc<str>, address: SocketAddr) {
        self.set_upstream(id, Some(upstream), Some(address));
    }

    /// Tells why the connection ends, for guests that ask.
    pub fn set_end(&mut self, id: StreamId, why: &str) {
        if let Some(stream) = self.store.data_mut().streams.get_mut(id.0) {
            stream.details = Some(why.to_owned());
        }
    }

    /// The end of a connection: the guest is told that it is done, logs, and forgets it.
    pub(super) fn end_connection(&mut self, id: StreamId, now: Now) -> Result<(), Trap> {
        self.renew(id)?;
        self.done(id, now)?;
        self.log(id, now)?;
        self.forget(id, now)
    }

    fn on_data(&mut self, id: StreamId, side: Side, chunk: Bytes, end: bool, now: Now) -> Result<Step, Trap> {
        let stream = self.stream_mut(id)?;
        stream.note(now, || Event::Data { side: side.into(), body: Content::of(&chunk), end });
        let step = self.show_data(id, side, chunk, end, now);
        self.noted(id, now, step)
    }

    fn show_data(
        &mut self,
        id: StreamId,
        side: Side,
        chunk: Bytes,
        end: bool,
        now: Now,
    ) -> Result<Step, Trap> {
        self.renew(id)?;
        let stream = self.stream_mut(id)?;
        let ended = stream.ended;
        let flow = stream.flow_mut(side);
        flow.received += chunk.len() as u64;
        if ended {
            return Ok(Step::Wait);
        }
        flow.body.push(chunk);
        let size = count(flow.body.len());
        let shown = Shown { id, side, part: Part::Body { end } };
        let Some(action) = self.ask(shown, now, (id.0, size, u32::from(end)), on_data)? else {
            return self.unasked(id, side);
        };
        let state = self.store.data_mut();
        Ok(settle(state, id, side, |_| match Action::of_connection(action) {
            Action::Continue => Hold::None,
            _ => Hold::Parts,
        }))
    }

    fn on_close(&mut self, id: StreamId, side: Side, by: Peer, now: Now) -> Result<(), Trap> {
        self.stream_mut(id)?.note(now, || Event::SideClosed { side: side.into(), by: by.number() });
        self.renew(id)?;
        let announced = self.stream_mut(id)?.announced;
        if on_closed(&self.exports, side).is_none() || !announced {
            return Ok(());
        }
        self.call(id, now, |exports, store| match on_closed(exports, side) {
            Some(function) => function.call(store, (id.0, by.number())),
            None => Ok(()),
        })
    }

    /// Before each callback: an instance that works, and all that one call may use.
    fn renew(&mut self, id: StreamId) -> Result<(), Trap> {
        if let Some(trap) = &self.poisoned {
            return Err(trap.clone());
        }
        let stream = self.stream_mut(id)?;
        stream.spent = 0;
        stream.used = Used::default();
        Ok(())
    }
}

/// The callback for bytes of a side.
fn on_data(exports: &Exports, side: Side) -> Option<&Callback<(u32, u32, u32), u32>> {
    match side {
        Side::Request => exports.downstream_data.as_ref(),
        Side::Response => exports.upstream_data.as_ref(),
    }
}

/// The callback for a side that is closed.
fn on_closed(exports: &Exports, side: Side) -> Option<&Callback<(u32, u32), ()>> {
    match side {
        Side::Request => exports.downstream_close.as_ref(),
        Side::Response => exports.upstream_close.as_ref(),
    }
}
