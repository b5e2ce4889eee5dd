//! Several sources become one document: lists are appended, named parts are put together, everything else may be in one
//! source only.

use crate::node::{At, Entry, Node, Path, Value};
use crate::problem::Fault;
use crate::report::Report;

/// Puts the sources together in their order. `names` are the sources' names for messages.
pub(crate) fn merge(roots: Vec<Node>, names: &[&str], report: &mut Report) -> Node {
    let mut merged = Node::new(Value::Map(Vec::new()), At { source: 0, line: 1 });
    for root in roots {
        let at = root.at;
        match root.value {
            Value::Null => {}
            Value::Map(entries) => {
                entries.into_iter().for_each(|entry| add(&mut merged, entry, names, report))
            }
            _ => report.add(
                at,
                String::new(),
                Fault::new(format!("expected a map at the top, found {}", root.kind()))
                    .hint("begin with listeners:, routes: or another key"),
            ),
        }
    }
    merged
}

fn add(merged: &mut Node, entry: Entry, names: &[&str], report: &mut Report) {
    let Value::Map(sections) = &mut merged.value else { return };
    let Some(present) = sections.iter_mut().find(|section| section.key == entry.key) else {
        sections.push(entry);
        return;
    };
    let place = |at: At| format!("{}:{}", names.get(at.source).copied().unwrap_or_default(), at.line);
    match (&mut present.node.value, entry.node.value) {
        (Value::List(items), Value::List(more)) => items.extend(more),
        (Value::Map(items), Value::Map(more)) if matches!(entry.key.as_str(), "plugins" | "upstreams") => {
            for item in more {
                match items.iter().find(|known| known.key == item.key) {
                    Some(known) => {
                        let path = Path::ROOT.key(&entry.key).key(&item.key).text();
                        let message = format!("{:?} is already there, in {}", item.key, place(known.at));
                        report.add(item.at, path, Fault::new(message).hint("rename or remove one of them"));
                    }
                    None => items.push(item),
                }
            }
        }
        // A part of the wrong type is reported by the shape check; here only that there are two of it.
        _ => {
            let message = format!("{:?} is already there, in {}", entry.key, place(present.at));
            report.add(
                entry.at,
                Path::ROOT.key(&entry.key).text(),
                Fault::new(message).hint("keep one of them"),
            );
        }
    }
}
