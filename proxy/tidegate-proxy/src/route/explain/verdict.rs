//! How far each rule of a plan gets with a request.

use http::request::Parts;
use tidegate_config::plan::{ListenerIndex, Match, Plan, Rule};

use crate::route::host::{HostKey, intersect};
use crate::route::matching::{Conditions, Summary, Unmet};
use crate::route::path::CompiledPath;

/// How far a rule got, by the best of its matches.
pub(super) struct Verdict {
    /// Index of the route.
    pub(super) route: usize,
    /// Index of the rule.
    pub(super) rule: usize,
    /// Index of the best match.
    pub(super) best: usize,
    /// What stopped it.
    pub(super) hurdle: Hurdle,
}

/// How specific a rule is that matches: host, then the rest.
pub(super) type Rank = (HostKey, Summary);

/// What stops a rule.
#[derive(Debug, Clone)]
pub(super) enum Hurdle {
    /// The route is not on the listener.
    Listener,
    /// No host of the route, or none that the listener serves too.
    Host,
    /// The pattern does not compile: the listener would not start.
    Broken,
    /// Another path.
    Path,
    /// A condition.
    Unmet(Unmet),
    /// Nothing.
    None(Rank),
}

impl Hurdle {
    /// How far a match got.
    pub(super) fn progress(&self) -> u8 {
        match self {
            Self::Listener => 0,
            Self::Host => 1,
            Self::Broken => 2,
            Self::Path => 3,
            Self::Unmet(Unmet::Method) => 4,
            Self::Unmet(Unmet::Header(_)) => 5,
            Self::Unmet(Unmet::Query(_)) => 6,
            Self::None(_) => 7,
        }
    }

    fn is_better_than(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None(own), Self::None(other)) => own > other,
            _ => self.progress() > other.progress(),
        }
    }
}

/// A verdict for each rule of the plan, in the order of the document. `host` and `path` are normalised.
pub(super) fn all(
    plan: &Plan,
    listener: ListenerIndex,
    host: &[u8],
    path: &str,
    head: &Parts,
) -> Vec<Verdict> {
    let served = plan.listeners.get(listener).map_or(&[][..], |listener| &listener.hostnames);
    let mut verdicts = Vec::new();
    for (route_index, route) in plan.routes.iter().enumerate() {
        let host = if route.listeners.contains(&listener) {
            let keys = intersect(&route.hostnames, served);
            keys.into_iter().filter(|key| key.has(host)).max().ok_or(Hurdle::Host)
        } else {
            Err(Hurdle::Listener)
        };
        for (rule_index, rule) in route.rules.iter().enumerate() {
            let (best, hurdle) = match &host {
                Ok(host) => best_match(rule, (route_index, rule_index), host, path, head),
                Err(hurdle) => (0, hurdle.clone()),
            };
            verdicts.push(Verdict { route: route_index, rule: rule_index, best, hurdle });
        }
    }
    verdicts
}

fn best_match(
    rule: &Rule,
    (route, index): (usize, usize),
    host: &HostKey,
    path: &str,
    head: &Parts,
) -> (usize, Hurdle) {
    let mut best = (0, Hurdle::Path);
    for (position, own) in rule.matches.iter().enumerate() {
        let hurdle = hurdle(own, (route, index, position), host, path, head);
        if hurdle.is_better_than(&best.1) {
            best = (position, hurdle);
        }
    }
    best
}

fn hurdle(own: &Match, position: (usize, usize, usize), host: &HostKey, path: &str, head: &Parts) -> Hurdle {
    let (Ok(pattern), Ok(conditions)) = (CompiledPath::build(&own.path), Conditions::build(own)) else {
        return Hurdle::Broken;
    };
    if !pattern.fits(path) {
        return Hurdle::Path;
    }
    match conditions.and_then(|conditions| conditions.unmet(head)) {
        Some(unmet) => Hurdle::Unmet(unmet),
        None => Hurdle::None((host.clone(), Summary::new(own, pattern.rank(), position))),
    }
}
