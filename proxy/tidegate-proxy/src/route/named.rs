//! Rules by the names that filters choose them by.

use rustc_hash::FxHashMap;
use tidegate_config::plan::{ListenerIndex, PathPattern, Plan, Rule};

use super::Found;

/// The rules of one listener: `ROUTE/RULE`, `ROUTE` for a route's first rule, and `RULE` where only one rule has that
/// name and no route does.
#[derive(Debug, Default)]
pub(crate) struct NamedRules {
    names: FxHashMap<String, usize>,
    /// Route and rule of the plan by number.
    places: FxHashMap<usize, (usize, usize)>,
}

impl NamedRules {
    /// Those that `plan` has for a listener.
    pub(crate) fn new(plan: &Plan, listener: ListenerIndex) -> Self {
        let mut rules = Self::default();
        let mut alone = FxHashMap::<&str, Option<usize>>::default();
        let mut first = 0;
        for (place, route) in plan.routes.iter().enumerate() {
            if route.listeners.contains(&listener) {
                for (index, rule) in route.rules.iter().enumerate() {
                    let id = first + index;
                    rules.places.insert(id, (place, index));
                    rules.names.insert(format!("{}/{}", route.name, rule.name), id);
                    alone.entry(&rule.name).and_modify(|found| *found = None).or_insert(Some(id));
                }
                if !route.rules.is_empty() {
                    rules.names.insert(route.name.clone(), first);
                }
            }
            first += route.rules.len();
        }
        for (name, id) in alone {
            if let Some(id) = id {
                rules.names.entry(name.to_owned()).or_insert(id);
            }
        }
        rules
    }

    /// The number of the rule with this name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// The rule of this number, as if the request had been found to match it.
    pub(crate) fn found(&self, plan: &Plan, rule_id: usize, path: &str) -> Option<Found> {
        let (route, rule) = self.places.get(&rule_id).copied()?;
        let own = plan.routes.get(route)?.rules.get(rule)?;
        Some(Found { route, rule, rule_id, matched_prefix_len: prefix_len(own, path) })
    }
}

/// How much of a path a rewrite of the prefix replaces: the longest of the rule's prefixes that the path begins with.
fn prefix_len(rule: &Rule, path: &str) -> usize {
    let prefixes = rule.matches.iter().filter_map(|own| match &own.path {
        PathPattern::Prefix(prefix) => Some(prefix.trim_end_matches('/')),
        PathPattern::Exact(_) | PathPattern::Regex(_) => None,
    });
    let fits = |prefix: &&str| {
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    prefixes.filter(fits).map(str::len).max().unwrap_or(0)
}
