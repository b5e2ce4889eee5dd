//! The host's functions: by the proxy-wasm ABI on wasm32, in memory natively. Both sides offer the same names.

#[cfg(target_arch = "wasm32")]
pub(crate) mod exports;
#[cfg(target_arch = "wasm32")]
mod imports;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) mod memory;

use std::fmt;

#[cfg(target_arch = "wasm32")]
pub(crate) use imports::{
    change_header, define_metric, header, headers, increment_metric, log, property, record_metric,
};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use memory::{
    change_header, define_metric, header, headers, increment_metric, log, property, record_metric,
};

/// A header map, by its number in the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Map {
    Request = 0,
    Response = 2,
}

/// A kind of metric, by its number in the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetricKind {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

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

/// A host function's answer other than "ok".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u32);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self.0 {
            1 => "not found",
            2 => "bad argument, or not possible at this point of the exchange",
            6 => "invalid memory access",
            10 => "internal failure",
            12 => "not offered by this host",
            _ => "unexpected status",
        };
        write!(f, "the host answered {} ({meaning})", self.0)
    }
}
