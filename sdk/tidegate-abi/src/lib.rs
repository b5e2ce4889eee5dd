//! The numbers and encodings of proxy-wasm, shared by the host and by guests.
//!
//! Nothing here does any work beyond encoding: the host crate gives the numbers their meaning.
#![no_std]
#![deny(missing_docs)]

extern crate alloc;

mod numbers;
mod pairs;

pub use numbers::{
    AbiVersion, Action, BufferKind, GrpcStatus, LogLevel, MapKind, MetricKind, Peer, Status, StreamKind,
};
pub use pairs::{MAX_PAIRS, MAX_PAIRS_BYTES, PairsError, PairsReader, encode_pairs, encoded_len};
