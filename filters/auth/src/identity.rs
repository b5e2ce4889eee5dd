//! Who sends a request, as a way has established it.

use std::rc::Rc;

use serde_json::{Map, Value};

/// A sender.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Identity {
    /// The way that knows them, as `jwt`.
    pub(crate) kind: &'static str,
    /// Who has issued what they are known by, of ways that have issuers.
    pub(crate) issuer: Option<Rc<str>>,
    /// Their name there: a consumer, a user, `sub` of a token, a SPIFFE id.
    pub(crate) subject: String,
    /// The groups they are in.
    pub(crate) groups: Vec<String>,
    /// What the credentials were issued for.
    pub(crate) scopes: Vec<String>,
    /// What else the way knows of them.
    pub(crate) claims: Map<String, Value>,
    /// Headers for the upstream that the way itself wants set; their names must be among [`Way::headers`].
    ///
    /// [`Way::headers`]: crate::way::Way::headers
    pub(crate) headers: Vec<(String, String)>,
}

impl Identity {
    /// A sender of whom only the name is known.
    pub(crate) fn new(kind: &'static str, subject: impl Into<String>) -> Self {
        Identity { kind, subject: subject.into(), ..Identity::default() }
    }

    /// Their name behind what it is a name of: no two senders have the same one.
    pub(crate) fn qualified(&self) -> String {
        let mut text = self.kind.to_owned();
        for part in self.issuer.as_deref().into_iter().chain([self.subject.as_str()]) {
            text.push(SEPARATOR);
            text.push_str(part);
        }
        text
    }

    /// A claim by its path, names joined by dots; a claim whose own name has dots in it is found too.
    pub(crate) fn claim(&self, path: &str) -> Option<&Value> {
        find(&self.claims, path)
    }
}

/// Stands between the parts of a qualified name; only the last one, the name itself, may have it.
pub(crate) const SEPARATOR: char = '|';

/// A claim by its path.
pub(crate) fn find<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(path) {
        return Some(found);
    }
    for (at, _) in path.match_indices('.') {
        let (name, rest) = (path.get(..at)?, path.get(at + 1..)?);
        if let Some(Value::Object(inner)) = claims.get(name) {
            return find(inner, rest);
        }
    }
    None
}

/// A claim as a header's value: text as it is, lists joined by commas, the rest as JSON. Nothing for what cannot be in a
/// header.
pub(crate) fn written(claim: &Value) -> Option<String> {
    let text = match claim {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        Value::Array(list) if list.iter().all(|item| matches!(item, Value::String(_) | Value::Number(_))) => {
            let items = list.iter().filter_map(written).collect::<Vec<_>>();
            // A comma inside an item would make two of one.
            if items.iter().any(|item| item.contains(',')) {
                return None;
            }
            items.join(",")
        }
        other => other.to_string(),
    };
    (!text.chars().any(char::is_control)).then_some(text)
}

/// A claim as a list: of its items, or of the words of a text.
pub(crate) fn words(claim: &Value) -> Vec<String> {
    match claim {
        Value::String(text) => text.split_ascii_whitespace().map(str::to_owned).collect(),
        Value::Array(list) => list.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}

/// Whether a claim, or an item of it, has a value that is accepted. Numbers and truth values are compared as text.
pub(crate) fn has_value(claim: &Value, accepts: &dyn Fn(&str) -> bool) -> bool {
    match claim {
        Value::Null => false,
        Value::String(text) => accepts(text),
        Value::Array(items) => items.iter().any(|item| !item.is_array() && has_value(item, accepts)),
        other => accepts(&other.to_string()),
    }
}
