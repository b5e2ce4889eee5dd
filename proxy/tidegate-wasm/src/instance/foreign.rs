//! What comes back on foreign functions that answer later.

use super::Instance;
use crate::{Now, Trap, grpc::Kind, state::Answer, stream::table::ROOT};
use bytes::Bytes;
use tidegate_abi::Status;

impl Instance {
    /// Hands the guest the result of a [foreign call](crate::ForeignCall), or its status with a message. An unknown token
    /// is ignored: the call was given up, or its stream is over.
    ///
    /// # Errors
    /// When the guest breaks off.
    pub fn on_foreign_result(
        &mut self,
        token: u32,
        result: Result<Bytes, (Status, String)>,
        now: Now,
    ) -> Result<(), Trap> {
        if let Some(trap) = &self.poisoned {
            return Err(trap.clone());
        }
        if self.over || Kind::of(token) != Some(Kind::Foreign) {
            return Ok(());
        }
        if self.store.data().tapes > 0 {
            self.note_foreign(token, &result, now);
        }
        let state = self.store.data_mut();
        let Some(at) = state.calls.iter().position(|open| *open == token) else { return Ok(()) };
        state.calls.swap_remove(at);
        let (status, message, bytes) = match result {
            Ok(bytes) => (Status::Ok, String::new(), bytes),
            Err((status, message)) => (status, message, Bytes::new()),
        };
        let size = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        state.last_status = status.number();
        state.status_message = message;
        state.answer = Answer::Foreign(bytes);
        let redis = state.redis_calls.iter().position(|known| *known == token);
        let told = match redis.map(|at| state.redis_calls.swap_remove(at)) {
            Some(_) => self.call_root(now, |exports, store| match &exports.redis_response {
                Some(function) => function.call(store, (ROOT, token, u32::from(status != Status::Ok), size)),
                None => Ok(()),
            }),
            None => self.call_root(now, |exports, store| match &exports.foreign_function {
                Some(function) => function.call(store, (ROOT, token, size)),
                None => Ok(()),
            }),
        };
        let state = self.store.data_mut();
        state.answer = Answer::None;
        state.status_message.clear();
        state.answered(token);
        told?;
        self.store.data_mut().feed();
        Ok(())
    }
}
