//! What a guest's failure is called, and what the plugin's policy says about it.

use tidegate_config::plan::{Failure, OnFailure};
use tidegate_wasm::Trap;

use crate::http::fail::Reason;

/// The reason that a trap is refused for.
pub(crate) fn reason_of(trap: &Trap) -> Reason {
    match trap {
        Trap::CallTime { .. } => Reason::PluginTimeout,
        Trap::RequestTime { .. } => Reason::PluginRequestTime,
        Trap::Memory { .. } => Reason::PluginMemory,
        Trap::CallHostCalls { .. } => Reason::PluginHostCalls,
        Trap::RequestHostCalls { .. } => Reason::PluginRequestHostCalls,
        Trap::CopiedBytes { .. } => Reason::PluginCopiedBytes,
        Trap::Trapped { .. } | Trap::Stack { .. } => Reason::PluginTrap,
    }
}

/// What the policy says about a reason.
pub(crate) fn policy_for(policy: OnFailure, reason: Reason) -> Failure {
    match reason {
        Reason::PluginMissing => policy.load,
        Reason::PluginTimeout | Reason::PluginRequestTime => policy.timeout,
        Reason::PluginMemory => policy.memory,
        _ => policy.trap,
    }
}

/// Whether a request may go on when its guest fails.
pub(crate) fn outlives(policy: OnFailure) -> bool {
    [policy.trap, policy.timeout, policy.memory].contains(&Failure::Open)
}
