//! A rule, checked, and what it changes in one message. Values are read before anything is changed.

use tidegate_sdk::{ConfigError, Headers, Value};

use crate::condition::Condition;
use crate::config::{self, Pairs, header_name};
use crate::facts::Facts;
use crate::json::{Node, Pointer};
use crate::template::{Source, Template};
use crate::{query, template};

/// A rule.
#[derive(Debug)]
pub struct Rule {
    /// Whom it fits.
    pub condition: Condition,
    copy: Vec<(String, String)>,
    rename: Vec<(String, String)>,
    remove: Vec<String>,
    set: Vec<(String, Template)>,
    add: Vec<(String, Template)>,
    query_remove: Vec<String>,
    query_set: Vec<(String, Template)>,
    body: Vec<BodyRule>,
}

#[derive(Debug)]
enum BodyRule {
    Rename(Pointer, Pointer),
    Remove(Pointer),
    Set(Pointer, template::Value),
}

/// What is to be done to one message.
#[derive(Debug, Default)]
pub struct Changes<'a> {
    heads: Vec<Head<'a>>,
    query: Vec<(&'a str, Option<Vec<u8>>)>,
    body: Vec<BodyChange<'a>>,
}

#[derive(Debug)]
enum Head<'a> {
    Remove(&'a str),
    Set(&'a str, Vec<u8>),
    Add(&'a str, Vec<u8>),
}

#[derive(Debug)]
enum BodyChange<'a> {
    Rename(&'a Pointer, &'a Pointer),
    Remove(&'a Pointer),
    Set(&'a Pointer, String),
}

/// Parts of a request that rules need.
#[derive(Debug, Clone, Copy, Default)]
pub struct Target {
    /// Its method.
    pub method: bool,
    /// Its path.
    pub path: bool,
    /// Its host.
    pub host: bool,
}

impl Target {
    /// All that either needs.
    pub fn and(self, other: Self) -> Self {
        Target {
            method: self.method || other.method,
            path: self.path || other.path,
            host: self.host || other.host,
        }
    }

    /// Whether anything is needed.
    pub fn is_any(self) -> bool {
        self.method || self.path || self.host
    }
}

/// A value that no header can have.
#[derive(Debug)]
pub struct BadValue {
    /// The header.
    pub name: String,
}

impl Rule {
    /// Checks a rule for requests; `at` is its path in the configuration.
    pub fn of_request(rule: &config::RequestRule, at: &str) -> Result<Self, ConfigError> {
        let condition = Condition::of_request(&rule.when, at)?;
        Self::new(condition, &rule.headers, &rule.query, &rule.body, (at, false))
    }

    /// Checks a rule for responses.
    pub fn of_response(rule: &config::ResponseRule, at: &str) -> Result<Self, ConfigError> {
        let condition = Condition::of_response(&rule.when, at)?;
        Self::new(condition, &rule.headers, &config::Query::default(), &rule.body, (at, true))
    }

    fn new(
        condition: Condition,
        headers: &config::Headers,
        query: &config::Query,
        body: &config::Body,
        (at, response): (&str, bool),
    ) -> Result<Self, ConfigError> {
        let groups = condition.groups();
        let wrong = |key: &str, problem: String| ConfigError::at(format!("{at}.{key}"), problem);
        let pair = |key: &str, (from, to): &(String, String)| -> Result<_, ConfigError> {
            let name = |name: &str| header_name(name).map_err(|problem| wrong(key, problem));
            Ok((name(from)?, name(to)?))
        };
        let text = |key: &str, name: &str, text: &str| {
            let parsed = Template::parse(text, response, &groups);
            parsed.map_err(|problem| wrong(&format!("{key}.{name}"), problem))
        };
        let valued = |key: &str, pairs: &Pairs<String>| -> Result<Vec<_>, ConfigError> {
            let one = |(name, value): &(String, String)| {
                let known = header_name(name).map_err(|problem| wrong(key, problem))?;
                Ok((known, text(key, name, value)?))
            };
            pairs.0.iter().map(one).collect()
        };
        let query_value =
            |(name, value): &(String, String)| Ok((name.clone(), text("query.set", name, value)?));
        let names = headers
            .remove
            .iter()
            .map(|name| header_name(name).map_err(|problem| wrong("headers.remove", problem)));
        Ok(Rule {
            copy: headers.copy.0.iter().map(|entry| pair("headers.copy", entry)).collect::<Result<_, _>>()?,
            rename: headers
                .rename
                .0
                .iter()
                .map(|entry| pair("headers.rename", entry))
                .collect::<Result<_, _>>()?,
            remove: names.collect::<Result<_, _>>()?,
            set: valued("headers.set", &headers.set)?,
            add: valued("headers.add", &headers.add)?,
            query_remove: query.remove.clone(),
            query_set: query.set.0.iter().map(query_value).collect::<Result<_, ConfigError>>()?,
            body: body_rules(body, response, &groups).map_err(|(key, problem)| wrong(&key, problem))?,
            condition,
        })
    }

    /// Whether it changes bodies.
    pub fn changes_body(&self) -> bool {
        !self.body.is_empty()
    }

    /// What it needs of the request's method, path and host.
    pub fn target(&self) -> Target {
        let of = |source: &Source| Target {
            method: matches!(source, Source::Method),
            path: matches!(source, Source::Query(_) | Source::Path | Source::Group(_)),
            host: matches!(source, Source::Host),
        };
        let own = Target {
            method: self.condition.asks_for_method(),
            path: self.condition.asks_for_path()
                || !self.query_remove.is_empty()
                || !self.query_set.is_empty(),
            // What becomes of the answer to HEAD depends on it.
            ..Target::default()
        };
        self.sources().map(of).fold(own, Target::and)
    }

    /// Headers of the request that a rule for responses needs.
    pub fn request_headers(&self) -> impl Iterator<Item = &str> {
        self.sources().filter_map(|source| match source {
            Source::RequestHeader(name) => Some(name.as_str()),
            _ => None,
        })
    }

    fn sources(&self) -> impl Iterator<Item = &Source> {
        let values = self.body.iter().filter_map(|rule| match rule {
            BodyRule::Set(_, value) => value.template(),
            _ => None,
        });
        let templates =
            [&self.set, &self.add, &self.query_set].into_iter().flatten().map(|(_, template)| template);
        templates.chain(values).flat_map(Template::sources)
    }

    /// Adds what this rule does to a message that it fits. A value whose template has an empty place is left out.
    pub fn plan<'a>(&'a self, facts: &Facts<'_>, changes: &mut Changes<'a>) -> Result<(), BadValue> {
        let heads = &mut changes.heads;
        for (moved, (from, to)) in
            self.copy.iter().map(|pair| (false, pair)).chain(self.rename.iter().map(|pair| (true, pair)))
        {
            let values = facts.headers().get_all(from);
            if values.is_empty() || from == to {
                continue;
            }
            heads.push(Head::Remove(to));
            heads.extend(values.into_iter().map(|value| Head::Add(to, value.into_bytes())));
            if moved {
                heads.push(Head::Remove(from));
            }
        }
        heads.extend(self.remove.iter().map(|name| Head::Remove(name)));
        for (name, template) in &self.set {
            if let Some(value) = template.fill(facts) {
                heads.push(Head::Set(name, checked(name, value)?));
            }
        }
        for (name, template) in &self.add {
            if let Some(value) = template.fill(facts) {
                heads.push(Head::Add(name, checked(name, value)?));
            }
        }
        changes.query.extend(self.query_remove.iter().map(|name| (name.as_str(), None)));
        for (name, template) in &self.query_set {
            changes.query.extend(template.fill(facts).map(|value| (name.as_str(), Some(value))));
        }
        changes.body.extend(self.body.iter().filter_map(|rule| match rule {
            BodyRule::Rename(from, to) => Some(BodyChange::Rename(from, to)),
            BodyRule::Remove(at) => Some(BodyChange::Remove(at)),
            BodyRule::Set(at, value) => Some(BodyChange::Set(at, value.fill(facts)?)),
        }));
        Ok(())
    }
}

impl Changes<'_> {
    /// Carries out the changes of headers, and those of the query in `path`, if there are any.
    pub fn apply(&self, headers: &Headers, path: &str) {
        for change in &self.heads {
            match change {
                Head::Remove(name) => headers.remove(name),
                Head::Set(name, value) => headers.set(name, value),
                Head::Add(name, value) => headers.add(name, value),
            }
        }
        if !self.query.is_empty() {
            let put = |path: String, (name, value): &(&str, Option<Vec<u8>>)| {
                query::put(&path, name, value.as_deref())
            };
            let changed = self.query.iter().fold(path.to_owned(), put);
            if changed != path {
                headers.set(":path", changed);
            }
        }
    }

    /// Whether the body is to be changed.
    pub fn changes_body(&self) -> bool {
        !self.body.is_empty()
    }

    /// The changed document; `None` when it is not JSON.
    pub fn rewrite(&self, document: &[u8]) -> Option<Vec<u8>> {
        let mut node = Node::parse(document)?;
        for change in &self.body {
            let done = match change {
                BodyChange::Remove(at) => node.remove(at).is_some(),
                BodyChange::Set(at, value) => node.set(at, Node::Made(value.clone())),
                BodyChange::Rename(from, to) => {
                    // Tried first: a value that has no new place keeps its old one.
                    let mut moved = node.clone();
                    let done = moved.remove(from).is_some_and(|value| moved.set(to, value));
                    if done {
                        node = moved;
                    }
                    done
                }
            };
            if !done {
                tidegate_sdk::log::debug!("the document has no place for a change: {change:?}");
            }
        }
        let mut bytes = Vec::with_capacity(document.len());
        node.write(&mut bytes);
        Some(bytes)
    }
}

fn body_rules(
    body: &config::Body,
    response: bool,
    groups: &[String],
) -> Result<Vec<BodyRule>, (String, String)> {
    let pointer = |key: &str, text: &str| Pointer::parse(text).map_err(|problem| (key.to_owned(), problem));
    let mut rules = Vec::new();
    for (from, to) in &body.rename.0 {
        let (from, to) = (pointer("body.rename", from)?, pointer("body.rename", to)?);
        if from.is_root() || to.is_within(&from) {
            return Err(("body.rename".to_owned(), "a value cannot be moved into itself".to_owned()));
        }
        rules.push(BodyRule::Rename(from, to));
    }
    for text in &body.remove {
        let at = pointer("body.remove", text)?;
        if at.is_root() {
            return Err(("body.remove".to_owned(), "\"\" is the whole document; set it instead".to_owned()));
        }
        rules.push(BodyRule::Remove(at));
    }
    for (text, value) in &body.set.0 {
        let at = pointer("body.set", text)?;
        let value = template::Value::parse(value, response, groups);
        rules.push(BodyRule::Set(at, value.map_err(|problem| (format!("body.set.{text}"), problem))?));
    }
    Ok(rules)
}

/// What a client has written percent-encoded could end a header here.
fn checked(name: &str, value: Vec<u8>) -> Result<Vec<u8>, BadValue> {
    let bad = |byte: &u8| *byte < b' ' && *byte != b'\t' || *byte == 0x7f;
    if value.iter().any(bad) { Err(BadValue { name: name.to_owned() }) } else { Ok(value) }
}

/// The headers of a request that its response will need.
pub fn noted(headers: &Headers, names: &[String]) -> Vec<(String, Value)> {
    names.iter().filter_map(|name| Some((name.clone(), headers.get(name)?))).collect()
}
