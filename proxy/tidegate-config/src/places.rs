//! Where the parts of a document stand, for what is found wrong only when files are read and filters start.

use std::fmt;

use crate::node::{At, Node, Value};
use crate::problem::Problem;

/// Where the parts of a document stand.
pub struct Places {
    sources: Vec<String>,
    root: Node,
}

impl Places {
    pub(crate) fn new(sources: &[&str], root: Node) -> Self {
        Self { sources: sources.iter().map(|&source| source.to_owned()).collect(), root }
    }

    /// The problem with the source and the line of its path. A path that leads out of the document has the line of its
    /// last part that is there; one that is there from no part on keeps what it has.
    #[must_use]
    pub fn with_line(&self, problem: Problem) -> Problem {
        match self.line(&problem.path) {
            Some((source, line)) if problem.line.is_none() => {
                Problem { source: source.to_owned(), line: Some(line), ..problem }
            }
            _ => problem,
        }
    }

    /// Whether this place is in the document.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        self.follow(path).is_some_and(|(_, whole)| whole)
    }

    fn line(&self, path: &str) -> Option<(&str, usize)> {
        let (at, _) = self.follow(path)?;
        let source = self.sources.get(at.source)?;
        (at.line > 0).then_some((source, at.line))
    }

    /// Where the last part of the path that is there stands, and whether that is the last one of all.
    fn follow(&self, path: &str) -> Option<(At, bool)> {
        let (mut node, mut found, mut rest) = (&self.root, None, path);
        while let Some((step, behind)) = step(rest) {
            let next = match (step, &node.value) {
                (Step::Key(key), _) => node.entry(key).map(|entry| (&entry.node, entry.at)),
                (Step::Index(index), Value::List(items)) => items.get(index).map(|item| (item, item.at)),
                // A single value stands where a list may stand.
                (Step::Index(0), _) => found.map(|at| (node, at)),
                (Step::Index(_), _) => None,
            };
            let Some((there, at)) = next else { break };
            (node, found, rest) = (there, Some(at), behind);
        }
        found.map(|at| (at, rest.is_empty()))
    }
}

/// The document may hold secrets.
impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Places").field("sources", &self.sources).finish_non_exhaustive()
    }
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The first step of a path as messages have it, `routes[0].filters` or `headers["a b"]`, and what comes behind it.
fn step(path: &str) -> Option<(Step<'_>, &str)> {
    if let Some(quoted) = path.strip_prefix("[\"") {
        let (key, rest) = quoted.split_once("\"]")?;
        return Some((Step::Key(key), rest));
    }
    if let Some(number) = path.strip_prefix('[') {
        let (number, rest) = number.split_once(']')?;
        return Some((Step::Index(number.parse().ok()?), rest));
    }
    let path = path.strip_prefix('.').unwrap_or(path);
    let end = path.find(['.', '[']).unwrap_or(path.len());
    let (key, rest) = path.split_at(end);
    (!key.is_empty()).then_some((Step::Key(key), rest))
}

#[cfg(test)]
mod tests {
    use super::Places;
    use crate::node::parse;

    fn places(text: &str) -> Places {
        Places::new(&["a.yaml"], parse(text, 0).0.expect("YAML"))
    }

    #[test]
    fn a_path_leads_to_the_line_of_its_last_part_that_is_there() {
        let places = places(
            "plugins:\n  one:\n    config:\n      \"a b\": 1\n      list:\n        - 1\n        - x: 2\n",
        );
        for (path, line, whole) in [
            ("plugins", 1, true),
            ("plugins.one", 2, true),
            ("plugins.one.config[\"a b\"]", 4, true),
            ("plugins.one.config.list[1].x", 7, true),
            ("plugins.one.config.list[1].y", 7, false),
            ("plugins.one.config.list[2]", 5, false),
            ("plugins.one.sha256", 2, false),
            ("plugins.two", 1, false),
        ] {
            assert_eq!(places.line(path), Some(("a.yaml", line)), "{path}");
            assert_eq!(places.has(path), whole, "{path}");
        }
        for path in ["", "upstreams.app", "[0]", "[", "[\"", "."] {
            assert_eq!(places.line(path), None, "{path}");
        }
    }

    #[test]
    fn one_value_in_the_place_of_a_list_is_its_first_item() {
        assert_eq!(places("listeners:\n  address: x\n").line("listeners[0].address"), Some(("a.yaml", 2)));
    }

    #[test]
    fn no_secret_is_shown_for_debugging() {
        assert!(!format!("{:?}", places("key: hunter2")).contains("hunter2"));
    }
}
