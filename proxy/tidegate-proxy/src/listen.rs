//! Sockets that clients connect to.
pub(crate) mod bind;
mod handshake;
pub(crate) mod tcp;
