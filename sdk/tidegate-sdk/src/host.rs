//! The host's functions: by the proxy-wasm ABI on wasm32, in memory natively. Both sides offer the same names.

#[cfg(target_arch = "wasm32")]
pub(crate) mod exports;
#[cfg(target_arch = "wasm32")]
mod imports;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod memory;

use std::fmt;

use tidegate_abi::Status;

#[cfg(target_arch = "wasm32")]
pub(crate) use imports::{
    change_header, define_metric, header, headers, increment_metric, log, property, record_metric,
};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use memory::{
    change_header, define_metric, header, headers, increment_metric, log, property, record_metric,
};

/// Names and values of headers, in order.
pub(crate) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What to do to a header.
pub(crate) enum Change<'a> {
    Set(&'a [u8]),
    Add(&'a [u8]),
    Remove,
}

impl<'a> Change<'a> {
    pub(crate) fn value(&self) -> &'a [u8] {
        match self {
            Change::Set(value) | Change::Add(value) => value,
            Change::Remove => b"",
        }
    }
}

/// The number that a host function answered in place of "ok".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure(pub(crate) u32);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match Status::from_number(self.0) {
            Some(Status::NotFound) => "not found",
            Some(Status::BadArgument) => "bad argument, or not possible at this point of the exchange",
            Some(Status::InvalidMemoryAccess) => "invalid memory access",
            Some(Status::InternalFailure) => "internal failure",
            Some(Status::Unimplemented) => "not offered by this host",
            _ => "unexpected status",
        };
        write!(f, "the host answered {} ({meaning})", self.0)
    }
}
