//! What a guest may use, and what it means when it fails.

use super::Failure;
use std::time::Duration;

/// [`Failure`] by kind; all closed by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnFailure {
    /// The plugin has never come up.
    pub load: Failure,
    /// The guest trapped, is away, or met a limit that has no kind of its own.
    pub trap: Failure,
    /// The guest used up its time.
    pub timeout: Failure,
    /// The guest broke off because it may not have more memory (default as for a trap).
    pub memory: Failure,
}

/// Limits of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PluginLimits {
    /// One call into the guest (default 20 ms).
    pub call_time: Duration,
    /// All calls of one request together (default 100 ms).
    pub request_time: Duration,
    /// Linear memory in bytes (default 32 MiB).
    pub memory: usize,
    /// Instances for connections or requests at one time (default 1000).
    pub instances: usize,
    /// Calls of host functions in one call into the guest; the largest number: no limit (default).
    pub call_host_calls: u64,
    /// The same in all calls of one request together.
    pub request_host_calls: u64,
    /// Bytes copied into the guest and out of it for one request; the largest number: no limit (default).
    pub copied_bytes: u64,
    /// HTTP and gRPC calls of an instance that are not over (default 1024).
    pub open_calls: usize,
    /// Lines that an instance may log in a second (default 1000).
    pub log_lines: u32,
    /// Bytes of one body, or of one side of a connection, that the guest may hold back (default 1 MiB).
    pub held_body: usize,
    /// A worker's instance with more memory than this is replaced (default three quarters of `memory`).
    pub rebuild_above: usize,
}

impl Default for PluginLimits {
    fn default() -> Self {
        Self {
            call_time: Duration::from_millis(20),
            request_time: Duration::from_millis(100),
            memory: 32 << 20,
            instances: 1000,
            call_host_calls: u64::MAX,
            request_host_calls: u64::MAX,
            copied_bytes: u64::MAX,
            open_calls: 1024,
            log_lines: 1000,
            held_body: 1 << 20,
            rebuild_above: Self::rebuilt_above(32 << 20),
        }
    }
}

impl PluginLimits {
    /// Where an instance is replaced unless something else is said, with this much memory.
    #[must_use]
    pub fn rebuilt_above(memory: usize) -> usize {
        memory - memory / 4
    }

    /// The limits that differ from `other`, as they are written.
    #[must_use]
    pub fn differing(&self, other: &Self) -> Vec<String> {
        let mut all = Vec::new();
        let mut note = |name: &str, differs: bool, value: &dyn std::fmt::Debug| {
            if differs {
                all.push(format!("{name} {value:?}"));
            }
        };
        note("callTime", self.call_time != other.call_time, &self.call_time);
        note("requestTime", self.request_time != other.request_time, &self.request_time);
        note("memory", self.memory != other.memory, &self.memory);
        note("instances", self.instances != other.instances, &self.instances);
        note("callHostCalls", self.call_host_calls != other.call_host_calls, &self.call_host_calls);
        note(
            "requestHostCalls",
            self.request_host_calls != other.request_host_calls,
            &self.request_host_calls,
        );
        note("copiedBytes", self.copied_bytes != other.copied_bytes, &self.copied_bytes);
        note("openCalls", self.open_calls != other.open_calls, &self.open_calls);
        note("logLines", self.log_lines != other.log_lines, &self.log_lines);
        note("heldBody", self.held_body != other.held_body, &self.held_body);
        note("rebuildAbove", self.rebuild_above != other.rebuild_above, &self.rebuild_above);
        all
    }
}
