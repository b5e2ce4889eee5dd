//! The gRPC calls of a guest.

use std::rc::Rc;

use tidegate_wasm::{GrpcCall, GrpcStatus};
use tokio::task::spawn_local;

use crate::filter::host::Host;
use crate::upstream::grpc::{self, Event};
use crate::upstream::pool::Pool;

impl Host {
    /// Makes a call and tells the guest what comes of it.
    pub(crate) fn call_grpc(self: &Rc<Self>, pool: Option<Rc<Pool>>, mut call: GrpcCall) {
        let token = call.token;
        let upstream = &call.upstream;
        let calling = self.trace_call(call.stream, &mut call.head, |span, head| {
            let path = head.uri.path().trim_start_matches('/');
            span.name = path.to_owned().into();
            span.says("rpc.system", "grpc");
            if let Some((service, method)) = path.rsplit_once('/') {
                span.says("rpc.service", service.to_owned());
                span.says("rpc.method", method.to_owned());
            }
            span.says("tidegate.upstream", upstream.clone());
        });
        let host = Rc::downgrade(self);
        let task = spawn_local(async move {
            let tell = |event: Event| {
                let Some(host) = host.upgrade() else { return };
                // A trap is told to the instance's requests by `call` itself, and ends this task.
                let name = match &event {
                    Event::Head(_) => "on_grpc_initial_metadata",
                    Event::Message(_) => "on_grpc_message",
                    Event::Trailers(_) => "on_grpc_trailing_metadata",
                };
                _ = host.call_back(calling.as_ref(), name, |instance, now| match event {
                    Event::Head(head) => instance.on_grpc_initial_metadata(token, head, now),
                    Event::Message(message) => instance.on_grpc_message(token, message, now),
                    Event::Trailers(trailers) => instance.on_grpc_trailing_metadata(token, trailers, now),
                });
            };
            let (status, message) = match pool {
                Some(pool) => {
                    let course = calling.as_ref().map(|calling| &*calling.course);
                    let ended = grpc::run(pool, call, course, tell).await;
                    (ended.status, ended.message)
                }
                None => (GrpcStatus::UNAVAILABLE, "the upstream is gone".to_owned()),
            };
            if let Some(calling) = &calling {
                calling.over(|span| {
                    span.says("rpc.grpc.status_code", u64::from(status));
                    if status != GrpcStatus::OK {
                        span.says("error.type", status.to_string());
                        span.error = Some(message.clone().into());
                    }
                });
            }
            let Some(host) = host.upgrade() else { return };
            host.grpc.forget(token);
            let name = "on_grpc_close";
            _ = host.call_back(calling.as_ref(), name, |instance, now| {
                instance.on_grpc_close(token, status, &message, now)
            });
        });
        self.grpc.add(token, task.abort_handle());
    }
}
