//! HTTP calls of a guest.

use std::rc::Rc;

use http::StatusCode;
use tidegate_wasm::Effect;
use tokio::task::spawn_local;

use crate::filter::host::Host;
use crate::telemetry::trace::Span;
use crate::upstream::call;

impl Host {
    /// Makes a call and tells the guest what comes of it.
    pub(crate) fn call_http(self: &Rc<Self>, effect: Effect) {
        let Effect::HttpCall { token, stream, upstream, mut head, body, trailers, timeout } = effect else {
            return;
        };
        let calling = self.trace_call(stream, &mut head, |span, head| {
            span.says("url.path", head.uri.path().to_owned());
            span.says("tidegate.upstream", upstream.clone());
        });
        let pool = self.slot().and_then(|slot| slot.pool(&upstream));
        // An answer finds the worker's instance; one of a request does not outlive the request for it.
        let waits = self.seat.is_none().then(|| self.clone());
        let host = Rc::downgrade(self);
        spawn_local(async move {
            let answer = match pool {
                Some(pool) => {
                    let request = http::Request::from_parts(head, (body, trailers));
                    let course = calling.as_ref().map(|calling| &*calling.course);
                    call::answer(pool, request, timeout, course).await
                }
                None => None,
            };
            if let Some(calling) = &calling {
                calling.over(|span| outcome(span, answer.as_ref().map(|answer| answer.head.status)));
            }
            // The result of the call into the guest is told to its requests by `call` itself.
            if let Some(host) = host.upgrade() {
                let name = "on_http_call_response";
                _ = host.call_back(calling.as_ref(), name, |instance, now| {
                    instance.on_http_call_response(token, answer, now)
                });
            }
            drop(waits);
        });
    }
}

/// What became of a call; none: its answer broke off.
fn outcome(span: &mut Span, status: Option<StatusCode>) {
    if let Some(status) = status {
        span.says("http.response.status_code", u64::from(status.as_u16()));
    }
    match status {
        Some(status) if status.is_client_error() || status.is_server_error() => {
            span.says("error.type", status.as_str().to_owned());
            span.error = Some("".into());
        }
        None => {
            span.says("error.type", "upstream_reset");
            span.error = Some("upstream_reset".into());
        }
        Some(_) => {}
    }
}
