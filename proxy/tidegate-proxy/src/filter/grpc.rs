//! The gRPC calls of one instance: each is a task that lives no longer than the instance.

use std::cell::RefCell;
use std::rc::Rc;

use rustc_hash::FxHashMap;
use tidegate_wasm::{GrpcCall, GrpcStatus};
use tokio::task::{AbortHandle, spawn_local};

use crate::filter::plugins::Host;
use crate::upstream::grpc::{self, Event};
use crate::upstream::pool::Pool;

/// Calls that are not over, by token.
#[derive(Default)]
pub(crate) struct Calls {
    open: RefCell<FxHashMap<u32, AbortHandle>>,
}

impl Calls {
    /// Breaks one call off.
    pub(crate) fn cancel(&self, token: u32) {
        if let Some(task) = self.open.borrow_mut().remove(&token) {
            task.abort();
        }
    }

    /// A call is over.
    fn forget(&self, token: u32) {
        self.open.borrow_mut().remove(&token);
    }

    /// Breaks all calls off.
    pub(crate) fn cancel_all(&self) {
        for (_, task) in self.open.borrow_mut().drain() {
            task.abort();
        }
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        self.cancel_all();
    }
}

impl Host {
    /// Makes a call and tells the guest what comes of it.
    pub(crate) fn call_grpc(self: &Rc<Self>, pool: Option<Rc<Pool>>, call: GrpcCall) {
        let token = call.token;
        let host = Rc::downgrade(self);
        let task = spawn_local(async move {
            let tell = |event| {
                let Some(host) = host.upgrade() else { return };
                // A trap is told to the instance's requests by `call` itself, and ends this task.
                _ = host.call(|instance, now| match event {
                    Event::Head(head) => instance.on_grpc_initial_metadata(token, head, now),
                    Event::Message(message) => instance.on_grpc_message(token, message, now),
                    Event::Trailers(trailers) => instance.on_grpc_trailing_metadata(token, trailers, now),
                });
            };
            let (status, message) = match pool {
                Some(pool) => {
                    let ended = grpc::run(pool, call, tell).await;
                    (ended.status, ended.message)
                }
                None => (GrpcStatus::UNAVAILABLE, "the upstream is gone".to_owned()),
            };
            let Some(host) = host.upgrade() else { return };
            host.grpc.forget(token);
            _ = host.call(|instance, now| instance.on_grpc_close(token, status, &message, now));
        });
        self.grpc.open.borrow_mut().insert(token, task.abort_handle());
    }
}
