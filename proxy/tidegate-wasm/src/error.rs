//! What can go wrong: loading a module, starting an instance, calling into one.

use crate::abi::chain;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Why a module cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The engine does not work on this machine.
    #[error("the wasm engine cannot be set up: {0}")]
    Engine(String),
    /// The folder of compiled code cannot be used safely.
    #[error("cache folder {path}: {problem}")]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The bytes are not a module at all.
    #[error("not a WebAssembly module: it starts with {start:02x?} and not with 00 61 73 6d 01 00 00 00")]
    NotWasm {
        /// First bytes found.
        start: Vec<u8>,
    },
    /// The bytes end too early.
    #[error("the module is truncated after {len} bytes: {problem}")]
    Truncated {
        /// Bytes there are.
        len: usize,
        /// Where it breaks off.
        problem: String,
    },
    /// The module breaks a rule of WebAssembly.
    #[error("invalid module: {0}")]
    Invalid(String),
    /// No export says which ABI the module speaks.
    #[error(
        "the module exports no proxy-wasm version: one of proxy_abi_version_0_1_0, _0_2_0, _0_2_1 is needed"
    )]
    NoAbiVersion,
    /// Imports that no host function stands behind.
    #[error("unknown imports for ABI {abi}: {}", names.join(", "))]
    UnknownImports {
        /// The ABI version that the module names.
        abi: &'static str,
        /// `module.name` of each.
        names: Vec<String>,
    },
    /// An import is known, but with another type.
    #[error("import with a wrong type: {0}")]
    WrongImport(String),
    /// Callbacks that have another type than the ABI says.
    #[error("callbacks with a wrong type for ABI {abi}: {}", callbacks.join(", "))]
    WrongCallback {
        /// The ABI version that the module names.
        abi: &'static str,
        /// `name: is (…) -> …, must be (…) -> …` of each.
        callbacks: Vec<String>,
    },
    /// The module exports no memory of the name `memory`.
    #[error("the module exports no 32-bit memory of the name \"memory\"")]
    NoMemory,
    /// The module exports no function by which the host can ask for memory.
    #[error("the module exports neither malloc nor proxy_on_memory_allocate, each (i32) -> i32")]
    NoMalloc,
    /// The module wants more memory than the plugin may have.
    #[error("the module starts with {needed} bytes of memory, its limit is {limit}")]
    MemoryLimit {
        /// Bytes at start.
        needed: u64,
        /// Bytes allowed.
        limit: usize,
    },
}

/// Why an instance did not start.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StartError {
    /// The guest broke off, or could not be instantiated.
    #[error("the plugin broke off while it started: {0}")]
    Trap(#[from] Trap),
    /// The guest's `proxy_on_vm_start` answered false.
    #[error("proxy_on_vm_start answered false{}", last_lines(log))]
    VmStart {
        /// Last lines that the guest logged.
        log: Vec<String>,
    },
    /// All places for isolated instances are taken.
    #[error("no place for another isolated instance, {limit} are taken")]
    Full {
        /// How many there are.
        limit: u32,
    },
    /// The guest's `proxy_on_configure` answered false.
    #[error("proxy_on_configure answered false{}", last_lines(log))]
    Configure {
        /// Last lines that the guest logged.
        log: Vec<String>,
    },
}

fn last_lines(log: &[String]) -> String {
    if log.is_empty() {
        " and logged nothing".into()
    } else {
        format!("; last log lines: {}", log.join(" | "))
    }
}

/// Why a guest stopped in the middle of a call. Cheap to clone: every later call on the instance
/// gives it again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Trap {
    /// The guest did something that WebAssembly or the ABI forbids, or gave up.
    #[error("{message}{}", frames(backtrace))]
    Trapped {
        /// What it was.
        message: Arc<str>,
        /// The guest's functions on the stack, innermost first; may be empty.
        backtrace: Arc<str>,
    },
    /// One call took too long.
    #[error("one call took longer than {limit:?}")]
    CallTime {
        /// What is allowed.
        limit: Duration,
    },
    /// All calls of one request together took too long.
    #[error("the calls of one request took longer than {limit:?} together")]
    RequestTime {
        /// What is allowed.
        limit: Duration,
    },
    /// The guest broke off after memory was refused to it.
    #[error("memory limit of {limit} bytes reached: {message}")]
    Memory {
        /// What is allowed.
        limit: usize,
        /// How it broke off.
        message: Arc<str>,
    },
    /// One call had the guest call too many host functions.
    #[error("more than {limit} calls of host functions in one call")]
    CallHostCalls {
        /// What is allowed.
        limit: u64,
    },
    /// All calls of one request together did.
    #[error("more than {limit} calls of host functions for one request")]
    RequestHostCalls {
        /// What is allowed.
        limit: u64,
    },
    /// Too much was copied for one request.
    #[error("more than {limit} bytes copied for one request")]
    CopiedBytes {
        /// What is allowed.
        limit: u64,
    },
    /// The guest called itself too deeply.
    #[error("call stack exhausted{}", frames(backtrace))]
    Stack {
        /// The guest's functions on the stack, innermost first.
        backtrace: Arc<str>,
    },
}

fn frames(backtrace: &str) -> String {
    if backtrace.is_empty() { String::new() } else { format!("; {backtrace}") }
}

impl Trap {
    /// Whether time ran out.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::CallTime { .. } | Self::RequestTime { .. })
    }

    /// All words of [`Trap::kind`].
    pub const KINDS: [&str; 8] = [
        "trap",
        "stack",
        "call_time",
        "request_time",
        "memory",
        "call_host_calls",
        "request_host_calls",
        "copied_bytes",
    ];

    /// One lower-case word for metric labels.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Trapped { .. } => "trap",
            Self::CallTime { .. } => "call_time",
            Self::RequestTime { .. } => "request_time",
            Self::Memory { .. } => "memory",
            Self::CallHostCalls { .. } => "call_host_calls",
            Self::RequestHostCalls { .. } => "request_host_calls",
            Self::CopiedBytes { .. } => "copied_bytes",
            Self::Stack { .. } => "stack",
        }
    }

    /// Reads what the engine says. Time and memory are the caller's to recognise.
    pub(crate) fn from_engine(error: &wasmtime::Error) -> Self {
        // A limit that the host has found exceeded.
        if let Some(trap) = error.downcast_ref::<Self>() {
            return trap.clone();
        }
        let backtrace: Arc<str> = error
            .downcast_ref::<wasmtime::WasmBacktrace>()
            .map(|backtrace| chain::without(backtrace.to_string()))
            .unwrap_or_default()
            .into();
        match error.downcast_ref::<wasmtime::Trap>() {
            Some(wasmtime::Trap::StackOverflow) => Self::Stack { backtrace },
            _ => Self::Trapped { message: error.root_cause().to_string().into(), backtrace },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_would_be_right() {
        let unknown = LoadError::UnknownImports { abi: "0.2.1", names: vec!["env.a".into(), "env.b".into()] };
        assert_eq!(unknown.to_string(), "unknown imports for ABI 0.2.1: env.a, env.b");
        let silent = StartError::Configure { log: vec![] };
        assert_eq!(silent.to_string(), "proxy_on_configure answered false and logged nothing");
        assert!(Trap::CallTime { limit: Duration::from_millis(20) }.is_timeout());
    }
}
