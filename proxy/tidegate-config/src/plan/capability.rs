//! What a guest may do of what the ABI has.

/// What a guest may do of what the ABI has; by default everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Names of host functions, or their beginnings with `*`; none: all.
    pub functions: Option<Vec<String>>,
    /// Fields of requests.
    pub request_headers: FieldAccess,
    /// Fields of responses.
    pub response_headers: FieldAccess,
    /// Bodies of requests.
    pub request_body: BodyAccess,
    /// Bodies of responses.
    pub response_body: BodyAccess,
    /// Upstreams that the guest may choose; none: all.
    pub forward_to: Option<Vec<String>>,
    /// Routes and rules that the guest may choose; none: all.
    pub route_to: Option<Vec<String>>,
}

/// Names of the foreign functions that the host has, in order.
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

impl Capabilities {
    /// Before the name of a foreign function that is granted alone.
    pub const FOREIGN: &str = "foreign:";

    /// Whether the guest may call a host function; `foreign:NAME` is a foreign one.
    #[must_use]
    pub fn may_call(&self, name: &str) -> bool {
        match (&self.functions, name.strip_prefix(Self::FOREIGN)) {
            (None, _) => true,
            (_, Some(foreign)) => self.may_call_foreign(foreign),
            // One alone is enough for the function that calls it.
            (Some(granted), None) if name == "proxy_call_foreign_function" => {
                granted.iter().any(|granted| granted.starts_with(Self::FOREIGN) || fits(granted, name))
            }
            (Some(granted), None) => granted.iter().any(|granted| fits(granted, name)),
        }
    }

    /// Whether the guest may call a foreign function.
    #[must_use]
    pub fn may_call_foreign(&self, name: &str) -> bool {
        let Some(granted) = &self.functions else { return true };
        granted.iter().any(|granted| match granted.strip_prefix(Self::FOREIGN) {
            Some(granted) => fits(granted, name),
            None => fits(granted, "proxy_call_foreign_function"),
        })
    }
}

/// Whether a name is meant by one of a list, which may be a beginning with `*`.
fn fits(granted: &str, name: &str) -> bool {
    match granted.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => granted == name,
    }
}

impl FieldAccess {
    /// Whether a list has a field; none has all.
    #[must_use]
    pub fn grants(list: Option<&Vec<String>>, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        list.is_none_or(|list| list.iter().any(|granted| fits(&granted.to_ascii_lowercase(), &name)))
    }
}

/// Names of fields, or their beginnings with `*`; none: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldAccess {
    /// To be seen.
    pub read: Option<Vec<String>>,
    /// To be changed.
    pub write: Option<Vec<String>>,
}

/// What a guest may do with a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BodyAccess {
    /// Nothing.
    None,
    /// Read.
    Read,
    /// Read and change.
    #[default]
    Write,
}
