//! What a guest may use.

use std::time::Duration;
use wasmtime::ResourceLimiter;

/// Limits of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// One call into the guest, with all that the host does for it. Starting may take
    /// longer: at least one second.
    pub call_time: Duration,
    /// All calls of one request together.
    pub request_time: Duration,
    /// Bytes of memory of one instance.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call_time: Duration::from_millis(20),
            request_time: Duration::from_millis(100),
            memory: 32 << 20,
        }
    }
}

/// Least time that an instance may take to start: Go guests set up their heap and read rule sets.
pub(crate) const START_TIME: Duration = Duration::from_secs(1);

/// Most elements of all tables.
const TABLE_ELEMENTS: usize = 100_000;

/// HTTP and gRPC calls of one instance that are not over.
pub(crate) const OPEN_CALLS: usize = 1024;

/// Bytes of one gRPC message that a guest sends.
pub(crate) const GRPC_MESSAGE_BYTES: usize = 4 << 20;

/// Bytes of gRPC messages of one call that the server has not taken yet.
pub(crate) const GRPC_QUEUED_BYTES: usize = 4 << 20;

/// Fields of one map.
pub(crate) const FIELDS: usize = 1024;

/// Bytes of one field's value.
pub(crate) const VALUE_BYTES: usize = 64 << 10;

/// Bytes of names and values that a guest may write for one stream.
pub(crate) const WRITTEN_BYTES: usize = 1 << 20;

/// Bytes of properties that a guest may set on one stream.
pub(crate) const PROPERTY_BYTES: usize = 64 << 10;

/// Bytes that a body may have after a guest has written to it.
pub(crate) const BODY_BYTES: usize = 64 << 20;

/// Effects that may wait to be polled.
pub(crate) const EFFECTS: usize = 4096;

/// Watches over memory and tables of an instance. Growth beyond the limit fails in the guest, which
/// then mostly breaks off, so the refusal is remembered to explain that.
#[derive(Debug)]
pub(crate) struct Limiter {
    pub(crate) memory: usize,
    pub(crate) refused: bool,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory;
        self.refused |= !allowed;
        Ok(allowed)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        16
    }

    fn memories(&self) -> usize {
        1
    }
}
