//! Texts with places for what a message says: `user {header.x-user|nobody} from {source.address}`.

use serde_json::Value as Json;

use crate::facts::Facts;
use crate::json;

/// A text, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Place { source: Source, default: Option<String> },
}

/// What can stand in a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A header of the message itself.
    Header(String),
    /// A header of the request, in a rule for responses.
    RequestHeader(String),
    /// A query parameter, decoded.
    Query(String),
    /// The path without its query.
    Path,
    /// What a group of the condition's pattern has matched.
    Group(String),
    /// The method.
    Method,
    /// The host, with its port if there is one.
    Host,
    /// The status of the response.
    Status,
    /// The client's address.
    Address,
    /// The gateway's id of the request.
    RequestId,
}

/// A value for a JSON document: a text of a template, or anything else as it is.
#[derive(Debug, Clone)]
pub enum Value {
    /// A string.
    Text(Template),
    /// A number, truth value or `null` that a text says.
    Typed(Template),
    /// As it is.
    Literal(String),
}

impl Template {
    /// Takes a text apart. `response` says whether it is for a response; `groups` are those that a pattern has.
    pub fn parse(text: &str, response: bool, groups: &[String]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let (mut plain, mut rest) = (String::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at_checked(at).unwrap_or((rest, ""));
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                plain.push_str(from.get(..1).unwrap_or_default());
                rest = after;
                continue;
            }
            let Some((place, after)) = from.strip_prefix('{').and_then(|from| from.split_once('}')) else {
                return Err(format!(
                    "\"{}\": a brace is not closed or not opened; write {{{{ or }}}} for a brace itself",
                    text.escape_debug()
                ));
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::parse(place, response, groups)?);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template(parts))
    }

    /// The text, or `None` where a place has neither value nor default.
    pub fn fill(&self, facts: &Facts<'_>) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(COMMON);
        for part in &self.0 {
            match part {
                Part::Text(text) => bytes.extend_from_slice(text.as_bytes()),
                Part::Place { source, default } => match (facts.write(source, &mut bytes), default) {
                    (true, _) => {}
                    (false, Some(default)) => bytes.extend_from_slice(default.as_bytes()),
                    (false, None) => return None,
                },
            }
        }
        Some(bytes)
    }

    /// What its places need.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.0.iter().filter_map(|part| match part {
            Part::Place { source, .. } => Some(source),
            Part::Text(_) => None,
        })
    }
}

/// Bytes that most texts do not exceed.
const COMMON: usize = 64;

impl Part {
    fn parse(place: &str, response: bool, groups: &[String]) -> Result<Self, String> {
        let (name, default) = match place.split_once('|') {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (place, None),
        };
        let source = Source::parse(name.trim(), response, groups)?;
        Ok(Part::Place { source, default })
    }
}

impl Source {
    fn parse(name: &str, response: bool, groups: &[String]) -> Result<Self, String> {
        let unknown = || {
            format!(
                "\"{{{}}}\" is nothing known; there are header.NAME, request.header.NAME, query.NAME, path, path.GROUP, method, \
                 host, status, source.address and request.id",
                name.escape_debug()
            )
        };
        let header = |name: &str| match crate::config::header_name(name) {
            Ok(name) => Ok(name),
            Err(problem) => Err(format!("\"{{header.{name}}}\": {problem}")),
        };
        Ok(match name {
            "path" => Source::Path,
            "method" => Source::Method,
            "host" => Source::Host,
            "source.address" => Source::Address,
            "request.id" => Source::RequestId,
            "status" if response => Source::Status,
            "status" => return Err("\"{status}\": a request has no status".to_owned()),
            _ => match name.split_once('.').ok_or_else(unknown)? {
                ("header", name) => Source::Header(header(name)?),
                ("query", name) if !name.is_empty() => Source::Query(name.to_owned()),
                ("path", group) if groups.iter().any(|known| known == group) => {
                    Source::Group(group.to_owned())
                }
                ("path", group) => {
                    return Err(format!(
                        "\"{{path.{}}}\": the rule's when.path has no such group of a pattern",
                        group.escape_debug()
                    ));
                }
                ("request", rest) => match (rest.strip_prefix("header."), response) {
                    (Some(name), true) => Source::RequestHeader(header(name)?),
                    (Some(name), false) => Source::Header(header(name)?),
                    (None, _) => return Err(unknown()),
                },
                _ => return Err(unknown()),
            },
        })
    }
}

impl Value {
    /// Takes a value of the configuration apart. A text that is one place with `:json` behind its name gives what it says.
    pub fn parse(value: &Json, response: bool, groups: &[String]) -> Result<Self, String> {
        let Json::String(text) = value else { return Ok(Value::Literal(value.to_string())) };
        if let Some(inner) = text.strip_prefix('{').and_then(|text| text.strip_suffix(":json}")) {
            if !inner.contains(['{', '}']) {
                let place = format!("{{{inner}}}");
                return Ok(Value::Typed(Template::parse(&place, response, groups)?));
            }
        }
        Ok(Value::Text(Template::parse(text, response, groups)?))
    }

    /// As JSON; `None` where a place has no value, or what it says is no number, truth value or `null`.
    pub fn fill(&self, facts: &Facts<'_>) -> Option<String> {
        match self {
            Value::Literal(text) => Some(text.clone()),
            Value::Text(template) => Some(json::string(&String::from_utf8_lossy(&template.fill(facts)?))),
            Value::Typed(template) => {
                let text = String::from_utf8(template.fill(facts)?).ok()?;
                let text = text.trim();
                let scalar = matches!(text, "true" | "false" | "null")
                    || text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
                (scalar && json::Node::parse(text.as_bytes()).is_some()).then(|| text.to_owned())
            }
        }
    }

    /// What its places need.
    pub fn template(&self) -> Option<&Template> {
        match self {
            Value::Text(template) | Value::Typed(template) => Some(template),
            Value::Literal(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_taken_apart() {
        let parse = |text| Template::parse(text, false, &["1".to_owned(), "id".to_owned()]);
        let place = |source| Part::Place { source, default: None };
        assert_eq!(parse("").map(|t| t.0), Ok(vec![]));
        assert_eq!(parse("{{a}}").map(|t| t.0), Ok(vec![Part::Text("{a}".to_owned())]));
        assert_eq!(
            parse("{path.1}-{path.id}").map(|t| t.0),
            Ok(vec![
                place(Source::Group("1".to_owned())),
                Part::Text("-".to_owned()),
                place(Source::Group("id".to_owned()))
            ])
        );
        assert_eq!(
            parse("{header.X-A|n o}").map(|t| t.0),
            Ok(vec![Part::Place {
                source: Source::Header("x-a".to_owned()),
                default: Some("n o".to_owned())
            }])
        );
        for wrong in [
            "{",
            "}",
            "a{b",
            "{}",
            "{x}",
            "{header.}",
            "{header.a b}",
            "{path.2}",
            "{query.}",
            "{status}",
            "{request.x}",
            "{{}",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
