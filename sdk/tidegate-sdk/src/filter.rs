//! The trait that every filter implements, what it can decide, and the macro that makes a Wasm module of it.

use std::rc::Rc;

use serde::de::DeserializeOwned;

use crate::message::Refusals;
use crate::{Reply, Request, Response};

/// A filter: one value lives as long as one request and its response.
///
/// A panic ends the Wasm instance; what happens to the requests in it is decided by the plugin's `onFailure`.
pub trait Filter: Sized + 'static {
    /// What the plugin's `config` holds. A configuration that does not fit is refused when the plugin is loaded, with
    /// the path of the wrong key. [`NoConfig`](crate::NoConfig) for filters without one.
    type Config: DeserializeOwned + 'static;

    /// Makes the filter of one request.
    fn new(config: &Rc<Self::Config>) -> Self;

    /// The request's headers have arrived.
    fn on_request(&mut self, request: &mut Request) -> Decision {
        let _ = request;
        Decision::Continue
    }

    /// The response's headers have arrived. Not called for an answer that this filter itself gave.
    fn on_response(&mut self, response: &mut Response) -> Decision {
        let _ = response;
        Decision::Continue
    }

    /// The exchange is over; headers can no longer be read.
    fn on_done(&mut self) {}
}

/// What happens to a message after a filter has seen it.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// Pass it on.
    Continue,
    /// Answer the client now; the upstream does not see the request, or its response is dropped.
    Reply(Reply),
}

impl From<Reply> for Decision {
    fn from(reply: Reply) -> Self {
        Decision::Reply(reply)
    }
}

impl Decision {
    /// The answer to give, if any. A change of headers that the host refused must not go unnoticed: it might be the
    /// removal of a secret. Such a message is answered with 500 instead.
    pub(crate) fn into_reply(self, refusals: &Refusals) -> Option<Reply> {
        if let Some(first) = refusals.first() {
            log::error!("answering 500, because a header could not be changed: {first}");
            return Some(Reply::text(500, "filter failed").details("filter_header_refused"));
        }
        match self {
            Decision::Continue => None,
            Decision::Reply(reply) => Some(reply),
        }
    }
}

/// Makes a Wasm module of a [`Filter`]: `tidegate_sdk::filter!(MyFilter);`, once in a crate of the type `cdylib`.
///
/// Native builds, as for tests, export nothing.
#[macro_export]
macro_rules! filter {
    ($filter:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            #[unsafe(no_mangle)]
            extern "C" fn _initialize() {
                $crate::start::<$filter>();
            }
        };
    };
}
