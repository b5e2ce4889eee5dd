//! Byte-level cases of HTTP/1 and HTTP/2 against a gateway in the same process, on real sockets.
//!
//! The statement behind all tables: a request is refused, or forwarded as exactly one well-formed message. The cases
//! are in `tests/`; this crate holds what they share.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test kit fails by panicking")]

mod expect;
mod lab;
mod shipped;

pub use expect::{Case, Expect, run};
pub use lab::{Lab, Observation};
pub use shipped::{shipped, shipped_example, shipped_together};
