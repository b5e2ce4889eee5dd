//! Decides how much of a limit is left. It reads no clock and shares nothing: time and what was counted so far come in.
//!
//! A [`Limit`] says what is allowed, a [`State`] what was taken, a [`Verdict`] what follows. The same code runs in the
//! gateway (where all workers share the states), in the SDK where a host has no limiters, and in its test harness.
//! [`wire`] is the form in which guests ask the gateway.

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

mod limit;
mod state;
pub mod wire;

pub use limit::{Algorithm, Limit, Moment, NEVER, Verdict};
pub use state::State;
