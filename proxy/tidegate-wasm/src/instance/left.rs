//! What goes on of a stream: heads, bodies and trailers as the guest left them.

use super::Instance;
use crate::{
    Side, StreamId,
    stream::fields::{keep_response, keep_trailers},
    tape::{Event, request_fields, response_fields},
};
use bytes::Bytes;
use http::{HeaderMap, request, response};
use std::convert::Infallible;
use std::rc::Rc;

/// What a guest has made of a request's head.
#[derive(Debug)]
pub struct LeftHead {
    /// The head.
    pub head: Rc<request::Parts>,
    /// The guest has written to it.
    pub changed: bool,
    /// It has written the target, the method or the host.
    pub turned: bool,
    /// The rule is not to be chosen again for that.
    pub stays: bool,
    /// The fields of [`Pending`](crate::Pending) are not in it.
    pub pending: bool,
}

impl Instance {
    /// The request's head, as the guest left it; to be taken after [`Step::Continue`](crate::Step::Continue), a resume or
    /// a trap. For a guest that reads it later it is shared: whoever changes it from here on makes a copy.
    pub fn take_request_head(&mut self, id: StreamId) -> Option<Rc<request::Parts>> {
        self.store.data_mut().streams.get_mut(id.0)?.complete_head();
        self.leave_request_head(id, |_| Ok::<(), Infallible>(())).ok().flatten().map(|left| left.head)
    }

    /// As [`Instance::take_request_head`]; a head whose target, method or host the guest has written is given to `mend`
    /// before.
    ///
    /// # Errors
    /// Those of `mend`.
    pub fn leave_request_head<E>(
        &mut self,
        id: StreamId,
        mend: impl FnOnce(&mut request::Parts) -> Result<(), E>,
    ) -> Result<Option<LeftHead>, E> {
        let traits = self.plugin.module().traits();
        let keep = (traits.reads_fields || traits.logs) && self.poisoned.is_none();
        let state = self.store.data_mut();
        let told = state.now();
        let Some(stream) = state.streams.get_mut(id.0) else { return Ok(None) };
        let Some(mut head) = stream.request_head.take() else { return Ok(None) };
        let (changed, turned) = (std::mem::take(&mut stream.changed), std::mem::take(&mut stream.turned));
        if stream.tape.is_some() {
            stream.note(told, || Event::RequestLeft { headers: request_fields(&head) });
        }
        if turned {
            mend(Rc::make_mut(&mut head))?;
        }
        if keep {
            stream.request_gone = Some(head.clone());
        }
        Ok(Some(LeftHead { head, changed, turned, stays: stream.stays, pending: stream.pending.is_some() }))
    }

    /// The response's head, as the guest left it; to be taken after [`Step::Continue`](crate::Step::Continue), a resume or
    /// a trap.
    pub fn take_response_head(&mut self, id: StreamId) -> Option<response::Parts> {
        let keep = self.plugin.module().traits().reads_fields && self.poisoned.is_none();
        let told = self.store.data().now();
        let stream = self.store.data_mut().streams.get_mut(id.0)?;
        let head = stream.response_head.take()?;
        stream.note(told, || Event::ResponseLeft { headers: response_fields(&head) });
        if keep {
            keep_response(&head, &mut stream.response_kept);
        }
        Some(head)
    }

    /// What is to go on of the request's body; empty if nothing is.
    pub fn take_request_body(&mut self, id: StreamId) -> Bytes {
        self.take_body(id, Side::Request)
    }

    /// What is to go on of the response's body; empty if nothing is.
    pub fn take_response_body(&mut self, id: StreamId) -> Bytes {
        self.take_body(id, Side::Response)
    }

    /// What the guest puts into the response's body beside what it lets through, and whether nothing follows it.
    pub fn take_injected(&mut self, id: StreamId) -> Option<(Bytes, bool)> {
        let injected = self.store.data_mut().streams.get_mut(id.0)?.injected.as_mut()?;
        Some((injected.bytes.split().freeze(), injected.end))
    }

    /// The request's trailers: those that came, or those that the guest made at the end of the body.
    pub fn take_request_trailers(&mut self, id: StreamId) -> Option<HeaderMap> {
        self.take_trailers(id, Side::Request)
    }

    /// The response's trailers: those that came, or those that the guest made at the end of the body.
    pub fn take_response_trailers(&mut self, id: StreamId) -> Option<HeaderMap> {
        let keep = self.plugin.module().traits().reads_fields && self.poisoned.is_none();
        let trailers = self.take_trailers(id, Side::Response)?;
        if keep && let Some(stream) = self.store.data_mut().streams.get_mut(id.0) {
            keep_trailers(&trailers, &mut stream.trailers_kept);
        }
        Some(trailers)
    }

    fn take_trailers(&mut self, id: StreamId, side: Side) -> Option<HeaderMap> {
        let told = self.store.data().now();
        let stream = self.store.data_mut().streams.get_mut(id.0)?;
        let trailers = stream.flow_mut(side).trailers.take()?;
        stream.note_trailers(told, side, &trailers);
        Some(trailers)
    }

    fn take_body(&mut self, id: StreamId, side: Side) -> Bytes {
        let told = self.store.data().now();
        match self.store.data_mut().streams.get_mut(id.0) {
            Some(stream) => {
                let body = stream.flow_mut(side).take();
                stream.note_left(told, side, &body);
                body
            }
            None => Bytes::new(),
        }
    }
}
