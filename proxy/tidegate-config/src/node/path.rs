//! A place in the tree, as a chain on the stack: it costs nothing until there is a problem to report.

use super::{At, Node, Value};
use std::fmt::Write as _;

/// A place in the tree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
}

/// One step of a path.
#[derive(Debug, Clone, Copy)]
enum Segment<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub(crate) const ROOT: Path<'static> = Path { parent: None, segment: Segment::Root };

    pub(crate) fn key<'b>(&'b self, key: &'b str) -> Path<'b>
    where
        'a: 'b,
    {
        Path { parent: Some(self), segment: Segment::Key(key) }
    }

    pub(crate) fn index<'b>(&'b self, index: usize) -> Path<'b>
    where
        'a: 'b,
    {
        Path { parent: Some(self), segment: Segment::Index(index) }
    }

    fn segments(&self) -> Vec<Segment<'a>> {
        let mut segments = Vec::new();
        let mut at = Some(self);
        while let Some(path) = at {
            segments.push(path.segment);
            at = path.parent;
        }
        segments.reverse();
        segments
    }

    /// The path as it is written; indices are those of the segments.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for segment in self.segments() {
            match segment {
                Segment::Root => {}
                Segment::Key(key) => push_key(&mut text, key),
                Segment::Index(index) => push_index(&mut text, index),
            }
        }
        text
    }

    /// The node here, and the path as the source has it. A step that the tree does not have ends the search: the
    /// last node that is there stands for it.
    pub(crate) fn locate<'n>(&self, root: &'n Node) -> (&'n Node, At, String) {
        let (mut node, mut at, mut text) = (root, root.at, String::new());
        for segment in self.segments() {
            let found = match (segment, &node.value) {
                (Segment::Root, _) => Some((node, at)),
                (Segment::Key(key), _) => {
                    push_key(&mut text, key);
                    node.entry(key).map(|entry| (&entry.node, entry.at))
                }
                (Segment::Index(index), Value::List(items)) => {
                    let item = items.get(index);
                    push_index(&mut text, item.map_or(index, |item| item.index));
                    item.map(|item| (item, item.at))
                }
                // A single value stands where a list may stand: there is no index to show.
                (Segment::Index(_), _) => Some((node, at)),
            };
            if let Some(found) = found {
                (node, at) = found;
            }
        }
        (node, at, text)
    }
}

fn push_key(text: &mut String, key: &str) {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !plain {
        // Writing to a string cannot fail.
        let _ = write!(text, "[{key:?}]");
        return;
    }
    if !text.is_empty() {
        text.push('.');
    }
    text.push_str(key);
}

fn push_index(text: &mut String, index: usize) {
    let _ = write!(text, "[{index}]");
}
