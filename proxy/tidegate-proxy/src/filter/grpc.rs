//! The gRPC calls of a guest.

use std::rc::Rc;

use tidegate_wasm::{GrpcCall, GrpcStatus};
use tokio::task::spawn_local;

use crate::filter::plugins::Host;
use crate::upstream::grpc::{self, Event};
use crate::upstream::pool::Pool;

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
        self.grpc.add(token, task.abort_handle());
    }
}
