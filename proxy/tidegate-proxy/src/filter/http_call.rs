//! HTTP calls of a guest.

use std::rc::Rc;

use tidegate_wasm::Effect;
use tokio::task::spawn_local;

use crate::filter::plugins::Host;
use crate::upstream::call;

impl Host {
    /// Makes a call and tells the guest what comes of it.
    pub(crate) fn call_http(self: &Rc<Self>, effect: Effect) {
        let Effect::HttpCall { token, upstream, head, body, trailers, timeout, .. } = effect else { return };
        let pool = self.slot().and_then(|slot| slot.pool(&upstream));
        // An answer finds the worker's instance; one of a request does not outlive the request for it.
        let waits = self.seat.is_none().then(|| self.clone());
        let host = Rc::downgrade(self);
        spawn_local(async move {
            let answer = match pool {
                Some(pool) => {
                    call::answer(pool, http::Request::from_parts(head, (body, trailers)), timeout).await
                }
                None => None,
            };
            // The result of the call into the guest is told to its requests by `call` itself.
            if let Some(host) = host.upgrade() {
                _ = host.call(|instance, now| instance.on_http_call_response(token, answer, now));
            }
            drop(waits);
        });
    }
}
