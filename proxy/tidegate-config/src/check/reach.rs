//! What no request can reach: hosts that no listener of the route serves, rules whose requests an earlier rule takes.

use super::Check;
use super::listener::Listeners;
use crate::node::Path;
use crate::plan::{HostPattern, Match, PathPattern, Route, ValuePattern};
use crate::problem::Fault;
use crate::types::anchored;
use regex::bytes::Regex;
use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

/// The hosts of a listener, so that one look-up tells whether a route's host is among them.
struct Hosts<'a> {
    exact: HashSet<&'a str>,
    wildcard: HashSet<&'a str>,
    /// Every suffix that a host of the listener has.
    suffixes: HashSet<&'a str>,
}

impl<'a> Hosts<'a> {
    fn new(hosts: &'a [HostPattern]) -> Self {
        let mut all = Self { exact: HashSet::new(), wildcard: HashSet::new(), suffixes: HashSet::new() };
        for host in hosts {
            let text = match host {
                HostPattern::Exact(name) => {
                    all.exact.insert(name);
                    name
                }
                HostPattern::Wildcard(suffix) => {
                    all.wildcard.insert(suffix);
                    all.suffixes.insert(suffix);
                    suffix
                }
            };
            all.suffixes.extend(suffixes(text));
        }
        all
    }

    fn serves(&self, host: &HostPattern) -> bool {
        match host {
            HostPattern::Exact(name) => {
                self.exact.contains(name.as_str())
                    || suffixes(name).any(|suffix| self.wildcard.contains(suffix))
            }
            HostPattern::Wildcard(suffix) => {
                self.suffixes.contains(suffix.as_str())
                    || suffixes(suffix).any(|suffix| self.wildcard.contains(suffix))
            }
        }
    }
}

/// The proper suffixes of a host that begin with a dot.
fn suffixes(host: &str) -> impl Iterator<Item = &str> {
    host.char_indices().skip(1).filter(|(_, c)| *c == '.').filter_map(|(at, _)| host.get(at..))
}

/// Warns about hosts of routes that none of their listeners serves.
pub(super) fn hostnames(check: &mut Check<'_>, routes: &[Route], listeners: &Listeners) {
    let hosts: Vec<Option<Hosts<'_>>> = listeners
        .list
        .iter()
        .map(|listener| (!listener.hostnames.is_empty()).then(|| Hosts::new(&listener.hostnames)))
        .collect();
    let root = Path::ROOT;
    let section = root.key("routes");
    for (index, route) in routes.iter().enumerate() {
        let serves = |host: &HostPattern| {
            let mut all = route.listeners.iter().filter_map(|listener| hosts.get(*listener));
            route.listeners.is_empty()
                || all.any(|hosts| hosts.as_ref().is_none_or(|hosts| hosts.serves(host)))
        };
        for host in route.hostnames.iter().filter(|host| !serves(host)) {
            let name = match host {
                HostPattern::Exact(name) => name.clone(),
                HostPattern::Wildcard(suffix) => format!("*{suffix}"),
            };
            let fault = Fault::new(format!("no listener of this route serves the host {name:?}"));
            check.warn(
                &section.index(index).key("hostnames"),
                fault.hint("hostnames of the listeners name those they serve"),
            );
        }
    }
}

/// Warns about rules of a route of which every match is taken by earlier rules.
///
/// Among the matches of a route the more specific one wins: exact path before longer prefix before shorter one, then a
/// method, then more headers, then more query parameters, then the order. So an earlier match takes everything of a
/// later one only when both name the same path, method, headers and parameters, and its values cover the later ones'.
pub(super) fn rules(check: &mut Check<'_>, routes: &[Route]) {
    let root = Path::ROOT;
    let section = root.key("routes");
    for (index, route) in routes.iter().enumerate() {
        let path = section.index(index);
        let rules = path.key("rules");
        let mut earlier = Earlier::default();
        for (index, rule) in route.rules.iter().enumerate() {
            let taken: Option<Vec<usize>> = rule.matches.iter().map(|one| earlier.takes(one)).collect();
            if let Some(first) = taken.and_then(|taken| taken.into_iter().min()) {
                let place = check.place(&rules.index(first));
                let fault =
                    Fault::new(format!("no request reaches this rule: the one in {place} takes them all"));
                check.warn(&rules.index(index), fault.hint("make its matches more specific, or remove it"));
            }
            for one in &rule.matches {
                earlier.add(one, index);
            }
        }
    }
}

/// What two matches must have in common to be compared.
#[derive(PartialEq, Eq, Hash)]
struct Outline<'a> {
    path: (u8, &'a str),
    method: Option<&'a str>,
    headers: Vec<&'a str>,
    query: Vec<&'a str>,
}

impl<'a> Outline<'a> {
    fn new(one: &'a Match) -> Self {
        let path = match &one.path {
            PathPattern::Exact(path) => (0, path.as_str()),
            PathPattern::Prefix(path) => (1, path.as_str()),
            PathPattern::Regex(path) => (2, path.as_str()),
        };
        let names =
            |values: &'a [(String, ValuePattern)]| values.iter().map(|(name, _)| name.as_str()).collect();
        Self { path, method: one.method.as_deref(), headers: names(&one.headers), query: names(&one.query) }
    }
}

/// Comparisons with one group of matches; a group with more expressions is not looked at further.
const COMPARED: usize = 16;

/// The matches of the rules so far.
#[derive(Default)]
struct Earlier<'a> {
    groups: HashMap<Outline<'a>, Group<'a>>,
}

#[derive(Default)]
struct Group<'a> {
    /// By their exact values.
    same: HashMap<Vec<(bool, &'a str)>, usize>,
    /// Those with expressions, which cover other values too.
    wide: Vec<Wide<'a>>,
}

/// A match with expressions, which are compiled when they are first compared.
struct Wide<'a> {
    own: &'a Match,
    rule: usize,
    compiled: OnceCell<Vec<Option<Regex>>>,
}

impl<'a> Earlier<'a> {
    /// The earlier rule that takes what matches.
    fn takes(&self, one: &Match) -> Option<usize> {
        let group = self.groups.get(&Outline::new(one))?;
        let same = group.same.get(&values(one).collect::<Vec<_>>()).copied();
        same.or_else(|| group.wide.iter().find(|wide| wide.covers(one)).map(|wide| wide.rule))
    }

    fn add(&mut self, one: &'a Match, rule: usize) {
        let group = self.groups.entry(Outline::new(one)).or_default();
        let values: Vec<_> = values(one).collect();
        if values.iter().any(|(expression, _)| *expression) && group.wide.len() < COMPARED {
            group.wide.push(Wide { own: one, rule, compiled: OnceCell::new() });
        }
        group.same.entry(values).or_insert(rule);
    }
}

fn values(one: &Match) -> impl Iterator<Item = (bool, &str)> {
    one.headers.iter().chain(&one.query).map(|(_, value)| match value {
        ValuePattern::Exact(text) => (false, text.as_str()),
        ValuePattern::Regex(text) => (true, text.as_str()),
    })
}

impl Wide<'_> {
    /// Whether each value of this match is fulfilled by whatever fulfils that of a later one.
    fn covers(&self, later: &Match) -> bool {
        let compile = |(expression, text): (bool, &str)| if expression { anchored(text).ok() } else { None };
        let compiled = self.compiled.get_or_init(|| values(self.own).map(compile).collect());
        values(self.own).zip(compiled).zip(values(later)).all(|((wide, regex), narrow)| {
            let fits = || regex.as_ref().is_some_and(|regex| regex.is_match(narrow.1.as_bytes()));
            wide == narrow || wide == (true, ".*") || !narrow.0 && fits()
        })
    }
}
