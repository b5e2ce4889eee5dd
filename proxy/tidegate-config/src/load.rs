//! From texts to a plan, stage by stage: parse, merge, fill in references, check the shape, read, check the meaning.

use crate::check;
use crate::document::Document;
use crate::merge::merge;
use crate::node::{At, Node, parse};
use crate::places::Places;
use crate::plan::Plan;
use crate::problem::{Fault, Problem, Problems, Severity};
use crate::redact::redact;
use crate::report::Report;
use crate::secret::{Filled, Secrets, fill};
use crate::shape::walk;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One text that a document is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    /// What it is called in messages, usually a file name.
    pub name: String,
    /// YAML or JSON.
    pub text: String,
}

/// A document that was loaded.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The checked form.
    pub plan: Plan,
    /// What hardly means what was wanted.
    pub warnings: Vec<Problem>,
    /// The document as written, fit to be shown: no secret is in it.
    pub redacted: serde_json::Value,
    /// Files that `${file:…}` names: when one changes, so does the document.
    pub files: Vec<PathBuf>,
    /// Where its parts stand.
    pub places: Arc<Places>,
}

/// Loads a document from its sources. Relative paths in it are relative to `base`.
///
/// # Errors
/// Everything that is wrong with the sources, warnings included.
pub fn load(sources: &[SourceText], base: &Path, secrets: &dyn Secrets) -> Result<Loaded, Problems> {
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    let mut report = Report::default();
    let mut stages = Stages { names: &names, base, secrets, report: &mut report, filled: Filled::default() };
    let outcome = stages.run(sources);
    let filled = stages.filled;
    let failed = report.has_errors();
    let problems = report.into_problems(&names, |text| filled.hide(text));
    match outcome {
        Some((plan, redacted, root)) if !failed => {
            let warnings =
                problems.into_iter().filter(|problem| problem.severity == Severity::Warning).collect();
            let places = Arc::new(Places::new(&names, root));
            Ok(Loaded { plan, warnings, redacted, files: filled.files, places })
        }
        _ => Err(Problems::new(problems)),
    }
}

struct Stages<'a> {
    names: &'a [&'a str],
    base: &'a Path,
    secrets: &'a dyn Secrets,
    report: &'a mut Report,
    filled: Filled,
}

impl Stages<'_> {
    /// The plan, the redacted document and its tree; none where the document could not be read as a whole. Even a plan is of no
    /// use when there are errors in the report.
    fn run(&mut self, sources: &[SourceText]) -> Option<(Plan, serde_json::Value, Node)> {
        let mut roots = Vec::new();
        for (index, source) in sources.iter().enumerate() {
            let (root, faults) = parse(&source.text, index);
            for (at, fault) in faults {
                self.report.add(at, String::new(), fault);
            }
            roots.extend(root);
        }
        let complete = roots.len() == sources.len();
        let mut root = merge(roots, self.names, self.report);
        let mut redacted = root.to_json();
        redact(&mut redacted);
        self.filled = fill(&mut root, self.base, self.secrets, self.report);
        let names = check::Names::collect(&root);
        // What a source that cannot be parsed would have defined is not known: no word about what is missing.
        if !walk(&mut root, self.report) || !complete {
            return None;
        }
        match Document::deserialize(root.to_json()) {
            Ok(document) => {
                let origin = check::Origin { tree: &root, names: &names, sources: self.names };
                let plan = check::check(&document, origin, self.base, self.report);
                Some((plan, redacted, root))
            }
            Err(error) => {
                let fault = Fault::new(format!("the document cannot be read: {error}"));
                self.report.add(At { source: 0, line: 0 }, String::new(), fault);
                None
            }
        }
    }
}
