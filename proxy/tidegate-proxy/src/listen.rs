//! Sockets that clients connect to.
pub(crate) mod bind;
mod handshake;
mod steer;
pub(crate) mod tcp;
