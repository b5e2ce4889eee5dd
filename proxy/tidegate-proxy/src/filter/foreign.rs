//! Foreign functions that answer later. A further one is a variant of [`ForeignCall`], an entry in the host's list of
//! functions, and an arm here that gives its bytes, or a status with a message.

use std::rc::{Rc, Weak};

use bytes::Bytes;
use tidegate_wasm::{ForeignCall, Status};
use tokio::task::spawn_local;

use crate::filter::host::Host;
use crate::filter::passwords;
use crate::upstream::redis;

impl Host {
    /// Does what the guest has asked for and hands it the result. It is given up with the request that it is for
    /// (`Effect::ForeignCancel`), and with the instance.
    pub(crate) fn call_foreign(self: &Rc<Self>, token: u32, call: ForeignCall) {
        let host = Rc::downgrade(self);
        let task = spawn_local(async move {
            let result = perform(&host, call).await;
            let Some(host) = host.upgrade() else { return };
            host.foreign.forget(token);
            // A trap is told to the instance's requests by `call` itself.
            _ = host.call(|instance, now| instance.on_foreign_result(token, result, now));
        });
        self.foreign.add(token, task.abort_handle());
    }
}

async fn perform(host: &Weak<Host>, call: ForeignCall) -> Result<Bytes, (Status, String)> {
    match call {
        ForeignCall::Sleep(time) => {
            tokio::time::sleep(time).await;
            Ok(Bytes::new())
        }
        ForeignCall::Redis { upstream, timeout, commands, count } => {
            let pool = host.upgrade().and_then(|host| host.slot()?.pool(&upstream));
            let away = |why: String| (Status::NotFound, why);
            let pool = pool.ok_or_else(|| away(format!("there is no upstream {upstream}")))?;
            redis::ask(&pool, commands, count, timeout).await.map_err(away)
        }
        ForeignCall::VerifyPassword(check) => {
            let right =
                passwords::verify(check).await.map_err(|why| (Status::InternalFailure, why.to_owned()))?;
            Ok(Bytes::from_static(if right { &[1] } else { &[0] }))
        }
    }
}
