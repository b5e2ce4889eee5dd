//! The numbers and encodings of proxy-wasm, shared by the host and by guests.
//!
//! Nothing here does any work beyond encoding: the host crate gives the numbers their meaning.
#![no_std]
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

extern crate alloc;

mod numbers;
mod pairs;

pub use numbers::{
    AbiVersion, Action, BufferKind, GrpcStatus, LogLevel, MapKind, MetricKind, Peer, Status, StreamKind,
};
pub use pairs::{MAX_PAIRS, MAX_PAIRS_BYTES, PairsError, PairsReader, encode_pairs, encoded_len};
