//! Foreign functions that answer later. A further one is a variant of [`ForeignCall`], an entry in the host's list of
//! functions, and an arm here that gives its bytes, or a status with a message.

use std::rc::Rc;

use bytes::Bytes;
use tidegate_wasm::{ForeignCall, Status};
use tokio::task::spawn_local;

use crate::filter::plugins::Host;

impl Host {
    /// Does what the guest has asked for and hands it the result. It is given up with the request that it is for
    /// (`Effect::ForeignCancel`), and with the instance.
    pub(crate) fn call_foreign(self: &Rc<Self>, token: u32, call: ForeignCall) {
        let host = Rc::downgrade(self);
        let task = spawn_local(async move {
            let result = perform(call).await;
            let Some(host) = host.upgrade() else { return };
            host.foreign.forget(token);
            // A trap is told to the instance's requests by `call` itself.
            _ = host.call(|instance, now| instance.on_foreign_result(token, result, now));
        });
        self.foreign.add(token, task.abort_handle());
    }
}

async fn perform(call: ForeignCall) -> Result<Bytes, (Status, String)> {
    match call {
        ForeignCall::Sleep(time) => {
            tokio::time::sleep(time).await;
            Ok(Bytes::new())
        }
    }
}
