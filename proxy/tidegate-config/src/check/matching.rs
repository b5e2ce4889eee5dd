//! `matches` of a rule.

use super::Check;
use crate::document::{MatchDocument, PathMatch, RuleDocument, ValueMatch};
use crate::node::Path;
use crate::plan::{Match, PathPattern, ValuePattern};
use crate::problem::Fault;
use crate::types::{check_header_value, check_method, check_path, check_regex, parse_header_name};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Expressions that are known to compile: the same one is often in thousands of rules.
#[derive(Debug, Default)]
pub(super) struct Expressions(HashSet<String>);

impl Expressions {
    fn check(&mut self, check: &mut Check<'_>, path: &Path<'_>, text: &str) {
        if !self.0.contains(text) && check.take(path, check_regex(text)).is_some() {
            self.0.insert(text.to_owned());
        }
    }
}

/// The matches of a rule; never empty.
pub(super) fn matches(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &RuleDocument,
    expressions: &mut Expressions,
) -> Vec<Match> {
    let all = everything();
    let Some(written) = &written.matches else { return vec![all] };
    let mut matches = Vec::with_capacity(written.len());
    for (index, one) in written.iter().enumerate() {
        matches.push(conditions(check, &path.index(index), one, expressions));
    }
    if matches.is_empty() { vec![all] } else { matches }
}

/// What fits all.
pub(super) fn everything() -> Match {
    Match { path: root_prefix(), method: None, headers: Vec::new(), query: Vec::new() }
}

fn root_prefix() -> PathPattern {
    PathPattern::Prefix("/".to_owned())
}

fn conditions(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &MatchDocument,
    expressions: &mut Expressions,
) -> Match {
    if let Some(method) = &written.method {
        let place = path.key("method");
        check.take(&place, check_method(method));
        if matches!(method.as_str(), "CONNECT" | "TRACE") {
            check.warn(
                &place,
                Fault::new(format!("requests with the method {method} are refused before rules are matched")),
            );
        }
    }
    let pattern =
        written.path.as_ref().and_then(|one| path_pattern(check, &path.key("path"), one, expressions));
    let headers = headers(check, &path.key("headers"), &written.headers, expressions);
    let mut query = Vec::with_capacity(written.query.len());
    let section = path.key("query");
    for (name, value) in &written.query {
        let place = section.key(name);
        if name.is_empty() {
            check.fault(&place, Fault::new("the name of the query parameter is empty"));
        }
        query.push((name.clone(), value_pattern(check, &place, value, expressions)));
    }
    Match { path: pattern.unwrap_or_else(root_prefix), method: written.method.clone(), headers, query }
}

/// That exactly one of the patterns is there was checked with the shape.
fn path_pattern(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &PathMatch,
    expressions: &mut Expressions,
) -> Option<PathPattern> {
    if let Some(exact) = &written.exact {
        check.take(&path.key("exact"), check_path(exact));
        return Some(PathPattern::Exact(exact.clone()));
    }
    if let Some(prefix) = &written.prefix {
        check.take(&path.key("prefix"), check_path(prefix));
        let segments = prefix.strip_suffix('/').unwrap_or(prefix);
        return Some(PathPattern::Prefix(if segments.is_empty() { "/" } else { segments }.to_owned()));
    }
    let regex = written.regex.as_ref()?;
    expressions.check(check, &path.key("regex"), regex);
    Some(PathPattern::Regex(regex.clone()))
}

fn headers(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &BTreeMap<String, ValueMatch>,
    expressions: &mut Expressions,
) -> Vec<(String, ValuePattern)> {
    let mut headers = Vec::with_capacity(written.len());
    let mut seen = HashMap::new();
    for (key, value) in written {
        let place = path.key(key);
        let Some(name) = check.take(&place, parse_header_name(key)) else { continue };
        if let Some(other) = seen.insert(name.clone(), key) {
            let fault = Fault::new(format!("{key:?} is the same header as {other:?}"));
            check.fault(&place, fault.hint("upper and lower case make no difference: keep one of them"));
        }
        if name == "host" {
            let fault = Fault::new("the header \"host\" is not matched as a header");
            check.fault(&place, fault.hint("hostnames of the route match it, over HTTP/2 too"));
        }
        if name.contains('_') {
            let fault =
                Fault::new(format!("headers with _ are removed from requests, {key:?} never matches"));
            check.warn(&place, fault.hint(format!("did you mean {:?}?", name.replace('_', "-"))));
        }
        if let ValueMatch::Exact(text) = value {
            check.take(&place, check_header_value(text));
        }
        headers.push((name, value_pattern(check, &place, value, expressions)));
    }
    // By name as the plan has it: upper case sorts before lower case in the document.
    headers.sort_by(|one, other| one.0.cmp(&other.0));
    headers
}

fn value_pattern(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &ValueMatch,
    expressions: &mut Expressions,
) -> ValuePattern {
    match written {
        ValueMatch::Exact(text) => ValuePattern::Exact(text.clone()),
        ValueMatch::Regex(written) => {
            expressions.check(check, &path.key("regex"), &written.regex);
            ValuePattern::Regex(written.regex.clone())
        }
    }
}
