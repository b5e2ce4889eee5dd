//! Sockets that clients connect to.
pub(crate) mod bind;
pub(crate) mod descriptors;
mod handshake;
mod steer;
pub(crate) mod tcp;
