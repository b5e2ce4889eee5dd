//! Connections of clients: what speaks HTTP to them, so that nothing below knows the version, and what forwards bytes.
mod http1;
mod http2;
pub(crate) mod stream;
pub(crate) mod tcp;
mod watch;
