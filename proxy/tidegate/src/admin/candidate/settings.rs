//! Settings in which two configurations differ for a request that the same rule takes: of the rule, of the plugins that it
//! and its listener name, of the upstreams. Documents without secrets are compared: secrets are in no difference.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tidegate_proxy::Explanation;

use super::Side;

/// What differs, before and after; not what `told`, the words for the rule, say already.
pub(super) fn compare(
    before: (&Side<'_>, &Explanation),
    after: (&Side<'_>, &Explanation),
    told: &[&str],
) -> Vec<(String, String)> {
    let mut sides = [before, after].map(|(side, told)| settings(side.document, told));
    if told.contains(&"action") {
        // The action names the servers and how one is picked.
        sides.iter_mut().flat_map(|side| side.values_mut()).filter_map(Value::as_object_mut).for_each(
            |own| {
                own.retain(|key, _| !["servers", "balance"].contains(&key.as_str()));
            },
        );
    }
    let [old, new] = sides;
    let mut found = Vec::new();
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        if !words_for(name).is_some_and(|word| told.contains(&word)) {
            differences(name, old.get(name), new.get(name), &mut found);
        }
    }
    found
}

/// What decides about a request, by where it stands: the rule's keys by their own names.
fn settings(document: &Value, told: &Explanation) -> Map<String, Value> {
    let mut settings = Map::new();
    let rule = told.chosen.as_ref().and_then(|choice| rule(document, &choice.route, &choice.rule));
    let rule = rule.and_then(Value::as_object);
    for (key, value) in
        rule.into_iter().flatten().filter(|(key, _)| !["name", "matches"].contains(&key.as_str()))
    {
        settings.insert(key.clone(), value.clone());
    }
    let listener = named(&document["listeners"], told.listener.as_deref().unwrap_or_default());
    let filters = listener.map_or(&Value::Null, |listener| &listener["filters"]);
    if !filters.is_null() {
        settings.insert("listener.filters".to_owned(), filters.clone());
    }
    let own = rule.and_then(|rule| rule.get("filters")).unwrap_or(&Value::Null);
    for plugin in [filters, own].into_iter().filter_map(Value::as_array).flatten() {
        insert(&mut settings, document, "plugins", &plugin["plugin"]);
    }
    let targets = rule.and_then(|rule| rule.get("forward")).and_then(Value::as_array);
    for target in targets.into_iter().flatten() {
        insert(&mut settings, document, "upstreams", &target["upstream"]);
    }
    settings
}

fn insert(settings: &mut Map<String, Value>, document: &Value, kind: &str, name: &Value) {
    let Some(name) = name.as_str() else { return };
    settings.insert(format!("{kind}.{name}"), document[kind][name].clone());
}

/// A rule as it is written. One without a name is known by its place.
fn rule<'a>(document: &'a Value, route: &str, rule: &str) -> Option<&'a Value> {
    let rules = &named(&document["routes"], route)?["rules"];
    named(rules, rule).or_else(|| rules.get(rule.parse::<usize>().ok()?))
}

fn named<'a>(list: &'a Value, name: &str) -> Option<&'a Value> {
    list.as_array()?.iter().find(|item| item["name"] == name)
}

/// Which words of an explanation are about a key of a rule.
fn words_for(key: &str) -> Option<&'static str> {
    match key {
        "filters" | "listener.filters" => Some("filters"),
        "forward" | "redirect" | "respond" | "stickyBy" | "session" | "release" | "mirror" => Some("action"),
        "timeouts" => Some("timeouts"),
        "retries" => Some("retries"),
        _ => None,
    }
}

/// The innermost values that differ, each with its path.
fn differences(path: &str, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<(String, String)>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            for key in keys {
                differences(&format!("{path}.{key}"), one.get(key), other.get(key), found);
            }
        }
        (Some(Value::Array(one)), Some(Value::Array(other))) if one.len() == other.len() => {
            for (at, (one, other)) in one.iter().zip(other).enumerate() {
                differences(&format!("{path}.{at}"), Some(one), Some(other), found);
            }
        }
        (old, new) => found.push((shown(path, old), shown(path, new))),
    }
}

fn shown(path: &str, value: Option<&Value>) -> String {
    let Some(value) = value else { return String::new() };
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{path}: {}…", &text[..end]),
        None => format!("{path}: {text}"),
    }
}

/// Characters of a value that are told.
const LONGEST: usize = 200;
