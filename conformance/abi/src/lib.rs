//! Each row of the proxy-wasm ABI as cases against the host, without a gateway.
//!
//! The cases are texts in `cases/`, in a small language (`cases/README.md`). A case is a guest, made of the host calls
//! that it lists (`guest`), and what happens to it ([`run`]); the table of all of them is `docs/abi.md` ([`table`]).
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test kit fails by panicking")]

mod case;
mod events;
mod guest;
mod happen;
mod run;
mod table;
mod terms;
mod token;

pub use case::{Case, read};
pub use run::run;
pub use table::table;
