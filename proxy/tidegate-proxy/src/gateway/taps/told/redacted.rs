//! Heads as they may be shown: the rules of the access logs, and differences between two of them.

use http::{HeaderMap, HeaderValue};
use tidegate_config::plan::{Plan, TapSettings};

use super::TappedChange;
use crate::local::tap::Line;
use crate::snapshot::logs::{TAKEN_OUT, hides, without_secrets};

/// A field by name and value, as text.
pub(super) type Text = (String, String);

/// What is taken out.
pub(super) struct Redaction(TapSettings);

impl Redaction {
    pub(super) fn of(plan: &Plan) -> Self {
        Self(plan.admin.as_ref().map(|admin| admin.tap.clone()).unwrap_or_default())
    }

    /// A path with its query.
    pub(super) fn path(&self, path: &str) -> String {
        match path.split_once('?') {
            Some((before, query)) => without_secrets(&self.0.secret_query, before, query),
            None => path.to_owned(),
        }
    }

    fn value(&self, name: &str, value: &str) -> String {
        match name {
            ":path" => self.path(value),
            _ if hides(&self.0.secret_headers, name) => TAKEN_OUT.to_owned(),
            _ => value.to_owned(),
        }
    }

    /// Fields without secret values.
    pub(super) fn fields(&self, fields: Vec<Text>) -> Vec<Text> {
        let shown = |(name, value): Text| {
            let value = self.value(&name, &value);
            (name, value)
        };
        fields.into_iter().map(shown).collect()
    }

    /// What differs, in the order of what was before. That a secret has changed is shown, not how.
    pub(super) fn changes(&self, before: &[Text], after: &[Text]) -> Vec<TappedChange> {
        let mut names: Vec<&str> = Vec::new();
        for (name, _) in before.iter().chain(after) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        let values = |fields: &[Text], name: &str| {
            let own: Vec<&str> =
                fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str()).collect();
            (!own.is_empty()).then(|| own.join(", "))
        };
        names
            .into_iter()
            .filter_map(|name| {
                let (old, new) = (values(before, name), values(after, name));
                let shown = |value: Option<String>| value.map(|value| self.value(name, &value));
                (old != new).then(|| TappedChange {
                    name: name.to_owned(),
                    before: shown(old),
                    after: shown(new),
                })
            })
            .collect()
    }
}

/// The fields of a head.
pub(super) fn fields(headers: &HeaderMap) -> Vec<Text> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

impl Line {
    /// First line and fields.
    pub(super) fn fields(&self) -> Vec<Text> {
        let mut all =
            vec![(":method".to_owned(), self.method.to_string()), (":path".to_owned(), super::path(self))];
        all.extend(fields(&self.headers));
        all
    }
}
