//! Where the stages of loading put what they find, before it is known which sources and secrets are involved.

use crate::node::At;
use crate::problem::{Fault, Problem, Severity};
use crate::redact::without_secrets;

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    found: Vec<Found>,
}

#[derive(Debug)]
struct Found {
    at: At,
    path: String,
    fault: Fault,
    severity: Severity,
}

impl Report {
    pub(crate) fn add(&mut self, at: At, path: String, fault: Fault) {
        self.found.push(Found { at, path, fault, severity: Severity::Error });
    }

    pub(crate) fn warn(&mut self, at: At, path: String, fault: Fault) {
        self.found.push(Found { at, path, fault, severity: Severity::Warning });
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.found.iter().any(|found| found.severity == Severity::Error)
    }

    /// The problems in the order of sources and lines. `hide` takes secrets out of texts; those in URLs go as well.
    pub(crate) fn into_problems(mut self, sources: &[&str], hide: impl Fn(&str) -> String) -> Vec<Problem> {
        let hide = |text: &str| without_secrets(&hide(text)).into_owned();
        self.found.sort_by_key(|found| found.at);
        let problem = |found: Found| Problem {
            source: sources.get(found.at.source).map_or_else(String::new, |name| (*name).to_owned()),
            line: (found.at.line > 0).then_some(found.at.line),
            path: found.path,
            message: message(&found.fault, hide),
            hint: found.fault.hint.as_deref().filter(|_| !found.fault.discreet).map(&hide),
            severity: found.severity,
        };
        let mut problems: Vec<Problem> = self.found.into_iter().map(problem).collect();
        problems.dedup();
        problems
    }
}

/// The message without secrets. What follows a colon explains a value by parts of it.
fn message(fault: &Fault, hide: impl Fn(&str) -> String) -> String {
    let message = hide(&fault.message);
    match message.split_once(": ") {
        Some((what, _)) if fault.discreet => what.to_owned(),
        _ => message,
    }
}
