//! Text to tree. YAML 1.2 with the core schema; JSON is YAML too. Depth and number of nodes are bounded, so that a few
//! lines of aliases cannot fill the memory.

use super::{At, Entry, Node, Value};
use crate::problem::Fault;
use saphyr_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use serde_json::Number;
use std::borrow::Cow;
use std::collections::HashMap;

/// Nesting that a document may have.
const DEPTH: usize = 64;
/// Nodes that a source may have, aliases counted as often as they are used.
const NODES: usize = 2_000_000;

/// Reads one source. Faults that leave a tree (a key that is there twice) come with the tree.
pub(crate) fn parse(text: &str, source: usize) -> (Option<Node>, Vec<(At, Fault)>) {
    let text = join_surrogates(text);
    let mut builder = Builder::new();
    let mut parser = Parser::new(StrInput::new(&text));
    loop {
        match parser.next_event() {
            None => break,
            Some(Err(error)) => {
                let at = At { source, line: error.marker().line().max(1) };
                builder.faults.push((at, invalid(&text, error.marker().line(), error.info())));
                return (None, builder.faults);
            }
            Some(Ok((event, span))) => {
                let at = At { source, line: span.start.line().max(1) };
                if let Err(fault) = builder.take(event, at) {
                    builder.faults.push((at, fault));
                    return (None, builder.faults);
                }
            }
        }
    }
    let root = builder.root.take();
    (Some(root.unwrap_or(Node::new(Value::Null, At { source, line: 1 }))), builder.faults)
}

/// What the parser does not understand. The one thing that cannot be seen in an editor is said plainly.
fn invalid(text: &str, line: usize, why: &str) -> Fault {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let fault = Fault::new(format!("not valid YAML: {why}"));
    match line.trim_start_matches(' ').starts_with('\t') {
        true => fault.hint("the line begins with a tab: indent with blanks"),
        false => fault,
    }
}

/// A list or a map that is not complete yet.
struct Open {
    at: At,
    anchor: usize,
    size: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, lines: HashMap<String, usize>, key: Option<(String, At)> },
}

struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    documents: usize,
    root: Option<Node>,
    faults: Vec<(At, Fault)>,
}

impl Builder {
    fn new() -> Self {
        let (open, anchors) = (Vec::new(), HashMap::new());
        Self { open, anchors, nodes: 0, documents: 0, root: None, faults: Vec::new() }
    }

    fn take(&mut self, event: Event<'_>, at: At) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Fault::new("a second YAML document begins here")
                        .hint("one document in a file: put the other one into a file of its own"));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1)?;
                let plain = style == ScalarStyle::Plain;
                let value = scalar(text, plain, tag.as_deref())?;
                self.put(Node::new(value, at), 1, anchor)
            }
            Event::Alias(anchor) => {
                let inside = || Fault::new("an alias stands inside of what it is an alias of");
                let size = self.anchors.get(&anchor).ok_or_else(inside)?.1;
                self.count(size)?;
                let node = Node { at, ..self.anchors.get(&anchor).ok_or_else(inside)?.0.clone() };
                self.put(node, size, 0)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(at, anchor, tag.as_deref(), Items::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                let items = Items::Map { entries: Vec::new(), lines: HashMap::new(), key: None };
                self.begin(at, anchor, tag.as_deref(), items)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, at: At, anchor: usize, tag: Option<&Tag>, items: Items) -> Result<(), Fault> {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && matches!(tag.suffix.as_str(), "map" | "seq"))
        {
            return Err(Fault::new(format!("the YAML tag {tag} has no meaning here")).hint("leave it out"));
        }
        if self.open.len() >= DEPTH {
            return Err(Fault::new(format!("nested more than {DEPTH} deep")));
        }
        self.open.push(Open { at, anchor, size: 1, items });
        self.count(1)
    }

    fn end(&mut self) -> Result<(), Fault> {
        let Some(done) = self.open.pop() else { return Ok(()) };
        let value = match done.items {
            Items::List(items) => Value::List(items),
            Items::Map { entries, .. } => Value::Map(entries),
        };
        self.put(Node::new(value, done.at), done.size, done.anchor)
    }

    fn count(&mut self, nodes: usize) -> Result<(), Fault> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes <= NODES {
            return Ok(());
        }
        Err(Fault::new(format!("more than {NODES} values")).hint("aliases count as often as they are used"))
    }

    /// Puts a complete node into what it belongs to.
    fn put(&mut self, node: Node, size: usize, anchor: usize) -> Result<(), Fault> {
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.size += size;
        match &mut open.items {
            Items::List(items) => items.push(Node { index: items.len(), ..node }),
            Items::Map { entries, lines, key } => match key.take() {
                None => *key = Some((key_text(&node)?, node.at)),
                Some((key, at)) => match lines.get(&key) {
                    Some(line) => {
                        let fault = Fault::new(format!("the key {key:?} is already there, on line {line}"));
                        self.faults.push((at, fault.hint("keep one of them")));
                    }
                    None => {
                        lines.insert(key.clone(), at.line);
                        entries.push(Entry { key, at, node: Node { index: 0, ..node } });
                    }
                },
            },
        }
        Ok(())
    }
}

fn key_text(node: &Node) -> Result<String, Fault> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Null => Err(Fault::new("a key is empty")),
        Value::List(_) | Value::Map(_) => {
            Err(Fault::new(format!("{} cannot be a key", node.kind())).hint("keys are text"))
        }
    }
}

/// The value of a scalar by YAML's core schema.
fn scalar(text: Cow<'_, str>, plain: bool, tag: Option<&Tag>) -> Result<Value, Fault> {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => {
            return Ok(Value::Text(text.into_owned()));
        }
        Some(tag) if !tag.is_yaml_core_schema() && tag.to_string() != "!" => {
            return Err(Fault::new(format!("the YAML tag {tag} has no meaning here")).hint("leave it out"));
        }
        _ if !plain => return Ok(Value::Text(text.into_owned())),
        _ => {}
    }
    Ok(match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        other => number(other).map_or_else(|| Value::Text(text.to_string()), Value::Number),
    })
}

fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Some(hexadecimal) = text.strip_prefix("0x") {
        return u64::from_str_radix(hexadecimal, 16).ok().map(Number::from);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return u64::from_str_radix(octal, 8).ok().map(Number::from);
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        let value = text.strip_prefix('+').unwrap_or(text);
        let whole =
            value.parse::<u64>().map(Number::from).or_else(|_| value.parse::<i64>().map(Number::from));
        if let Ok(whole) = whole {
            return Some(whole);
        }
    }
    let numeric = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
    if numeric { text.parse::<f64>().ok().and_then(Number::from_f64) } else { None }
}

/// JSON writes characters beyond the basic plane as two escapes, which YAML does not know: they become one.
fn join_surrogates(text: &str) -> Cow<'_, str> {
    let begins_as_json = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']).starts_with(['{', '[']);
    if !begins_as_json || !text.contains("\\u") {
        return Cow::Borrowed(text);
    }
    let mut joined = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = rest.find('\\') {
        joined.push_str(&rest[..found]);
        rest = &rest[found..];
        let (piece, used) = match surrogate_pair(rest.as_bytes()) {
            Some(character) => (character.to_string(), 12),
            None => {
                let used = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                (rest[..used].to_owned(), used)
            }
        };
        joined.push_str(&piece);
        rest = &rest[used..];
    }
    joined.push_str(rest);
    Cow::Owned(joined)
}

fn surrogate_pair(bytes: &[u8]) -> Option<char> {
    let unit = |from: usize| -> Option<u16> {
        let escape = bytes.get(from..from + 6)?;
        let digits = std::str::from_utf8(escape.strip_prefix(b"\\u")?).ok()?;
        u16::from_str_radix(digits, 16).ok()
    };
    char::decode_utf16([unit(0)?, unit(6)?]).next()?.ok().filter(|c| *c > '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> serde_json::Value {
        let (node, faults) = parse(text, 0);
        assert!(faults.is_empty(), "{text}: {faults:?}");
        node.expect("a tree").to_json()
    }

    #[test]
    fn scalars_follow_the_core_schema() {
        let cases = [
            ("no", serde_json::json!("no")),
            ("\"1\"", serde_json::json!("1")),
            ("0x10", serde_json::json!(16)),
            ("-3", serde_json::json!(-3)),
            ("1.5", serde_json::json!(1.5)),
            ("1.2.3", serde_json::json!("1.2.3")),
            ("127.0.0.1:80", serde_json::json!("127.0.0.1:80")),
            ("20ms", serde_json::json!("20ms")),
            ("~", serde_json::json!(null)),
            ("!!str 12", serde_json::json!("12")),
        ];
        for (text, expected) in cases {
            assert_eq!(json(text), expected, "{text}");
        }
    }

    #[test]
    fn json_means_the_same_as_to_a_json_parser() {
        let text = "{\n\t\"a\": [1, -2.5e3, true, null],\n\t\"b\\/\":\"\\ud83d\\ude00 \\\\u00e9 \\u00e9\",\"c\":{\"d\":\"e\"}}";
        let expected: serde_json::Value = serde_json::from_str(text).expect("valid JSON");
        assert_eq!(json(text), expected);
    }

    #[test]
    fn aliases_that_multiply_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let items = vec![format!("*a{}", level - 1); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
        }
        let (node, faults) = parse(&text, 0);
        assert!(node.is_none());
        assert!(faults.iter().any(|(_, fault)| fault.message.contains("more than")), "{faults:?}");
    }

    #[test]
    fn deep_nesting_is_refused() {
        for text in ["[".repeat(500), "- ".repeat(5000), "{a: ".repeat(200)] {
            let (node, faults) = parse(&text, 0);
            assert!(node.is_none() && faults.len() == 1, "{faults:?}");
        }
    }

    #[test]
    fn any_bytes_end_without_a_panic() {
        for text in
            ["\u{0}", "%YAML 3", "&a *a", "? [a]: b", "a: b: c", "\\", "{\"\\ud83d", "'", "- - -\n -", "!x y"]
        {
            let _ = parse(text, 0);
        }
    }
}
