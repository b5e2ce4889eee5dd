//! What a guest has used of the limits that are counted: calls of host functions and bytes copied. Plugins without such
//! limits count nothing.

use crate::{Limits, Trap};

/// Used in earlier calls for the same request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Used {
    host_calls: u64,
    copied: u64,
}

/// Used in the call that goes on.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    host_calls: u64,
    copied: u64,
    before: Used,
}

impl Budget {
    /// A call begins.
    #[inline]
    pub(crate) fn begin(&mut self, before: Used) {
        *self = Self { host_calls: 0, copied: 0, before };
    }

    /// What the request has used once the call is over.
    pub(crate) fn used(&self) -> Used {
        Used {
            host_calls: self.before.host_calls.saturating_add(self.host_calls),
            copied: self.before.copied.saturating_add(self.copied),
        }
    }

    /// Bytes went into the guest or came out of it.
    #[inline]
    pub(crate) fn copies(&mut self, bytes: usize) {
        self.copied = self.copied.wrapping_add(bytes as u64);
    }

    /// The guest calls a host function.
    pub(crate) fn host_call(&mut self, limits: &Limits) -> Result<(), Trap> {
        self.host_calls += 1;
        let limit = limits.call_host_calls;
        if self.host_calls > limit {
            return Err(Trap::CallHostCalls { limit });
        }
        let limit = limits.request_host_calls;
        if self.used().host_calls > limit {
            return Err(Trap::RequestHostCalls { limit });
        }
        Ok(())
    }

    /// Whether all that was copied so far may be.
    pub(crate) fn check_copied(&self, limits: &Limits) -> Result<(), Trap> {
        let limit = limits.copied_bytes;
        if self.used().copied > limit { Err(Trap::CopiedBytes { limit }) } else { Ok(()) }
    }
}
