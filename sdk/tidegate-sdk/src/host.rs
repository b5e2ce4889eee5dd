//! The host's functions: by the proxy-wasm ABI on wasm32, by the thread's [`Host`](native::Host) natively. Both sides
//! offer the same names.

#[cfg(target_arch = "wasm32")]
pub(crate) mod imports;
#[cfg(not(target_arch = "wasm32"))]
#[allow(unreachable_pub, reason = "tidegate-sdk-test reaches it by another name")]
pub mod native;

use std::cell::Cell;
use std::fmt;

use tidegate_abi::Status;

#[cfg(target_arch = "wasm32")]
pub(crate) use imports::*;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use native::calls::*;

/// Names and values of headers, in order.
pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// The number that a host function answered in place of "ok".
#[allow(unreachable_pub, reason = "natively tidegate-sdk-test needs it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal(pub u32);

impl Refusal {
    pub(crate) const fn is(self, status: Status) -> bool {
        self.0 == status.number()
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Refusal(status.number())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match Status::from_number(self.0) {
            Some(Status::NotFound) => "not found",
            Some(Status::BadArgument) => "bad argument, or not possible at this point of the exchange",
            Some(Status::SerializationFailure) => "the value cannot be encoded",
            Some(Status::ParseFailure) => "the value cannot be read",
            Some(Status::InvalidMemoryAccess) => "invalid memory access",
            Some(Status::Empty) => "empty",
            Some(Status::CasMismatch) => "changed by somebody else",
            Some(Status::InternalFailure) => "internal failure, or not allowed",
            Some(Status::Unimplemented) => "not offered by this host",
            _ => "unexpected status",
        };
        write!(f, "{} ({meaning})", self.0)
    }
}

/// Turns "not found" into `None`.
#[cfg(target_arch = "wasm32")]
pub(crate) fn found<T>(outcome: Result<T, Refusal>) -> Result<Option<T>, Refusal> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(refusal) if refusal.is(Status::NotFound) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

thread_local! {
    /// Whether the host looks at every name and value that is written, once that is known.
    static STRICT: Cell<bool> = const { Cell::new(false) };
    /// The context in whose name host functions act now.
    static CURRENT: Cell<u32> = const { Cell::new(0) };
}

/// Finds out whether the host looks at headers as strictly as this SDK: Tidegate does, which knows this function.
pub(crate) fn probe() {
    STRICT.set(foreign("tidegate_has", b"tidegate_has").is_ok());
}

/// Whether the host refuses names and values that could be read as two headers or messages.
#[inline]
pub(crate) fn is_strict() -> bool {
    cfg!(target_arch = "wasm32") && STRICT.get()
}

/// Notes the context that the host calls about.
pub(crate) fn called_about(context: u32) {
    CURRENT.set(context);
}

/// Acts for a context from now on; false when it is gone.
pub(crate) fn act_for(context: u32) -> bool {
    if CURRENT.get() == context {
        return true;
    }
    let known = set_effective_context(context).is_ok();
    if known {
        CURRENT.set(context);
    }
    known
}

/// The context in whose name host functions act now.
pub(crate) fn current() -> u32 {
    CURRENT.get()
}
