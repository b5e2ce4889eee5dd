//! Hostile guests and random modules against the host.
//!
//! `hostile` is a guest that calls every host function with whatever a script says (`script`), and gives memory in
//! every wrong way. Modules made by wasm-smith are in `corpus/`
//! (`smith/` writes them). [`Lab`] runs either beside a neighbour that must not notice.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test kit fails by panicking")]

mod drive;
mod hostile;
mod imports;
mod lab;
mod random;
mod script;

pub use lab::{Anew, Lab, Outcome};
