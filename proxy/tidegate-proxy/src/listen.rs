//! Sockets that clients connect to.
pub(crate) mod bind;
pub(crate) mod tcp;
