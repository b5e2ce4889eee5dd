//! The route table of one listener, compiled from the plan.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use http::request::Parts;
use rustc_hash::FxHashMap;
use thiserror::Error;
use tidegate_config::plan::{ListenerIndex, PathPattern, Plan, Route, Rule};

use super::host::{HostKey, HostTable, intersect};
use super::matching::{Conditions, Summary};
use super::path::{Candidate, CompiledPath, Entry, PathTable};
use crate::http::added;
use crate::http::sanitize::PathFault;

/// A rule that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Index into the plan's routes.
    pub(crate) route: usize,
    /// Index into the route's rules.
    pub(crate) rule: usize,
    /// Number of the rule when all rules of all routes of the plan are counted in order, from 0.
    pub(crate) rule_id: usize,
    /// How much of the path a rewrite of the prefix replaces: the rest is empty or starts with a slash. All of it where
    /// the rule did not match by a prefix.
    pub(crate) matched_prefix_len: usize,
}

/// Why a table cannot be built.
#[derive(Debug, Error)]
#[error("route `{route}`, rule `{rule}`: {fault}")]
pub(crate) struct RouteError {
    /// The route's name.
    pub(crate) route: String,
    /// The rule's name.
    pub(crate) rule: String,
    /// What is wrong.
    #[source]
    pub(crate) fault: Fault,
}

/// What is wrong with a match.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    /// No request can have the path.
    #[error("no request can have the path `{0}`: {1}")]
    Path(String, #[source] PathFault),
    /// Not a regular expression over bytes.
    #[error("`{0}` is no regular expression over bytes")]
    Regex(String, #[source] Box<regex::Error>),
    /// Not a method.
    #[error("`{0}` is no method")]
    Method(String),
    /// Not a header's name.
    #[error("`{0}` is no header name")]
    Header(String),
}

/// All rules that a listener has.
pub(crate) struct RouteTable {
    hosts: HostTable<PathTable>,
    size: usize,
    reads_fields: bool,
    reads_added: bool,
}

impl fmt::Debug for RouteTable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RouteTable").field("size", &self.size).finish_non_exhaustive()
    }
}

impl RouteTable {
    /// Compiles the rules that `plan` has for a listener.
    ///
    /// # Errors
    /// A match that no request can fulfil, or that is not well-formed.
    pub(crate) fn build(plan: &Plan, listener: ListenerIndex) -> Result<Self, RouteError> {
        let mut build = Build::default();
        let hostnames = plan.listeners.get(listener).map_or(&[][..], |own| &own.hostnames);
        let mut first_id = 0;
        for (index, route) in plan.routes.iter().enumerate() {
            if route.listeners.contains(&listener) {
                build.add_route(index, first_id, route, intersect(&route.hostnames, hostnames))?;
            }
            first_id += route.rules.len();
        }
        let size = build.hosts.values().map(Vec::len).sum();
        let tables = build.hosts.into_iter().map(|(host, entries)| (host, PathTable::new(entries)));
        let (reads_fields, reads_added) = (build.reads_fields, build.reads_added);
        Ok(Self { hosts: HostTable::new(tables), size, reads_fields, reads_added })
    }

    /// Whether a rule looks at fields other than the host.
    pub(crate) fn reads_fields(&self) -> bool {
        self.reads_fields
    }

    /// Whether a rule looks at fields that the gateway adds itself.
    pub(crate) fn reads_added(&self) -> bool {
        self.reads_added
    }

    /// The rule for a request. `host` is the value of the `host` field, in any case and maybe with a port; the head has
    /// been through the sanitizer.
    pub(crate) fn find(&self, host: &[u8], head: &Parts) -> Option<Found> {
        let path = path_of(head);
        self.hosts.find(host, |paths| paths.find(path, head))
    }
}

/// The path that rules see: `OPTIONS *` is about the whole host.
pub(super) fn path_of(head: &Parts) -> &str {
    match head.uri.path() {
        "*" => "/",
        path => path,
    }
}

/// What is gathered on the way to a table.
#[derive(Default)]
struct Build {
    hosts: FxHashMap<HostKey, Vec<Entry>>,
    patterns: HashMap<String, CompiledPath>,
    reads_fields: bool,
    reads_added: bool,
}

impl Build {
    fn add_route(
        &mut self,
        index: usize,
        first_id: usize,
        route: &Route,
        hosts: Vec<HostKey>,
    ) -> Result<(), RouteError> {
        for (rule_index, rule) in route.rules.iter().enumerate() {
            let found = Found {
                route: index,
                rule: rule_index,
                rule_id: first_id + rule_index,
                matched_prefix_len: 0,
            };
            self.add_rule(found, rule, &hosts).map_err(|fault| RouteError {
                route: route.name.clone(),
                rule: rule.name.clone(),
                fault,
            })?;
        }
        Ok(())
    }

    fn add_rule(&mut self, found: Found, rule: &Rule, hosts: &[HostKey]) -> Result<(), Fault> {
        for (match_index, own) in rule.matches.iter().enumerate() {
            self.reads_fields |= !own.headers.is_empty();
            self.reads_added |= own.headers.iter().any(|(name, _)| added::is_added(name));
            let path = match &own.path {
                PathPattern::Regex(pattern) => match self.patterns.get(pattern) {
                    Some(known) => known.clone(),
                    None => {
                        let path = CompiledPath::build(&own.path)?;
                        self.patterns.insert(pattern.clone(), path.clone());
                        path
                    }
                },
                _ => CompiledPath::build(&own.path)?,
            };
            let conditions = Conditions::build(own)?.map(Arc::new);
            let summary = Summary::new(own, path.rank(), (found.route, found.rule, match_index));
            for host in hosts {
                let candidate = Candidate { found, conditions: conditions.clone() };
                let entry = Entry { summary, path: path.clone(), candidate };
                self.hosts.entry(host.clone()).or_default().push(entry);
            }
        }
        Ok(())
    }
}
