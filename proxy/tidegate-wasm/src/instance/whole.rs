//! Answers whose body is all here: where the guest lets the head go at once, the body follows in the same call.

use super::{
    Instance,
    run::Guest,
    streams::{count, unknown},
};
use crate::{
    Now, Side, Step, StreamId, Trap,
    stream::{Cut, Hold, Part, Stream, fields::keep_response},
};
use bytes::Bytes;
use http::response;
use tidegate_abi::Action;

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
        let able = self.poisoned.is_none()
            && self.exports.response_headers.is_some()
            && self.exports.response_body.is_some();
        if !able || !self.stream_mut(id)?.is_plain() || !self.store.data_mut().enter_together(1) {
            return match head.take() {
                Some(head) => self.on_response_headers(id, head, false, now).map(Whole::Head),
                None => Err(unknown(id)),
            };
        }
        match self.show_both(id, head, body, now)? {
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

    fn show_both(
        &mut self,
        id: StreamId,
        head: &mut Option<response::Parts>,
        body: &mut Bytes,
        now: Now,
    ) -> Result<Left, Trap> {
        let keep = self.plugin.module().traits().reads_fields;
        let (fields, size) =
            (head.as_ref().map_or(0, |head| count(head.headers.len() + 1)), count(body.len()));
        let stream = self.stream_mut(id)?;
        stream.response.part = Part::Head;
        stream.response.touched = false;
        stream.response_head = head.take();
        stream.anew = stream.ended;
        self.run(id, now, |Guest { exports, .. }, store, time| {
            let action = match &exports.response_headers {
                Some(function) => function.call(&mut *store, id.0, fields, false)?,
                None => 0,
            };
            let state = store.data_mut();
            let goes = Action::of_headers(action) == Action::Continue && state.effects.is_empty();
            if !goes || !state.enter_together(1) {
                return Ok(Left::Head(action));
            }
            match state.streams.get_mut(id.0) {
                Some(stream) if stream.response.cut == Cut::No => {
                    stream.lets_head_go(keep);
                    *head = stream.response_head.take();
                    stream.response.received += body.len() as u64;
                    stream.response.part = Part::Body { end: true };
                    stream.response.touched = false;
                    stream.response.body.push(std::mem::take(body));
                }
                _ => return Ok(Left::Head(action)),
            }
            time.proceed(store, id);
            match &exports.response_body {
                Some(function) => function.call(store, (id.0, size, 1)).map(Left::Body),
                None => Ok(Left::Body(0)),
            }
        })
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
        self.response.settle(Hold::None);
    }
}
