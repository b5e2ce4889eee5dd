//! Tasks of one instance that work on calls of its guest: each lives no longer than the instance.

use std::cell::RefCell;

use rustc_hash::FxHashMap;
use tokio::task::AbortHandle;

/// Calls that are not over, by token.
#[derive(Default)]
pub(crate) struct OpenCalls {
    open: RefCell<FxHashMap<u32, AbortHandle>>,
}

impl OpenCalls {
    /// A call is worked on.
    pub(crate) fn add(&self, token: u32, task: AbortHandle) {
        self.open.borrow_mut().insert(token, task);
    }

    /// Breaks one call off.
    pub(crate) fn cancel(&self, token: u32) {
        if let Some(task) = self.open.borrow_mut().remove(&token) {
            task.abort();
        }
    }

    /// A call is over.
    pub(crate) fn forget(&self, token: u32) {
        self.open.borrow_mut().remove(&token);
    }

    /// Breaks all calls off.
    pub(crate) fn cancel_all(&self) {
        for (_, task) in self.open.borrow_mut().drain() {
            task.abort();
        }
    }
}

impl Drop for OpenCalls {
    fn drop(&mut self) {
        self.cancel_all();
    }
}
