//! A list of servers on its own: what files and web servers answer with, checked as `servers` in a document is.

use crate::check::servers_alone;
use crate::document::Document;
use crate::load::SourceText;
use crate::node::{At, Entry, Node, Value, parse};
use crate::plan::Server;
use crate::problem::{Fault, Problem, Problems, Severity};
use crate::report::Report;
use crate::shape::walk;
use serde::Deserialize;

/// Reads a list of servers, YAML or JSON: `["10.0.0.1:80", { address: "10.0.0.2:80", weight: 2 }]`, or a map that has
/// the list under `servers`. An empty list says that there is none.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load_servers(source: &SourceText) -> Result<Vec<Server>, Problems> {
    let mut report = Report::default();
    let servers = read(&source.text, &mut report);
    let failed = report.has_errors();
    let names = [source.name.as_str()];
    let problems = report.into_problems(&names, str::to_owned).into_iter().map(|problem| Problem {
        // Where the list would be in a document is of no use to who wrote only the list.
        path: problem.path.trim_start_matches(PLACE).to_owned(),
        ..problem
    });
    let problems = problems.filter(|problem| problem.severity == Severity::Error);
    match servers {
        Some(servers) if !failed => Ok(servers),
        _ => Err(Problems::new(problems.collect())),
    }
}

fn read(text: &str, report: &mut Report) -> Option<Vec<Server>> {
    let (root, faults) = parse(text, 0);
    for (at, fault) in faults {
        report.add(at, String::new(), fault);
    }
    let root = root?;
    let at = root.at;
    let list = match root.value {
        Value::List(_) => root,
        Value::Map(mut entries)
            if entries.len() == 1 && entries.iter().all(|entry| entry.key == "servers") =>
        {
            entries.pop()?.node
        }
        _ => {
            let fault = Fault::new(format!("expected a list of servers, found {}", root.kind()));
            report.add(
                at,
                String::new(),
                fault.hint("[\"10.0.0.1:80\", { address: \"10.0.0.2:80\", weight: 2 }]"),
            );
            return None;
        }
    };
    if matches!(&list.value, Value::List(items) if items.is_empty()) {
        return Some(Vec::new());
    }
    // The same list in a document: what is right there is right here.
    let mut tree = PLACES.iter().rev().fold(list, |node, key| {
        let at = node.at;
        Node::new(Value::Map(vec![Entry { key: (*key).to_owned(), at, node }]), at)
    });
    if !walk(&mut tree, report) {
        return None;
    }
    match Document::deserialize(tree.to_json()) {
        Ok(document) => Some(servers_alone(&document, &tree, report)),
        Err(error) => {
            let fault = Fault::new(format!("the list cannot be read: {error}"));
            report.add(At { source: 0, line: 0 }, String::new(), fault);
            None
        }
    }
}

const PLACES: [&str; 3] = ["upstreams", "list", "servers"];
const PLACE: &str = "upstreams.list.servers";

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Vec<Server>, String> {
        let source = SourceText { name: "servers.yaml".to_owned(), text: text.to_owned() };
        load_servers(&source).map_err(|problems| problems.to_string())
    }

    #[test]
    fn lists_are_read_in_each_of_their_forms() {
        for text in [
            "- 10.0.0.1:80\n- { address: \"10.0.0.2:80\", weight: 2 }\n",
            "servers: [10.0.0.1:80, { address: \"10.0.0.2:80\", weight: 2 }]",
            "[\"10.0.0.1:80\", {\"address\": \"10.0.0.2:80\", \"weight\": 2}]",
        ] {
            let servers = load(text).expect("right");
            let read: Vec<_> =
                servers.iter().map(|server| (server.address.as_str(), server.weight)).collect();
            assert_eq!(read, [("10.0.0.1:80", 1), ("10.0.0.2:80", 2)], "{text}");
        }
        assert_eq!(load("[]").map(|servers| servers.len()), Ok(0));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, problem) in [
            (
                "- 10.0.0.1\n- 10.0.0.2:80\n",
                "servers.yaml:1: [0]: \"10.0.0.1\" is not the address of a server: it has no port (write host:port, for \
                 instance 127.0.0.1:3001)",
            ),
            (
                "- 10.0.0.1:80\n- { adress: \"a:1\" }\n",
                "servers.yaml:2: [1].adress: unknown key \"adress\" (did you mean \"address\"?)",
            ),
            (
                "hello",
                "servers.yaml:1: expected a list of servers, found text ([\"10.0.0.1:80\", { address: \"10.0.0.2:80\", \
                 weight: 2 }])",
            ),
        ] {
            assert_eq!(load(text), Err(problem.to_owned()));
        }
        for text in ["", "{", "servers: []\nother: 1", "- [1]", "- 10.0.0.1:80\n- ~\n"] {
            assert!(load(text).is_err(), "{text}");
        }
    }
}
