//! Active health checks of a server: what a check is, and what its results mean.
//!
//! The gateway's checker decides when; see `gateway/checks.rs`.

pub(crate) mod probe;
pub(crate) mod watch;
