//! Which requests something is about: the part of a configuration, and what it is checked into. What a path must be like
//! differs from filter to filter ([`Paths`]).

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_sdk::{ConfigError, Interest, Request, Value, units};

/// What a request must be like; all that is given must fit.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[cfg_attr(not(target_family = "wasm"), schemars(rename = "Match"))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Match<P> {
    /// The path, without its query.
    pub path: Option<P>,
    /// The methods, one of which must fit.
    pub methods: Option<Vec<String>>,
    /// Headers and the values that they must have, compared as bytes; `*` for any value.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Cookies and the values that they must have; `*` for any value.
    #[serde(default)]
    pub cookies: BTreeMap<String, String>,
}

/// What paths must be like.
pub trait Paths: Sized {
    /// As it is written.
    type Document;

    /// Checks what is written at this path of the configuration.
    ///
    /// # Errors
    /// The problem, for the configuration's author.
    fn build(document: &Self::Document, path: &str) -> Result<Self, ConfigError>;

    /// Whether a path fits, without its query.
    fn fits(&self, path: &[u8]) -> bool;

    /// What all paths that fit have in common; nothing where that is not known.
    fn interest(&self) -> Option<Interest<'_>>;
}

/// A [`Match`], checked. The default fits all requests.
#[derive(Debug)]
pub struct Matcher<P> {
    path: Option<P>,
    methods: Option<Vec<String>>,
    headers: Vec<Named>,
    cookies: Vec<Named>,
}

/// A name, and the value that it must have, if a certain one.
type Named = (String, Option<String>);

impl<P> Default for Matcher<P> {
    fn default() -> Self {
        Matcher { path: None, methods: None, headers: Vec::new(), cookies: Vec::new() }
    }
}

impl<P: Paths> Matcher<P> {
    /// Checks what is written at this path of the configuration; nothing fits all requests.
    ///
    /// # Errors
    /// The problem, for the configuration's author.
    pub fn new(wanted: Option<&Match<P::Document>>, at: &str) -> Result<Self, ConfigError> {
        let Some(wanted) = wanted else { return Ok(Matcher::default()) };
        let path = wanted.path.as_ref().map(|path| P::build(path, &format!("{at}.path"))).transpose()?;
        if wanted.methods.as_ref().is_some_and(Vec::is_empty) {
            return Err(ConfigError::at(format!("{at}.methods"), "is empty, so no request would fit"));
        }
        let certain = |value: &String| (value != ANY).then(|| value.clone());
        let header = |(name, value): (&String, &String)| {
            Ok((header_name(name, &format!("{at}.headers"))?, certain(value)))
        };
        Ok(Matcher {
            path,
            methods: wanted.methods.clone(),
            headers: wanted.headers.iter().map(header).collect::<Result<_, ConfigError>>()?,
            cookies: wanted.cookies.iter().map(|(name, value)| (name.clone(), certain(value))).collect(),
        })
    }

    /// What all requests that fit have in common, or one of it; nothing where they have nothing.
    pub fn interest(&self) -> Option<Vec<Interest<'_>>> {
        if let Some(interest) = self.path.as_ref().and_then(Paths::interest) {
            return Some(vec![interest]);
        }
        if let Some((name, _)) = self.headers.first() {
            return Some(vec![Interest::Header(name)]);
        }
        if !self.cookies.is_empty() {
            return Some(vec![Interest::Header("cookie")]);
        }
        Some(self.methods.as_ref()?.iter().map(|method| Interest::Method(method)).collect())
    }

    /// Whether this request is meant.
    pub fn fits<S>(&self, request: &Request<S>) -> bool {
        let fits = |value: Option<Value>, wanted: &Option<String>| match (value, wanted) {
            (Some(value), Some(wanted)) => value == wanted.as_str(),
            (value, _) => value.is_some(),
        };
        let headers = request.headers();
        self.methods.as_ref().is_none_or(|methods| methods.contains(&request.method()))
            && self
                .path
                .as_ref()
                .is_none_or(|path| headers.get(":path").is_some_and(|value| path.fits(without_query(&value))))
            && self.headers.iter().all(|(name, wanted)| fits(headers.get(name), wanted))
            && self.cookies.iter().all(|(name, wanted)| fits(request.cookie(name), wanted))
    }
}

/// A path and what follows it.
fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'?').next().unwrap_or_default()
}

/// A header's name in lower case.
///
/// # Errors
/// That it is none, for the configuration's author.
pub fn header_name(name: &str, path: &str) -> Result<String, ConfigError> {
    units::header_name(name).map_err(|problem| ConfigError::at(path, problem))
}

/// Stands for any value.
const ANY: &str = "*";

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Beginning(String);

    impl Paths for Beginning {
        type Document = String;

        fn build(document: &String, path: &str) -> Result<Self, ConfigError> {
            match document.starts_with('/') {
                true => Ok(Beginning(document.clone())),
                false => Err(ConfigError::at(path, "no slash")),
            }
        }

        fn fits(&self, path: &[u8]) -> bool {
            path.starts_with(self.0.as_bytes())
        }

        fn interest(&self) -> Option<Interest<'_>> {
            (self.0 != "/").then_some(Interest::PathPrefix(&self.0))
        }
    }

    fn matcher(text: &str) -> Result<Matcher<Beginning>, ConfigError> {
        let wanted: Match<String> = serde_json::from_str(text).expect("a match");
        Matcher::new(Some(&wanted), "match")
    }

    #[test]
    fn what_is_certain_of_all_that_fit_is_told() {
        for (text, interest) in [
            ("{}", None),
            (r#"{ "path": "/a", "headers": { "X-A": "1" } }"#, Some(vec![Interest::PathPrefix("/a")])),
            (r#"{ "path": "/", "headers": { "X-A": "1" } }"#, Some(vec![Interest::Header("x-a")])),
            (r#"{ "cookies": { "a": "*" }, "methods": ["PUT"] }"#, Some(vec![Interest::Header("cookie")])),
            (
                r#"{ "methods": ["PUT", "POST"] }"#,
                Some(vec![Interest::Method("PUT"), Interest::Method("POST")]),
            ),
        ] {
            assert_eq!(matcher(text).expect("it is correct").interest(), interest, "{text}");
        }
    }

    #[test]
    fn problems_name_their_place() {
        for (text, problem) in [
            (r#"{ "path": "a" }"#, "match.path: no slash"),
            (r#"{ "methods": [] }"#, "match.methods: is empty, so no request would fit"),
            (
                r#"{ "headers": { "a b": "" } }"#,
                "match.headers: \"a b\" is not a header name, as \"x-user\" is",
            ),
        ] {
            let found = matcher(text).expect_err("it is wrong").to_string();
            assert!(found.ends_with(problem), "{found}");
        }
    }
}
