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
    let mut known = Parts { plugins, told: HashSet::new() };
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
            if route.listeners.is_empty() {
                known.chain(check, &[own]);
            }
        }
    }
}

struct Parts<'a> {
    plugins: &'a [Plugin],
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

/// A filter of a chain.
struct Link {
    /// Group and number in it.
    place: (usize, usize),
    module: String,
    config: Value,
}

impl Parts<'_> {
    fn chain(&mut self, check: &mut Check<'_>, groups: &[Group<'_>]) {
        let links: Vec<Link> = groups
            .iter()
            .enumerate()
            .flat_map(|(group, (_, filters))| {
                filters.iter().enumerate().map(move |(number, filter)| ((group, number), filter))
            })
            .filter_map(|(place, filter)| self.link(place, filter))
            .collect();
        for (at, link) in links.iter().enumerate() {
            let (before, behind) = (&links[..at], &links[at + 1..]);
            let Some(fault) = fault(link, before, behind) else { continue };
            let (group, number) = link.place;
            let Some((path, _)) = groups.get(group) else { continue };
            let filters = path.key("filters");
            let place = filters.index(number);
            if self.told.insert(place.locate(check.tree).2) {
                check.warn(&place, fault);
            }
        }
    }

    /// The filter, if it comes with the gateway.
    fn link(&self, place: (usize, usize), filter: &Filter) -> Option<Link> {
        let Filter::Plugin(index) = filter else { return None };
        let plugin = self.plugins.get(*index)?;
        let ModuleSource::Builtin(module) = &plugin.module else { return None };
        let config = serde_json::from_slice(&plugin.config).unwrap_or(Value::Null);
        Some(Link { place, module: module.clone(), config })
    }
}

fn fault(link: &Link, before: &[Link], behind: &[Link]) -> Option<Fault> {
    let is_auth = |link: &&Link| link.module == AUTH;
    if link.module == CACHE && behind.iter().any(|link| is_auth(&link)) {
        let fault =
            Fault::new("the cache answers before auth is asked, so what it has kept is for everybody");
        return Some(fault.hint("put auth before it"));
    }
    let wanted = wanted(link);
    let handed = |links: &[Link]| links.iter().filter(is_auth).flat_map(handed_on).collect::<BTreeSet<_>>();
    let (known, later) = (handed(before), handed(behind));
    let missing: Vec<&Word> = wanted.iter().filter(|word| !known.contains(word)).collect();
    let word = missing.first()?;
    let name = match word {
        Word::Subject => "the subject".to_owned(),
        Word::Claim(name) => format!("the claim {name:?}"),
    };
    if later.contains(word) {
        let fault =
            Fault::new(format!("{} needs {name}, and auth, which hands it on, comes later", link.module));
        return Some(fault.hint("put auth before it"));
    }
    // Without auth another filter may hand it on, which only its author knows.
    before.iter().any(|link| is_auth(&link)).then(|| {
        let fault = Fault::new(format!("{} needs {name}, which auth does not hand on", link.module));
        fault.hint(match word {
            Word::Subject => "handOn: { subject: true } of auth".to_owned(),
            Word::Claim(name) => format!("handOn: {{ claims: [{name}] }} of auth"),
        })
    })
}

/// What a filter is told by auth, as far as its configuration says.
fn wanted(link: &Link) -> BTreeSet<Word> {
    let mut words = BTreeSet::new();
    match link.module.as_str() {
        RATE_LIMIT => {
            let keys = each(&link.config["limits"]).map(|limit| &limit["key"]);
            let entries =
                each(&link.config["service"]["descriptors"]).flat_map(each).map(|entry| &entry["value"]);
            for text in keys.chain(entries).flat_map(texts) {
                // Of several the first that is there counts, so the others may be missing.
                let part = text.split(" | ").next().unwrap_or_default().trim();
                match part.strip_prefix("claim:") {
                    Some(name) => drop(words.insert(Word::Claim(name.to_owned()))),
                    None if part == "subject" => drop(words.insert(Word::Subject)),
                    None => {}
                }
            }
        }
        ROUTING => {
            for rule in each(&link.config["rules"]) {
                for source in [&rule["split"]["by"], &rule["values"]["from"], &rule["table"]["from"]] {
                    match source["claim"].as_str() {
                        Some(name) => drop(words.insert(Word::Claim(name.to_owned()))),
                        None if source == "subject" => drop(words.insert(Word::Subject)),
                        None => {}
                    }
                }
            }
        }
        _ => {}
    }
    words
}

/// What an auth hands on.
fn handed_on(link: &Link) -> Vec<Word> {
    let document = &link.config["handOn"];
    let subject = &document["subject"];
    let mut words: Vec<Word> = each(&document["claims"])
        .filter_map(Value::as_str)
        .map(|name| Word::Claim(name.to_owned()))
        .collect();
    if !(subject.is_null() || subject == false) {
        words.push(Word::Subject);
    }
    words
}

fn each(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().map(Vec::as_slice).unwrap_or_default().iter()
}

/// One text, or a list of them.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    std::iter::once(value).chain(each(value)).filter_map(Value::as_str)
}

const AUTH: &str = "auth";
const CACHE: &str = "cache";
const RATE_LIMIT: &str = "rate-limit";
const ROUTING: &str = "routing";
