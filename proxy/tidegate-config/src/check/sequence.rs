//! Filters that come with the gateway and stand in an order in which they cannot do what they are there for: what tells
//! senders apart before who establishes them, and what gives kept answers before who decides about requests.

use super::Check;
use super::listener::Listeners;
use crate::node::Path;
use crate::plan::{Filter, ModuleSource, Plugin, Route};
use crate::problem::Fault;
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};

/// Warns about filters of rules, and of listeners before them.
pub(super) fn sequence(
    check: &mut Check<'_>,
    routes: &[Route],
    (listeners, plugins): (&Listeners, &[Plugin]),
) {
    let mut known = Parts { roles: plugins.iter().map(Role::of).collect(), told: HashSet::new() };
    let root = Path::ROOT;
    let (all_listeners, all_routes) = (root.key("listeners"), root.key("routes"));
    for (number, route) in routes.iter().enumerate() {
        let path = all_routes.index(number);
        let rules = path.key("rules");
        for (number, rule) in route.rules.iter().enumerate() {
            let rule_path = rules.index(number);
            let own = (&rule_path, rule.filters.as_slice());
            let fronts =
                route.listeners.iter().filter_map(|index| Some((*index, listeners.list.get(*index)?)));
            for (index, listener) in fronts {
                let front = all_listeners.index(index);
                known.chain(check, &[(&front, listener.filters.as_slice()), own]);
            }
        }
    }
}

struct Parts {
    /// Of each plugin.
    roles: Vec<Role>,
    /// Places that were warned about: a listener has many rules.
    told: HashSet<String>,
}

/// The filters in one place, a listener or a rule.
type Group<'a> = (&'a Path<'a>, &'a [Filter]);

/// What auth hands on, or another filter wants of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Subject,
    Claim(String),
}

/// What a plugin has to do with senders.
enum Role {
    /// It hands these on.
    Auth(BTreeSet<Word>),
    /// The module of this name wants these.
    Wants(&'static str, BTreeSet<Word>),
    Cache,
    Nothing,
    /// Its author knows.
    Unknown,
}

impl Role {
    fn of(plugin: &Plugin) -> Self {
        let ModuleSource::Builtin(module) = &plugin.module else { return Role::Unknown };
        let config = || serde_json::from_slice(&plugin.config).unwrap_or(Value::Null);
        match module.as_str() {
            "auth" => Role::Auth(handed_on(&config())),
            "cache" => Role::Cache,
            "rate-limit" => Role::Wants("rate-limit", wanted_by_limits(&config())),
            "routing" => Role::Wants("routing", wanted_by_routing(&config())),
            _ => Role::Nothing,
        }
    }
}

/// A filter of a chain.
struct Link<'a> {
    /// Group and number in it.
    place: (usize, usize),
    role: &'a Role,
}

impl Parts {
    fn chain(&mut self, check: &mut Check<'_>, groups: &[Group<'_>]) {
        let numbered = groups.iter().enumerate().flat_map(|(group, (_, filters))| {
            filters.iter().enumerate().map(move |(number, filter)| ((group, number), filter))
        });
        let links: Vec<Link<'_>> = numbered
            .filter_map(|(place, filter)| {
                let Filter::Plugin(index) = filter else { return None };
                Some(Link { place, role: self.roles.get(*index)? })
            })
            .collect();
        for (at, link) in links.iter().enumerate() {
            let (before, behind) = (&links[..at], &links[at + 1..]);
            let Some(fault) = fault(link.role, before, behind) else { continue };
            let (group, number) = link.place;
            let Some((path, _)) = groups.get(group) else { continue };
            let filters = path.key("filters");
            let place = filters.index(number);
            if self.told.insert(place.locate(check.tree).2) {
                check.warn(&place, fault);
            }
        }
    }
}

fn fault(role: &Role, before: &[Link<'_>], behind: &[Link<'_>]) -> Option<Fault> {
    let is_auth = |link: &Link<'_>| matches!(link.role, Role::Auth(_));
    let (module, wanted) = match role {
        Role::Cache if behind.iter().any(is_auth) => {
            let fault =
                Fault::new("the cache answers before auth is asked, so what it has kept is for everybody");
            return Some(fault.hint("put auth before it"));
        }
        Role::Wants(module, wanted) => (module, wanted),
        _ => return None,
    };
    let hand_on = |links: &[Link<'_>], word: &Word| {
        links.iter().any(|link| matches!(link.role, Role::Auth(words) if words.contains(word)))
    };
    let missing = || wanted.iter().filter(|word| !hand_on(before, word));
    if let Some(word) = missing().find(|word| hand_on(behind, word)) {
        let name = word.name();
        let fault = Fault::new(format!("{module} needs {name}, and auth, which hands it on, comes later"));
        return Some(fault.hint("put auth before it"));
    }
    // Another filter may hand it on, which only its author knows.
    let of_others = before.iter().any(|link| matches!(link.role, Role::Unknown));
    let word = missing().next().filter(|_| before.iter().any(is_auth) && !of_others)?;
    let fault = Fault::new(format!("{module} needs {}, which auth does not hand on", word.name()));
    Some(fault.hint(match word {
        Word::Subject => "handOn: { subject: true } of auth".to_owned(),
        Word::Claim(name) => format!("handOn: {{ claims: [{name}] }} of auth"),
    }))
}

impl Word {
    fn name(&self) -> String {
        match self {
            Word::Subject => "the subject".to_owned(),
            Word::Claim(name) => format!("the claim {name:?}"),
        }
    }
}

/// What rate-limit is told by auth.
fn wanted_by_limits(config: &Value) -> BTreeSet<Word> {
    let keys = each(&config["limits"]).map(|limit| &limit["key"]);
    let entries = each(&config["service"]["descriptors"]).flat_map(each).map(|entry| &entry["value"]);
    let word = |text: &str| {
        // Of several the first that is there counts, so the others may be missing.
        let part = text.split(" | ").next().unwrap_or_default().trim();
        match part.strip_prefix("claim:") {
            Some(name) => Some(Word::Claim(name.to_owned())),
            None => (part == "subject").then_some(Word::Subject),
        }
    };
    keys.chain(entries).flat_map(texts).filter_map(word).collect()
}

/// What routing is told by auth.
fn wanted_by_routing(config: &Value) -> BTreeSet<Word> {
    let sources = each(&config["rules"])
        .flat_map(|rule| [&rule["split"]["by"], &rule["values"]["from"], &rule["table"]["from"]]);
    let word = |source: &Value| match source["claim"].as_str() {
        Some(name) => Some(Word::Claim(name.to_owned())),
        None => (source == "subject").then_some(Word::Subject),
    };
    sources.filter_map(word).collect()
}

/// What an auth hands on.
fn handed_on(config: &Value) -> BTreeSet<Word> {
    let document = &config["handOn"];
    let subject = &document["subject"];
    let claims = each(&document["claims"]).filter_map(Value::as_str);
    let claims = claims.map(|name| Word::Claim(name.to_owned()));
    claims.chain((!(subject.is_null() || subject == false)).then_some(Word::Subject)).collect()
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

/// One text, or a list of them.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    std::iter::once(value).chain(each(value)).filter_map(Value::as_str)
}
