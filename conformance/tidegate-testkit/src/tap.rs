//! A tap of the gateway in the test's process, read as JSON.

use std::future::poll_fn;

use serde_json::Value;
use tidegate_proxy::{TapDropped, TapError, TapFilter, TapLimits, TapStream};

use crate::client::PATIENCE;
use crate::gateway::{TestGateway, block_on};

/// An open tap. It ends when it is dropped.
#[derive(Debug)]
pub struct Tap(TapStream);

impl TestGateway {
    /// Opens a tap.
    ///
    /// # Errors
    /// When too many are open.
    pub fn try_tap(&self, filter: TapFilter, limits: TapLimits) -> Result<Tap, TapError> {
        block_on(self.control().tap(filter, limits)).map(Tap)
    }

    /// Opens a tap of a hundred requests without bodies.
    ///
    /// # Panics
    /// If too many are open.
    pub fn tap(&self, filter: TapFilter) -> Tap {
        let limits = TapLimits { requests: 100, rate: 1000, body: 0 };
        self.try_tap(filter, limits).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Tap {
    /// The next request.
    ///
    /// # Panics
    /// If none comes before the test's patience ends.
    pub fn shown(&mut self) -> Value {
        let next = async { tokio::time::timeout(PATIENCE, poll_fn(|cx| self.0.poll_next(cx))).await };
        let request = block_on(next).expect("a request is shown in time").expect("the tap is open");
        serde_json::to_value(request).expect("it has a form in JSON")
    }

    /// What was not shown.
    pub fn dropped(&self) -> TapDropped {
        self.0.dropped()
    }

    /// Ends it as if its time were over.
    pub fn close(&self) {
        self.0.handle().close();
    }
}
