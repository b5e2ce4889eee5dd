//! Route tables: which rule a request is for.
//!
//! A plan's rules are compiled into one [`RouteTable`] for each listener: hosts, then paths, both by hashing, then
//! the few rules that share a path in order of precedence. `explain` says the same in words, from the plan.
//!
//! Precedence is that of the Gateway API: the most specific host (exact, longest wildcard, any); then an exact path,
//! a regular expression (the API leaves its place open: a pattern is more deliberate than a prefix), the longest prefix;
//! then a rule with a method; more header conditions; more query conditions; the order of the document. Where no rule
//! of a host matches, less specific hosts are asked.

mod explain;
mod finder;
mod host;
mod matching;
mod named;
mod path;
mod stream;
mod table;

#[cfg(test)]
mod tests;

pub(crate) use self::explain::candidates;
pub use self::explain::{Choice, ExplainRequest, Explanation, Loser, explain};
pub use self::finder::RuleFinder;
pub(crate) use self::named::NamedRules;
pub(crate) use self::stream::StreamTable;
pub(crate) use self::table::{Found, RouteTable};
