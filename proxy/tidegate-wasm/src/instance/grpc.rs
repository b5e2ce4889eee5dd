//! What comes back on gRPC calls and streams.

use super::Instance;
use crate::{
    Now, Trap,
    abi::exports::{Exports, OnGrpc},
    grpc::Kind,
    state::Answer,
    stream::table::ROOT,
    tape::{Event, fields, response_fields},
};
use bytes::Bytes;
use http::{HeaderMap, response};
use tidegate_abi::GrpcStatus;

impl Instance {
    /// The head of the answer to a gRPC stream. Unknown tokens are ignored here and in the following, like what a
    /// call that is no stream has no callback for.
    ///
    /// # Errors
    /// When the guest breaks off.
    pub fn on_grpc_initial_metadata(
        &mut self,
        token: u32,
        head: response::Parts,
        now: Now,
    ) -> Result<(), Trap> {
        if Kind::of(token) != Some(Kind::Stream) {
            return Ok(());
        }
        self.note_grpc(token, now, |_, call| Event::GrpcHead { call, headers: response_fields(&head) });
        let fields = head.headers.len() + 1;
        self.tell(token, fields, Answer::GrpcHead(Box::new(head)), now, |exports| {
            exports.grpc_initial_metadata.as_ref()
        })
    }

    /// A whole message, without its prefix.
    ///
    /// # Errors
    /// When the guest breaks off.
    pub fn on_grpc_message(&mut self, token: u32, message: Bytes, now: Now) -> Result<(), Trap> {
        self.note_grpc(token, now, |tape, call| Event::GrpcMessage { call, body: tape.content(&message) });
        if Kind::of(token) == Some(Kind::Call) {
            // It counts only when the call ends well.
            if let Some(open) = self.store.data_mut().grpc.find(token) {
                open.answer = Some(message);
            }
            return Ok(());
        }
        self.tell(token, message.len(), Answer::GrpcMessage(message), now, |exports| {
            exports.grpc_receive.as_ref()
        })
    }

    /// The trailers of the answer to a gRPC stream.
    ///
    /// # Errors
    /// When the guest breaks off.
    pub fn on_grpc_trailing_metadata(
        &mut self,
        token: u32,
        trailers: HeaderMap,
        now: Now,
    ) -> Result<(), Trap> {
        if Kind::of(token) != Some(Kind::Stream) {
            return Ok(());
        }
        self.note_grpc(token, now, |_, call| Event::GrpcTrailers { call, headers: fields(&trailers) });
        self.tell(token, trailers.len(), Answer::GrpcTrailers(Box::new(trailers)), now, |exports| {
            exports.grpc_trailing_metadata.as_ref()
        })
    }

    /// The call is over. A call that is no stream ends with its answer or, if there is none, with a status.
    ///
    /// # Errors
    /// When the guest breaks off.
    pub fn on_grpc_close(&mut self, token: u32, status: u32, message: &str, now: Now) -> Result<(), Trap> {
        if let Some(trap) = &self.poisoned {
            return Err(trap.clone());
        }
        self.note_grpc(token, now, |_, call| Event::GrpcClosed { call, status, message: message.to_owned() });
        let Some(open) = self.store.data_mut().grpc.remove(token) else { return Ok(()) };
        let mut code = status;
        if Kind::of(token) == Some(Kind::Call) && status == GrpcStatus::OK {
            if let Some(answer) = open.answer {
                let told = self.deliver(token, answer.len(), Answer::GrpcMessage(answer), now, |exports| {
                    exports.grpc_receive.as_ref()
                });
                self.store.data_mut().answered(token);
                return told;
            }
            code = GrpcStatus::INTERNAL;
        }
        let state = self.store.data_mut();
        state.last_status = code;
        state.status_message = message.into();
        let told =
            self.deliver(token, code as usize, Answer::None, now, |exports| exports.grpc_close.as_ref());
        let state = self.store.data_mut();
        state.status_message.clear();
        state.answered(token);
        told
    }

    fn tell(
        &mut self,
        token: u32,
        number: usize,
        answer: Answer,
        now: Now,
        callback: impl FnOnce(&Exports) -> Option<&OnGrpc>,
    ) -> Result<(), Trap> {
        if let Some(trap) = &self.poisoned {
            return Err(trap.clone());
        }
        if self.store.data_mut().grpc.find(token).is_none() {
            return Ok(());
        }
        self.deliver(token, number, answer, now, callback)
    }

    /// Calls the guest while `answer` is at hand; the last parameter is a size, a count or a status.
    fn deliver(
        &mut self,
        token: u32,
        number: usize,
        answer: Answer,
        now: Now,
        callback: impl FnOnce(&Exports) -> Option<&OnGrpc>,
    ) -> Result<(), Trap> {
        if self.over {
            return Ok(());
        }
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        self.store.data_mut().answer = answer;
        let told = self.call_root(now, |exports, store| match callback(exports) {
            Some(function) => function.call(store, (ROOT, token, number)),
            None => Ok(()),
        });
        let state = self.store.data_mut();
        state.answer = Answer::None;
        told?;
        self.store.data_mut().feed();
        Ok(())
    }
}
