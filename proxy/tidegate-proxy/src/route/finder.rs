//! Finding rules without a gateway, for what only asks, or measures.

use http::header;
use http::request::Parts;
use tidegate_config::plan::{ListenerIndex, Plan};

use super::RouteTable;
use crate::http::sanitize;

/// The rules of one listener, found as requests find theirs.
pub struct RuleFinder(RouteTable);

impl std::fmt::Debug for RuleFinder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuleFinder").finish_non_exhaustive()
    }
}

impl RuleFinder {
    /// Compiles the rules of a listener.
    ///
    /// # Errors
    /// What of them cannot be compiled.
    pub fn build(plan: &Plan, listener: ListenerIndex) -> Result<Self, String> {
        RouteTable::build(plan, listener).map(Self).map_err(|error| error.to_string())
    }

    /// Brings a request's head into the one form in which rules see it. False: it is refused.
    pub fn admit(head: &mut Parts) -> bool {
        sanitize::request(head).is_ok()
    }

    /// The route and the rule, by their places in the plan, for a head that was admitted. None: no rule is for it.
    #[must_use]
    pub fn find(&self, head: &Parts) -> Option<(usize, usize)> {
        let host = head.headers.get(header::HOST).map_or(&b""[..], |host| host.as_bytes());
        self.0.find(host, head).map(|found| (found.route, found.rule))
    }
}
