//! Connections of clients: what speaks HTTP to them. Nothing below knows the version.
pub(crate) mod stream;
pub(crate) mod tcp;
pub(crate) mod tunnel;
