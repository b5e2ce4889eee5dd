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
    /// Calls of host functions in one call into the guest; the largest number: no limit.
    pub call_host_calls: u64,
    /// The same in all calls of one request together.
    pub request_host_calls: u64,
    /// Bytes copied into the guest and out of it for one request; the largest number: no limit.
    pub copied_bytes: u64,
    /// HTTP and gRPC calls of one instance that are not over.
    pub open_calls: usize,
    /// Lines that one instance may log in a second.
    pub log_lines: u32,
    /// Bytes that the guest may hold back of one side of a stream; past them its stream fails.
    pub held_bytes: usize,
    /// With more memory than this an instance is [worn](crate::Instance::is_worn).
    pub rebuild_above: usize,
}

impl Limits {
    /// Whether calls of host functions or bytes are to be counted.
    pub(crate) fn are_counted(&self) -> bool {
        self.call_host_calls.min(self.request_host_calls).min(self.copied_bytes) < u64::MAX
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call_time: Duration::from_millis(20),
            request_time: Duration::from_millis(100),
            memory: 32 << 20,
            call_host_calls: u64::MAX,
            request_host_calls: u64::MAX,
            copied_bytes: u64::MAX,
            open_calls: 1024,
            log_lines: 1000,
            held_bytes: 1 << 20,
            rebuild_above: 24 << 20,
        }
    }
}

/// Least time that an instance may take to start: Go guests set up their heap and read rule sets.
pub(crate) const START_TIME: Duration = Duration::from_secs(1);

/// Most elements of all tables.
const TABLE_ELEMENTS: usize = 100_000;

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
    /// Bytes of memory now.
    pub(crate) size: usize,
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= self.memory;
        self.refused |= !allowed;
        if allowed {
            self.size = desired;
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS)
    }

    /// The guest, and the chain before it.
    fn instances(&self) -> usize {
        2
    }

    fn tables(&self) -> usize {
        16
    }

    fn memories(&self) -> usize {
        1
    }
}
