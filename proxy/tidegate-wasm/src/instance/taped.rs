//! Notes of what happens to streams that have a tape.

use super::Instance;
use crate::{
    CallResponse, Effect, Now, Side, Step, StreamId, Trap,
    state::State,
    stream::Stream,
    tape::{Content, Event, Tape, fields, request_fields, response_fields},
};
use bytes::Bytes;
use tidegate_abi::Status;

impl Instance {
    /// From now on everything about a stream is noted, up to `room` bytes.
    pub fn tape(&mut self, id: StreamId, room: usize) {
        let state = self.store.data_mut();
        if let Some(stream) = state.streams.get_mut(id.0) {
            let before =
                stream.tape.replace(Box::new(Tape::new(&stream.info, stream.of_bytes, stream.opened, room)));
            state.tapes += usize::from(before.is_none());
        }
    }

    /// As [`Instance::tape`], but bodies are counted only.
    pub fn tape_briefly(&mut self, id: StreamId, room: usize) {
        self.tape(id, room);
        let stream = self.store.data_mut().streams.get_mut(id.0);
        if let Some(tape) = stream.and_then(|stream| stream.tape.as_mut()) {
            tape.be_brief();
        }
    }

    /// The notes so far.
    #[must_use]
    pub fn taped(&self, id: StreamId) -> Option<&Tape> {
        self.store.data().streams.get(id.0)?.tape.as_deref()
    }

    /// The notes; nothing more is noted. After the stream was closed they are still here, until the next one is.
    pub fn take_tape(&mut self, id: StreamId) -> Option<Tape> {
        let state = self.store.data_mut();
        let open = state.streams.get_mut(id.0).and_then(|stream| stream.tape.take());
        state.tapes -= usize::from(open.is_some());
        let tape =
            open.or_else(|| state.closed_tape.take_if(|(closed, _)| *closed == id.0).map(|(_, tape)| tape));
        tape.map(|tape| *tape)
    }

    /// Notes what became of an event, if the stream has a tape.
    pub(super) fn noted(&mut self, id: StreamId, now: Now, step: Result<Step, Trap>) -> Result<Step, Trap> {
        if self.store.data().tapes > 0
            && let Some(stream) = self.store.data_mut().streams.get_mut(id.0)
            && let Some(tape) = &mut stream.tape
        {
            match &step {
                Ok(step) => tape.note_step(stream.opened, now, *step),
                Err(trap) => tape.note(stream.opened, now, Event::Trap { message: trap.to_string() }),
            }
        }
        step
    }

    /// Notes an effect that is handed out.
    #[cold]
    pub(super) fn note_effect(&mut self, effect: &Effect) {
        let state = self.store.data_mut();
        let now = state.now();
        let Some(id) = effect.stream() else { return };
        if let Some(stream) = state.streams.get_mut(id.0)
            && let Some(tape) = &mut stream.tape
        {
            tape.note_effect(stream.opened, now, effect);
        }
    }

    /// The stream is over: what was asked for in its last callbacks is noted, and the tape kept until the next one is.
    #[cold]
    pub(super) fn keep_tape(&mut self, id: StreamId, now: Now) {
        let state = self.store.data_mut();
        let Some(stream) = state.streams.get_mut(id.0) else { return };
        let Some(mut tape) = stream.tape.take() else { return };
        state.tapes -= 1;
        for effect in state.effects.iter().filter(|effect| effect.stream() == Some(id)) {
            tape.note_effect(stream.opened, now, effect);
        }
        state.closed_tape = Some((id.0, tape));
    }

    /// Notes the answer to a call of a stream that has a tape.
    #[cold]
    pub(super) fn note_answer(&mut self, token: u32, response: Option<&CallResponse>, now: Now) {
        self.store.data_mut().note_call(token, now, |tape, call| Event::Answer {
            call,
            headers: response.map(|response| response_fields(&response.head)),
            body: tape.content(response.map_or(&[][..], |response| &response.body)),
            trailers: response.map(|response| fields(&response.trailers)).unwrap_or_default(),
        });
    }

    /// Notes the result of a foreign call of a stream that has a tape.
    #[cold]
    pub(super) fn note_foreign(&mut self, token: u32, result: &Result<Bytes, (Status, String)>, now: Now) {
        let (status, message) = match result {
            Ok(_) => (Status::Ok, String::new()),
            Err((status, message)) => (*status, message.clone()),
        };
        let event = |tape: &Tape, call| {
            let body = tape.content(result.as_deref().unwrap_or_default());
            Event::ForeignResult { call, status: status.number(), message, body }
        };
        self.store.data_mut().note_call(token, now, event);
    }

    /// Notes what comes back on a gRPC call that is not over, if it is one of a stream that has a tape.
    #[inline]
    pub(super) fn note_grpc(&mut self, token: u32, now: Now, event: impl FnOnce(&Tape, usize) -> Event) {
        let state = self.store.data_mut();
        if state.tapes > 0 && state.grpc.find(token).is_some() {
            state.note_call(token, now, event);
        }
    }
}

impl State {
    /// Notes something about a call of a stream that has a tape; the event is given the number of the call.
    #[cold]
    pub(crate) fn note_call(&mut self, token: u32, now: Now, event: impl FnOnce(&Tape, usize) -> Event) {
        for stream in self.streams.iter_mut() {
            let Some(tape) = &mut stream.tape else { continue };
            if let Some(call) = tape.call(token) {
                let event = event(tape, call);
                return tape.note(stream.opened, now, event);
            }
        }
    }
}

impl Stream {
    /// Notes something, if there is a tape.
    #[inline]
    pub(crate) fn note(&mut self, now: Now, event: impl FnOnce() -> Event) {
        if let Some(tape) = &mut self.tape {
            tape.note(self.opened, now, event());
        }
    }

    /// Notes the request's head, all of it.
    #[cold]
    pub(crate) fn note_request(&mut self, now: Now, end: bool) {
        self.complete_head();
        if let Some(headers) = self.request_head.as_ref().map(|head| request_fields(head)) {
            self.note(now, || Event::RequestHeaders { headers, end });
        }
    }

    /// Notes a piece of a body that the guest is shown, if there is a tape.
    #[inline]
    pub(crate) fn note_body(&mut self, now: Now, side: Side, chunk: &[u8], end: bool) {
        if let Some(tape) = &mut self.tape
            && !tape.counts_told(side, chunk.len())
        {
            self.note(now, || Event::Body { side: side.into(), body: Content::of(chunk), end });
        }
    }

    /// Notes what goes on of a body, if there is a tape.
    #[inline]
    pub(crate) fn note_left(&mut self, now: Now, side: Side, body: &[u8]) {
        if let Some(tape) = &mut self.tape
            && !body.is_empty()
            && !tape.counts_left(side, body.len())
        {
            self.note(now, || Event::BodyLeft { side: side.into(), body: Content::of(body) });
        }
    }

    /// Notes trailers that go on, if there is a tape.
    #[inline]
    pub(crate) fn note_trailers(&mut self, now: Now, side: Side, trailers: &http::HeaderMap) {
        self.note(now, || Event::TrailersLeft { side: side.into(), headers: fields(trailers) });
    }
}
