//! What a rule asks for beside host and path, and how specific a match is: a [`Summary`] is ordered, the greatest wins.

use std::cmp::Reverse;

use http::Method;
use http::header::HeaderName;
use http::request::Parts;
use regex::bytes::{Regex, RegexBuilder};
use tidegate_config::plan::{Match, ValuePattern};

use super::table::Fault;
use crate::http::sanitize::hex;

/// How specific a match is, host aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Summary {
    /// Kind and length of the path's pattern.
    pub(super) path: PathRank,
    /// A method is asked for.
    pub(super) method: bool,
    /// How many header conditions.
    pub(super) headers: usize,
    /// How many query conditions.
    pub(super) query: usize,
    /// Route, rule and match in the order of the document.
    pub(super) position: Reverse<(usize, usize, usize)>,
}

/// How specific a path's pattern is, with its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathRank {
    Prefix(usize),
    Regex(usize),
    Exact(usize),
}

impl Summary {
    pub(super) fn new(own: &Match, path: PathRank, position: (usize, usize, usize)) -> Self {
        Self {
            path,
            method: own.method.is_some(),
            headers: own.headers.len(),
            query: own.query.len(),
            position: Reverse(position),
        }
    }
}

/// Conditions beside host and path; all must hold.
#[derive(Debug)]
pub(super) struct Conditions {
    method: Option<Method>,
    headers: Box<[(HeaderName, ValueTest)]>,
    query: Box<[(Box<[u8]>, ValueTest)]>,
}

/// The first condition that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unmet {
    Method,
    /// By its index in the match.
    Header(usize),
    /// By its index in the match.
    Query(usize),
}

impl Conditions {
    /// Compiles the conditions of a match; none where it has none.
    pub(super) fn build(own: &Match) -> Result<Option<Self>, Fault> {
        if own.method.is_none() && own.headers.is_empty() && own.query.is_empty() {
            return Ok(None);
        }
        let method = match &own.method {
            Some(name) => Some(Method::from_bytes(name.as_bytes()).map_err(|_| Fault::Method(name.clone()))?),
            None => None,
        };
        let headers = own.headers.iter().map(|(name, value)| {
            let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Fault::Header(name.clone()))?;
            Ok((parsed, ValueTest::build(value)?))
        });
        let query =
            own.query.iter().map(|(name, value)| Ok((Box::from(name.as_bytes()), ValueTest::build(value)?)));
        Ok(Some(Self {
            method,
            headers: headers.collect::<Result<_, Fault>>()?,
            query: query.collect::<Result<_, Fault>>()?,
        }))
    }

    /// Whether all conditions hold.
    pub(super) fn hold(&self, head: &Parts) -> bool {
        self.unmet(head).is_none()
    }

    /// The first condition that does not hold.
    ///
    /// Where a field or a parameter comes several times, one fitting value is enough: joined values could hide one
    /// from a rule that is there to catch it.
    pub(super) fn unmet(&self, head: &Parts) -> Option<Unmet> {
        if self.method.as_ref().is_some_and(|method| *method != head.method) {
            return Some(Unmet::Method);
        }
        let header = self.headers.iter().position(|(name, test)| {
            !head.headers.get_all(name).iter().any(|value| test.fits(value.as_bytes()))
        });
        if let Some(index) = header {
            return Some(Unmet::Header(index));
        }
        let query = head.uri.query().unwrap_or_default().as_bytes();
        let parameter = self.query.iter().position(|(name, test)| {
            !parameters(query).any(|(key, value)| equals(key, name) && test.fits_encoded(value))
        });
        parameter.map(Unmet::Query)
    }
}

#[derive(Debug)]
enum ValueTest {
    Exact(Box<[u8]>),
    Regex(Regex),
}

impl ValueTest {
    fn build(pattern: &ValuePattern) -> Result<Self, Fault> {
        Ok(match pattern {
            ValuePattern::Exact(value) => Self::Exact(value.as_bytes().into()),
            ValuePattern::Regex(pattern) => Self::Regex(anchored(pattern)?),
        })
    }

    fn fits(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(expected) => **expected == *value,
            Self::Regex(regex) => regex.is_match(value),
        }
    }

    fn fits_encoded(&self, value: &[u8]) -> bool {
        match self {
            Self::Exact(expected) => equals(value, expected),
            Self::Regex(regex) if !value.iter().any(|byte| matches!(byte, b'%' | b'+')) => {
                regex.is_match(value)
            }
            Self::Regex(regex) => regex.is_match(&decoded(value).collect::<Vec<u8>>()),
        }
    }
}

/// A pattern over the whole of a value. It matches bytes: `.` fits a byte that is not UTF-8 too, so that no such byte
/// lets a value pass by a rule.
pub(super) fn anchored(pattern: &str) -> Result<Regex, Fault> {
    let build = |text: &str| RegexBuilder::new(text).unicode(false).dot_matches_new_line(true).build();
    // The pattern alone must be valid, or `a)|(b` would leave the anchors.
    build(pattern)
        .and_then(|_| build(&format!("^(?:{pattern})$")))
        .map_err(|error| Fault::Regex(pattern.to_owned(), Box::new(error)))
}

/// Names and values of a query, encoded.
fn parameters(query: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        match memchr::memchr(b'=', pair) {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        }
    })
}

fn equals(encoded: &[u8], expected: &[u8]) -> bool {
    decoded(encoded).eq(expected.iter().copied())
}

/// The bytes that an encoded name or value stands for; a triplet that is none stands for itself.
fn decoded(encoded: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        rest = after;
        if first == b'%'
            && let [high, low, after @ ..] = after
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            rest = after;
            return Some(high << 4 | low);
        }
        Some(if first == b'+' { b' ' } else { first })
    })
}

#[cfg(test)]
mod tests {
    use http::Request;
    use tidegate_config::plan::PathPattern;

    use super::*;

    fn exact(name: &str, value: &str) -> (String, ValuePattern) {
        (name.to_owned(), ValuePattern::Exact(value.to_owned()))
    }

    fn regex(name: &str, pattern: &str) -> (String, ValuePattern) {
        (name.to_owned(), ValuePattern::Regex(pattern.to_owned()))
    }

    fn own(
        method: Option<&str>,
        headers: Vec<(String, ValuePattern)>,
        query: Vec<(String, ValuePattern)>,
    ) -> Match {
        let path = PathPattern::Prefix("/".to_owned());
        Match { path, method: method.map(str::to_owned), headers, query }
    }

    fn head(method: &str, target: &str, headers: &[(&str, &[u8])]) -> Parts {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    fn unmet(own: &Match, head: &Parts) -> Option<Unmet> {
        Conditions::build(own).expect("compiles").expect("has conditions").unmet(head)
    }

    #[test]
    fn methods_and_headers() {
        let both = own(Some("POST"), vec![exact("x-env", "staging"), regex("x-n", "[0-9]+")], Vec::new());
        for (method, headers, expected) in [
            ("POST", &[("x-env", &b"staging"[..]), ("x-n", b"12")][..], None),
            ("GET", &[("x-env", b"staging"), ("x-n", b"12")], Some(Unmet::Method)),
            ("POST", &[("x-env", b"Staging"), ("x-n", b"12")], Some(Unmet::Header(0))),
            ("POST", &[("x-env", b"staging")], Some(Unmet::Header(1))),
            ("POST", &[("x-env", b"staging"), ("x-n", b"a12")], Some(Unmet::Header(1))),
            ("POST", &[("x-env", b"prod"), ("x-env", b"staging"), ("x-n", b"a"), ("x-n", b"1")], None),
            ("POST", &[("x-env", b"prod, staging"), ("x-n", b"1")], Some(Unmet::Header(0))),
        ] {
            assert_eq!(unmet(&both, &head(method, "/", headers)), expected, "{method} {headers:?}");
        }
    }

    #[test]
    fn patterns_match_whole_values_of_any_bytes() {
        for (pattern, value, fits) in [
            ("a.c", &b"abc"[..], true),
            ("a.c", b"a\xffc", true),
            ("a.*", b"a\x80\xfe", true),
            ("[^b]+", b"a\xffc", true),
            ("a.c", b"abcd", false),
            ("a|b", b"ab", false),
            ("a|b", b"b", true),
            ("é", "é".as_bytes(), true),
            ("(?i)ABC", b"abc", true),
            ("", b"", true),
            ("", b"a", false),
        ] {
            assert_eq!(anchored(pattern).expect("compiles").is_match(value), fits, "{pattern} {value:?}");
        }
        for bad in ["(", "a)|(b", "[", "\\p{L}"] {
            assert!(anchored(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn query_parameters() {
        for (value, target, fits) in [
            (exact("v", "2"), "/?v=2", true),
            (exact("v", "2"), "/?a=1&v=2", true),
            (exact("v", "2"), "/?v=1&v=2", true),
            (exact("v", "2"), "/?v=22", false),
            (exact("v", "2"), "/?V=2", false),
            (exact("v", "2"), "/?xv=2", false),
            (exact("v", "2"), "/", false),
            (exact("v", "2"), "/?%76=%32", true),
            (exact("v", "a b"), "/?v=a+b", true),
            (exact("v", "a b"), "/?v=a%20b", true),
            (exact("v", "a+b"), "/?v=a%2Bb", true),
            (exact("v", "100%"), "/?v=100%", true),
            (exact("v", ""), "/?v", true),
            (exact("v", "a=b"), "/?v=a=b", true),
            (regex("v", "[0-9]+"), "/?v=12", true),
            (regex("v", "[0-9]+"), "/?v=%31%32", true),
            (regex("v", "[0-9]+"), "/?v=12x", false),
            (regex("v", "a b"), "/?v=a+b", true),
        ] {
            let own = own(None, Vec::new(), vec![value.clone()]);
            assert_eq!(unmet(&own, &head("GET", target, &[])).is_none(), fits, "{value:?} {target}");
        }
    }

    #[test]
    fn summaries_are_ordered_as_the_gateway_api_says() {
        let least = Summary {
            path: PathRank::Prefix(9),
            method: false,
            headers: 9,
            query: 9,
            position: Reverse((0, 0, 0)),
        };
        let ascending = [
            Summary { path: PathRank::Prefix(1), ..least },
            Summary {
                path: PathRank::Prefix(2),
                headers: 0,
                query: 0,
                position: Reverse((1, 0, 0)),
                ..least
            },
            Summary { path: PathRank::Prefix(2), headers: 0, query: 0, ..least },
            Summary {
                path: PathRank::Prefix(2),
                headers: 0,
                query: 1,
                position: Reverse((9, 9, 9)),
                ..least
            },
            Summary { path: PathRank::Prefix(2), headers: 1, query: 0, ..least },
            Summary { path: PathRank::Prefix(2), method: true, headers: 0, query: 0, ..least },
            Summary { path: PathRank::Regex(1), headers: 0, ..least },
            Summary { path: PathRank::Exact(1), headers: 0, ..least },
        ];
        assert!(ascending.is_sorted());
    }
}
