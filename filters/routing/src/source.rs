//! Values of a request, and which requests a rule is about.

use regex_lite::Regex;
use tidegate_request_parts::{Paths, Subject, header_name};
use tidegate_sdk::{ConfigError, Interest, Request};

use crate::config::{self, Source};

/// The value, if the request has it; an empty one counts as none.
pub(crate) fn value<S>(source: &Source, request: &Request<S>) -> Option<String> {
    let value = match source {
        Source::Header(name) => request.headers().get_str(name),
        Source::Cookie(name) => request.cookie(name).and_then(|value| value.to_str().map(str::to_owned)),
        Source::Query(name) => request.query(name),
        Source::Property(name) => request.properties().text(name).or_else(|| own(request, name)),
        Source::Claim(claim) => claim.of(request).and_then(|value| String::from_utf8(value).ok()),
        Source::Subject => Subject.of(request).and_then(|value| String::from_utf8(value).ok()),
        Source::Segment(at) => {
            let path = request.path();
            without_query(&path).split('/').skip(1).nth(*at).map(str::to_owned)
        }
        Source::Host => Some(host(&request.authority())),
        Source::Subdomain => host(&request.authority()).split_once('.').map(|(first, _)| first.to_owned()),
        Source::Address => request.properties().source().ip(),
    };
    value.filter(|value| !value.is_empty())
}

/// A property that a filter has set is found by its whole name only, whatever dots are in it.
fn own<S>(request: &Request<S>, name: &str) -> Option<String> {
    String::from_utf8(request.properties().own(name)?).ok()
}

/// A host without its port, in lower case.
fn host(authority: &str) -> String {
    let port = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    port.map_or(authority, |(host, _)| host).to_ascii_lowercase()
}

pub(crate) fn without_query(path: &str) -> &str {
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// Checks the names in a source.
pub(crate) fn checked(source: &Source, path: &str) -> Result<Source, ConfigError> {
    match source {
        Source::Header(name) => Ok(Source::Header(header_name(name, &format!("{path}.header"))?)),
        Source::Cookie(name) | Source::Query(name) | Source::Property(name) if name.is_empty() => {
            Err(ConfigError::at(path, "the name is empty"))
        }
        other => Ok(other.clone()),
    }
}

/// A regular expression that must fit a whole text.
pub(crate) fn whole(pattern: &str, path: &str) -> Result<Regex, ConfigError> {
    // Alone first, so that no parenthesis of it closes ours.
    Regex::new(pattern)
        .and_then(|_| Regex::new(&format!("^(?:{pattern})$")))
        .map_err(|error| ConfigError::at(path, format!("\"{pattern}\" is no regular expression: {error}")))
}

/// What every text begins with that a regular expression fits as a whole; nothing where that is not plain.
pub(crate) fn beginning(pattern: &str) -> Option<&str> {
    if pattern.contains('|') {
        return None;
    }
    let end = pattern.find(|c: char| "\\.+*?()[]{}^$".contains(c)).unwrap_or(pattern.len());
    let (text, rest) = pattern.split_at_checked(end)?;
    // What stands before these may be missing.
    let text = match rest.chars().next() {
        Some('*' | '?' | '{') => text.get(..text.char_indices().last()?.0)?,
        _ => text,
    };
    text.starts_with('/').then_some(text)
}

/// Which requests a rule is about.
pub(crate) type Matcher = tidegate_request_parts::Matcher<WholePath>;

/// A regular expression for paths.
#[derive(Debug)]
pub(crate) struct WholePath {
    regex: Regex,
    /// What paths that fit begin with, if that is known.
    beginning: Option<String>,
}

impl Paths for WholePath {
    type Document = config::Pattern;

    fn build(document: &config::Pattern, path: &str) -> Result<Self, ConfigError> {
        let config::Pattern(pattern) = document;
        Ok(WholePath { regex: whole(pattern, path)?, beginning: beginning(pattern).map(str::to_owned) })
    }

    fn fits(&self, path: &[u8]) -> bool {
        // Bytes that are no text stand for some character: no rule is got past by them.
        self.regex.is_match(&String::from_utf8_lossy(path))
    }

    fn interest(&self) -> Option<Interest<'_>> {
        self.beginning.as_deref().map(Interest::PathPrefix)
    }
}

#[cfg(test)]
mod tests {
    use super::{Paths, WholePath, beginning, config};

    #[test]
    fn paths_that_are_no_text_are_of_rules_as_others_are() {
        let fits = |pattern: &str, path: &[u8]| {
            WholePath::build(&config::Pattern(pattern.to_owned()), "").expect("a pattern").fits(path)
        };
        assert!(fits("/admin/.*", b"/admin/\xff") && fits(".*", b"/\xc3"));
        assert!(!fits("/admin/[a-z]*", b"/admin/\xff"));
    }

    #[test]
    fn beginnings_are_what_is_plain() {
        let cases = [
            ("/old/(.*)", Some("/old/")),
            ("/shop.*", Some("/shop")),
            ("/a", Some("/a")),
            ("/ab?", Some("/a")),
            ("/ab*c", Some("/a")),
            ("/ab+c", Some("/ab")),
            ("/a{2}", Some("/")),
            ("/\\.well-known/.*", Some("/")),
            ("/a|/b", None),
            ("(?i)/a", None),
            (".*", None),
            ("/?a", None),
            ("/\u{e9}?", Some("/")),
        ];
        for (pattern, wanted) in cases {
            assert_eq!(beginning(pattern), wanted, "{pattern}");
        }
    }
}
