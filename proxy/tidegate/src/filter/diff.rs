//! How two heads differ.

use std::fmt;

use tidegate_wasm::{Content, Event, Field};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Added(String, String),
    Removed(String, String),
    Changed(String, String, String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(name, value) => write!(f, "+ {name}: {value}"),
            Self::Removed(name, value) => write!(f, "- {name}: {value}"),
            Self::Changed(name, before, after) => write!(f, "~ {name}: {before} -> {after}"),
        }
    }
}

/// What makes the second head of the first. What was redacted in one of them is taken for the same.
pub(crate) fn fields(before: &[Field], after: &[Field]) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for Field(name, _) in before.iter().chain(after) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    for name in names {
        let of = |list: &[Field]| -> Vec<Content> {
            list.iter().filter(|field| field.0 == name).map(|field| field.1.clone()).collect()
        };
        let (old, new) = (of(before), of(after));
        if let ([old], [new]) = (old.as_slice(), new.as_slice()) {
            if !same(old, new) {
                changes.push(Change::Changed(name.to_owned(), old.to_string(), new.to_string()));
            }
            continue;
        }
        let missing = |from: &[Content], value: &Content| !from.iter().any(|other| same(other, value));
        let removed = old.iter().filter(|value| missing(&new, value));
        changes.extend(removed.map(|value| Change::Removed(name.to_owned(), value.to_string())));
        let added = new.iter().filter(|value| missing(&old, value));
        changes.extend(added.map(|value| Change::Added(name.to_owned(), value.to_string())));
    }
    changes
}

/// Whether two values are the same, as far as that can be known.
pub(crate) fn same(one: &Content, other: &Content) -> bool {
    match (one, other) {
        (Content::Redacted { .. }, _) | (_, Content::Redacted { .. }) => true,
        _ => one == other,
    }
}

/// `GET /path` of a request's head, the status of a response's.
pub(crate) fn title(headers: &[Field]) -> String {
    let value = |name: &str| headers.iter().find(|field| field.0 == name).map(|field| field.1.to_string());
    match value(":status") {
        Some(status) => status,
        None => {
            format!("{} {}", value(":method").unwrap_or_default(), value(":path").unwrap_or_default())
        }
    }
}

/// The last event of a kind.
pub(crate) fn last<'a>(
    events: impl Iterator<Item = &'a Event>,
    is: impl Fn(&Event) -> bool,
) -> Option<&'a Event> {
    events.filter(|event| is(event)).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &str) -> Field {
        Field(name.to_owned(), Content::Text(value.to_owned()))
    }

    #[test]
    fn differences_of_heads_are_told_by_name() {
        let before = [field("a", "1"), field("b", "1"), field("c", "1"), field("c", "2")];
        let after = [field("a", "1"), field("b", "2"), field("c", "2"), field("d", "1")];
        let told: Vec<String> = fields(&before, &after).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["~ b: 1 -> 2", "- c: 1", "+ d: 1"]);
        let secret = [Field("a".to_owned(), Content::Redacted { redacted: 9 })];
        assert!(fields(&secret, &[field("a", "anything")]).is_empty());
    }
}
