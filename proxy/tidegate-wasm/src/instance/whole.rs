//! Answers whose body is all here: where the guest lets the head go at once, the body follows in the same call.

use super::{
    Instance,
    run::{Before, Guest, Time},
    streams::{count, unknown},
};
use crate::{
    Now, Side, Step, StreamId, Trap,
    abi::chain::Responded,
    state::State,
    stream::{Cut, Hold, Part, Stream, fields::keep_response},
};
use bytes::Bytes;
use http::response;
use tidegate_abi::Action;
use wasmtime::Store;

/// How far an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// Past the guest: it goes on as it is now.
    Passed,
    /// The guest has seen the head, which the instance has, and not the body.
    Head(Step),
    /// The head goes on. Of the body, which the guest has seen, the instance has what is left.
    Body(Step),
}

/// After which callback the guest was left.
enum Left {
    Head(u32),
    Body(u32),
    /// After the one for the body, and all goes on as it was.
    Passed,
}

impl Instance {
    /// Shows a response with a whole body to the guest: first its head, and its body if the guest lets the head go and
    /// wishes for nothing. Both are changed in their places, where there must be a head: to hand them in and out would
    /// copy them several times.
    ///
    /// # Errors
    /// When the guest breaks off; then the response is gone.
    pub fn on_whole_response(
        &mut self,
        id: StreamId,
        head: &mut Option<response::Parts>,
        body: &mut Bytes,
        now: Now,
    ) -> Result<Whole, Trap> {
        let keep = self.plugin.module().traits().reads_fields;
        let able = self.poisoned.is_none()
            && self.exports.response_headers.is_some()
            && self.exports.response_body.is_some();
        let state = self.store.data_mut();
        let stream = state.streams.get_mut(id.0).ok_or_else(|| unknown(id))?;
        if !able || !stream.is_plain() || !state.measured.enter_together(state.phase, 1) {
            return match head.take() {
                Some(head) => self.on_response_headers(id, head, false, now).map(Whole::Head),
                None => Err(unknown(id)),
            };
        }
        let parts = (head.as_ref().map_or(0, |head| count(head.headers.len() + 1)), count(body.len()));
        stream.response.turn_to(Part::Head);
        stream.response_head = head.take();
        stream.body_to_come = std::mem::take(body);
        stream.anew = stream.ended;
        let before = Before::of(stream);
        match self.run((id, before), now, show_both(id, parts, keep, head, body))? {
            Left::Passed => Ok(Whole::Passed),
            Left::Head(action) => Ok(Whole::Head(self.after_head(id, Side::Response, action))),
            Left::Body(action) => {
                let step = self.after_body(id, Side::Response, action, 0);
                let simple = step == Step::Continue && !self.has_effects();
                let flow = &mut self.stream_mut(id)?.response;
                if simple && flow.trailers.is_none() {
                    *body = flow.take();
                    return Ok(Whole::Passed);
                }
                Ok(Whole::Body(step))
            }
        }
    }
}

/// The two callbacks, for a head of so many fields and a body of so many bytes.
#[inline]
fn show_both(
    id: StreamId,
    (fields, size): (u32, u32),
    keep: bool,
    head: &mut Option<response::Parts>,
    body: &mut Bytes,
) -> impl FnOnce(Guest<'_>, &mut Store<State>, &mut Time) -> wasmtime::Result<Left> {
    move |Guest { exports, chain }, store, time| {
        let action = match chain.and_then(|chain| chain.respond(store, (id.0, fields, size))) {
            Some(responded) => match responded? {
                Responded::Body(action) => {
                    let state = store.data_mut();
                    state.entered_one();
                    let quiet = state.effects.is_empty() && Action::of_body(action) == Action::Continue;
                    let Some(stream) = state.streams.get_mut(id.0) else { return Ok(Left::Body(action)) };
                    if stream.head_gone.is_none() && quiet {
                        // Nothing has moved.
                        stream.lets_head_go(keep);
                        *head = stream.response_head.take();
                        *body = std::mem::take(&mut stream.body_to_come);
                        return Ok(Left::Passed);
                    }
                    stream.turn_to_body(keep);
                    *head = stream.head_gone.take();
                    return Ok(Left::Body(action));
                }
                Responded::Head(action) => action,
            },
            None => match &exports.response_headers {
                Some(function) => function.call(&mut *store, id.0, fields, false)?,
                None => 0,
            },
        };
        let state = store.data_mut();
        let goes = Action::of_headers(action) == Action::Continue && state.effects.is_empty();
        let Some(stream) = state.streams.get_mut(id.0) else { return Ok(Left::Head(action)) };
        let goes = goes && stream.response.cut == Cut::No;
        if !goes || !state.measured.enter_together(state.phase, 1) {
            *body = std::mem::take(&mut stream.body_to_come);
            return Ok(Left::Head(action));
        }
        stream.turn_to_body(keep);
        *head = stream.head_gone.take();
        time.proceed(store, id);
        match &exports.response_body {
            Some(function) => function.call(store, (id.0, size, 1)).map(Left::Body),
            None => Ok(Left::Body(0)),
        }
    }
}

impl Stream {
    /// Whether nothing is noted of it, held, or to be taken back.
    fn is_plain(&self) -> bool {
        let flow = &self.response;
        let free = flow.hold == Hold::None && flow.held() == 0 && flow.trailers.is_none();
        free && self.announced && !self.left && !self.survives && self.tape.is_none()
    }

    /// The response's head goes on after its callback.
    fn lets_head_go(&mut self, keep: bool) {
        if let Some(head) = self.response_head.as_ref().filter(|_| keep) {
            keep_response(head, &mut self.response_kept);
        }
        self.response.received += self.body_to_come.len() as u64;
        self.response.settle(Hold::None);
    }

    /// Likewise, and the body is before the guest; once.
    pub(crate) fn turn_to_body(&mut self, keep: bool) {
        if self.response_head.is_some() {
            self.lets_head_go(keep);
            self.head_gone = self.response_head.take();
            self.response.turn_to(Part::Body { end: true });
            self.response.body.push(std::mem::take(&mut self.body_to_come));
        }
    }
}
