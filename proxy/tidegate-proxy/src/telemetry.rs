//! What can be seen of the data plane from outside.
pub(crate) mod access_log;
pub(crate) mod otlp;
pub(crate) mod page;
pub(crate) mod recorder;
pub(crate) mod trace;
