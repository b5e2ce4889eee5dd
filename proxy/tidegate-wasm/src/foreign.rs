//! What foreign functions do, apart from guests and their memory: bytes in, bytes out.

pub(crate) mod crypto;
pub(crate) mod expression;
pub(crate) mod interest;
pub(crate) mod password;
pub(crate) mod redis;
pub(crate) mod tokens;
pub(crate) mod zlib;

use expression::Expressions;
use http::request;
use interest::Interest;
use std::time::Duration;

/// Names of all foreign functions, in order.
pub const FOREIGN_FUNCTIONS: [&str; 26] = [
    "clear_route_cache",
    "compress",
    "declare_property",
    "expr_create",
    "expr_delete",
    "expr_evaluate",
    "get_log_level",
    "set_envoy_filter_state",
    "sign",
    "tidegate_append",
    "tidegate_break_off",
    "tidegate_cancel",
    "tidegate_feed",
    "tidegate_has",
    "tidegate_interest",
    "tidegate_leave",
    "tidegate_limit",
    "tidegate_redis",
    "tidegate_reset",
    "tidegate_set_route",
    "tidegate_set_upstream",
    "tidegate_sleep",
    "tidegate_verify",
    "tidegate_verify_password",
    "uncompress",
    "verify_signature",
];

/// What a guest has defined by foreign functions; mostly while it is configured, and then for good.
#[derive(Clone, Default)]
pub(crate) struct Definitions {
    pub(crate) expressions: Expressions,
    /// Few, so a list.
    pub(crate) declared: Vec<Declared>,
    /// Which requests it is shown; none: all.
    pub(crate) interest: Option<Interest>,
    /// Upstreams with Redis that a guest of Higress has named, and how long its calls wait.
    pub(crate) redis: Vec<(String, Duration)>,
}

impl Definitions {
    /// Whether a request with this head passes without the guest; see [`crate::Instance::passes_over`].
    #[inline]
    pub(crate) fn pass_over(&self, head: &request::Parts, adds: impl Fn(&[u8]) -> bool) -> bool {
        self.interest.as_ref().is_some_and(|interest| !interest.includes(head, adds))
    }
}

/// A property that a guest has declared.
#[derive(Debug, Clone, Default)]
pub(crate) struct Declared {
    pub(crate) name: Box<[u8]>,
    /// It is set once.
    pub(crate) readonly: bool,
    /// It is a string, not bytes.
    pub(crate) text: bool,
}
