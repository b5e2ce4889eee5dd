//! For plugins that only log: a request or a connection is shown to them when it is over, whatever became of it.

use super::Instance;
use crate::{
    Now, StreamInfo, Trap,
    stream::fields::{keep_response, keep_trailers},
    stream::table::ROOT,
};
use http::{HeaderMap, request, response};
use std::rc::Rc;

/// What is known of a request or a connection that has ended.
#[derive(Debug, Default)]
pub struct Ended<'a> {
    /// When it began.
    pub opened: Now,
    /// The request's head as it went on; none for a connection and for what was no request.
    pub request: Option<&'a Rc<request::Parts>>,
    /// The head of the answer that the client got; none where it got none.
    pub response: Option<&'a response::Parts>,
    /// The answer's trailers.
    pub trailers: Option<&'a HeaderMap>,
    /// Why it failed or was answered by the gateway; empty if neither.
    pub details: &'a str,
    /// Bytes that the client sent.
    pub received: u64,
    /// Bytes that it got.
    pub sent: u64,
    /// It was a connection of bytes.
    pub of_bytes: bool,
}

impl Instance {
    /// Shows the guest what has ended: it learns of it, logs it, and forgets it, all in this call. Everything is
    /// readable and nothing can be changed.
    ///
    /// # Errors
    /// When the guest breaks off.
    pub fn on_ended(&mut self, info: StreamInfo, ended: &Ended<'_>, now: Now) -> Result<(), Trap> {
        if let Some(trap) = &self.poisoned {
            return Err(trap.clone());
        }
        let id = self.open_stream(info, ended.opened);
        if let Some(stream) = self.store.data_mut().streams.get_mut(id.0) {
            stream.request_gone = ended.request.cloned();
            if let Some(head) = ended.response {
                keep_response(head, &mut stream.response_kept);
            }
            if let Some(trailers) = ended.trailers {
                keep_trailers(trailers, &mut stream.trailers_kept);
            }
            if !ended.details.is_empty() {
                stream.details = Some(ended.details.to_owned());
            }
            stream.request.received = ended.received;
            stream.response.received = ended.sent;
            stream.of_bytes = ended.of_bytes;
            stream.announced = true;
            // Neither answered nor broken off: it is too late for both.
            stream.ended = true;
            stream.closing = true;
        }
        let created = self.call(id, now, |exports, store| {
            exports.context_create.as_ref().map_or(Ok(()), |create| create.call(store, (id.0, ROOT)))
        });
        let done = created.and_then(|()| match ended.of_bytes {
            true => self.end_connection(id, now),
            false => self.end(id, now),
        });
        let state = self.store.data_mut();
        state.close(id.0);
        state.tell();
        done
    }
}
