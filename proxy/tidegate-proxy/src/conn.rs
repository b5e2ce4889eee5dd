//! Connections of clients: what speaks HTTP to them. Nothing below knows the version.
pub(crate) mod tcp;
