//! A JSON document that is changed in a few places (RFC 6901 says where). What is not on the way to such a place is kept
//! as it is written: numbers keep all their figures, objects their order, and nothing is parsed that need not be.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A pointer, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// A document, or a part of one. What is as it was written is cheap to clone.
#[derive(Debug, Clone)]
pub enum Node<'a> {
    /// As it is written.
    Raw(&'a str),
    /// As it was made.
    Made(String),
    /// In order; names may repeat, as they do in documents.
    Object(Vec<(Name<'a>, Node<'a>)>),
    /// In order.
    Array(Vec<Node<'a>>),
}

impl Pointer {
    /// Reads a pointer: empty, or each step behind a slash, with `~1` for a slash and `~0` for a tilde.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("\"{}\" is not a JSON Pointer: {what}", text.escape_debug()));
        let Some(steps) = text.strip_prefix('/') else {
            return if text.is_empty() {
                Ok(Pointer(Vec::new()))
            } else {
                wrong("it must begin with a slash, as \"/user/id\" does")
            };
        };
        let lone = |step: &str| step.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1']));
        if steps.split('/').any(lone) {
            return wrong("a ~ must be ~0 (a tilde) or ~1 (a slash)");
        }
        if steps.split('/').count() > DEEPEST {
            return wrong("it has more than 32 steps");
        }
        Ok(Pointer(steps.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect()))
    }

    /// Whether it is the whole document.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this place is inside that of another, or the same.
    pub fn is_within(&self, other: &Pointer) -> bool {
        self.0.starts_with(&other.0)
    }
}

impl<'a> Node<'a> {
    /// Reads a document; `None` when it is not JSON in UTF-8.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let raw: &RawValue = serde_json::from_slice(bytes).ok()?;
        Some(Node::Raw(raw.get()))
    }

    /// Sets a value, and makes the objects on the way where there is nothing; false where the way leads through something
    /// that has no such place.
    pub fn set(&mut self, at: &Pointer, value: Node<'a>) -> bool {
        self.put(&at.0, &mut Some(value))
    }

    /// Takes a value out. Of a name that repeats on the way readers take one or another, so all go.
    pub fn remove(&mut self, at: &Pointer) -> Option<Node<'a>> {
        if at.is_root() { None } else { self.take(&at.0) }
    }

    /// Writes the document.
    pub fn write(&self, to: &mut Vec<u8>) {
        match self {
            Node::Raw(text) => to.extend_from_slice(text.as_bytes()),
            Node::Made(text) => to.extend_from_slice(text.as_bytes()),
            Node::Object(fields) => {
                to.push(b'{');
                for (nth, (name, value)) in fields.iter().enumerate() {
                    if nth > 0 {
                        to.push(b',');
                    }
                    name.write(to);
                    to.push(b':');
                    value.write(to);
                }
                to.push(b'}');
            }
            Node::Array(items) => {
                to.push(b'[');
                for (nth, item) in items.iter().enumerate() {
                    if nth > 0 {
                        to.push(b',');
                    }
                    item.write(to);
                }
                to.push(b']');
            }
        }
    }

    /// Puts the value where it belongs, if there is such a place.
    fn put(&mut self, way: &[String], value: &mut Option<Node<'a>>) -> bool {
        let Some((step, rest)) = way.split_first() else {
            return value.take().map(|value| *self = value).is_some();
        };
        self.open();
        match self {
            Node::Object(fields) => {
                // Of a name that repeats the first that has such a place, and the others go.
                let mut there = false;
                let mut same = fields.iter_mut().enumerate().filter(|(_, (name, _))| name.is(step));
                let put = same.find_map(|(at, (_, node))| {
                    there = true;
                    node.put(rest, value).then_some(at)
                });
                if let Some(put) = put {
                    let mut at = 0..;
                    fields.retain(|(name, _)| at.next() == Some(put) || !name.is(step));
                    return true;
                }
                if there {
                    return false;
                }
                let mut node = Node::Object(Vec::new());
                let done = node.put(rest, value);
                fields.push((Name::Made(step.clone()), node));
                done
            }
            Node::Array(items) => {
                let at = if step == "-" { Some(items.len()) } else { index(step) };
                match at {
                    Some(at) if at < items.len() => {
                        items.get_mut(at).is_some_and(|node| node.put(rest, value))
                    }
                    Some(at) if at == items.len() => {
                        let mut node = Node::Object(Vec::new());
                        let done = node.put(rest, value);
                        items.push(node);
                        done
                    }
                    _ => false,
                }
            }
            Node::Raw(_) | Node::Made(_) => false,
        }
    }

    /// Takes out what is there, and gives the last of it.
    fn take(&mut self, way: &[String]) -> Option<Node<'a>> {
        let (step, rest) = way.split_first()?;
        self.open();
        match self {
            Node::Object(fields) if rest.is_empty() => {
                let mut found = None;
                let mut kept = Vec::with_capacity(fields.len());
                for (name, value) in fields.drain(..) {
                    if name.is(step) { found = Some(value) } else { kept.push((name, value)) }
                }
                *fields = kept;
                found
            }
            Node::Object(fields) => {
                let same = fields.iter_mut().filter(|(name, _)| name.is(step));
                same.filter_map(|(_, node)| node.take(rest)).last()
            }
            Node::Array(items) => {
                let at = index(step).filter(|at| *at < items.len())?;
                if rest.is_empty() { Some(items.remove(at)) } else { items.get_mut(at)?.take(rest) }
            }
            Node::Raw(_) | Node::Made(_) => None,
        }
    }

    /// Takes an object or array apart, one level deep. What was made is read again where a later change goes into it.
    fn open(&mut self) {
        let opened = match self {
            Node::Raw(text) => open(text),
            Node::Made(text) => open(text).map(Node::into_owned),
            _ => None,
        };
        if let Some(opened) = opened {
            *self = opened;
        }
    }

    fn into_owned<'b>(self) -> Node<'b> {
        match self {
            Node::Raw(text) => Node::Made(text.to_owned()),
            Node::Made(text) => Node::Made(text),
            Node::Object(fields) => Node::Object(
                fields.into_iter().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
            ),
            Node::Array(items) => Node::Array(items.into_iter().map(Node::into_owned).collect()),
        }
    }
}

/// A JSON string.
pub fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// An index as RFC 6901 writes it: no sign, no zero before others.
fn index(step: &str) -> Option<usize> {
    let plain = step == "0" || !step.starts_with('0');
    (plain && step.bytes().all(|byte| byte.is_ascii_digit())).then(|| step.parse().ok())?
}

/// One level of an object or array; `None` for anything else.
fn open(text: &str) -> Option<Node<'_>> {
    if !text.starts_with(['{', '[']) {
        return None;
    }
    let mut source = serde_json::Deserializer::from_str(text);
    Level.deserialize(&mut source).ok()
}

struct Level;

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Node<'de>, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, value)) = map.next_entry::<&'de RawValue, &'de RawValue>()? {
            fields.push((Name::Raw(name.get()), Node::Raw(value.get())));
        }
        Ok(Node::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(value) = list.next_element::<&'de RawValue>()? {
            items.push(Node::Raw(value.get()));
        }
        Ok(Node::Array(items))
    }
}

/// A name in an object.
#[derive(Debug, Clone)]
pub enum Name<'a> {
    /// As it is written, in its quotation marks. What is written is not always text: half of a character outside the basic
    /// plane is a name to many readers.
    Raw(&'a str),
    /// As it was written where a value that was made is read again.
    Kept(String),
    /// A step of a pointer.
    Made(String),
}

impl Name<'_> {
    /// Whether this step leads to it.
    fn is(&self, step: &str) -> bool {
        let written = match self {
            Name::Raw(written) => written,
            Name::Kept(written) => written.as_str(),
            Name::Made(name) => return name == step,
        };
        let inner = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(written);
        if !inner.contains('\\') {
            return inner == step;
        }
        serde_json::from_str::<Cow<'_, str>>(written).is_ok_and(|name| name == step)
    }

    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Name::Raw(written) => to.extend_from_slice(written.as_bytes()),
            Name::Kept(written) => to.extend_from_slice(written.as_bytes()),
            Name::Made(name) => to.extend_from_slice(string(name).as_bytes()),
        }
    }

    fn into_owned<'b>(self) -> Name<'b> {
        match self {
            Name::Raw(written) => Name::Kept(written.to_owned()),
            Name::Kept(written) => Name::Kept(written),
            Name::Made(name) => Name::Made(name),
        }
    }
}

/// The most steps of a pointer: each is a level of recursion.
const DEEPEST: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Pointer {
        Pointer::parse(text).expect(text)
    }

    fn text(node: &Node<'_>) -> String {
        let mut bytes = Vec::new();
        node.write(&mut bytes);
        String::from_utf8(bytes).expect("JSON is UTF-8")
    }

    #[test]
    fn pointers_are_read_as_the_standard_says() {
        assert_eq!(at("/a~1b/m~0n//0").0, ["a/b", "m~n", "", "0"]);
        assert!(at("").is_root());
        assert!(at("/a/b").is_within(&at("/a")) && !at("/ab").is_within(&at("/a")));
        for wrong in ["a", "/a~", "/~2", "#/a", &"/a".repeat(33)] {
            assert!(Pointer::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_touched_keeps_its_text() {
        let document = r#"{"n":1.10,"big":123456789012345678901234567890.10e+5,"z":-0,"s":"\u00e9\/","o":{ "b" : [1 , 2.0] },"a":1E400}"#;
        let mut node = Node::parse(document.as_bytes()).expect("JSON");
        assert!(node.set(&at("/new"), Node::Made("true".to_owned())));
        assert!(node.remove(&at("/new")).is_some());
        assert_eq!(text(&node), document);
    }

    #[test]
    fn values_are_set() {
        let cases = [
            ("{}", "/a/b/c", r#"{"a":{"b":{"c":7}}}"#),
            (r#"{"a":1}"#, "/a", r#"{"a":7}"#),
            (r#"{"a":1,"b":2,"a":3}"#, "/a", r#"{"a":7,"b":2}"#),
            (r#"{"\u0061":1}"#, "/a", r#"{"\u0061":7}"#),
            (r#"{"\ud800":1,"a":{"\udc00x":2,"b":3}}"#, "/a/b", r#"{"\ud800":1,"a":{"\udc00x":2,"b":7}}"#),
            (r#"{"a":5,"b":0,"a":{"c":1}}"#, "/a/c", r#"{"b":0,"a":{"c":7}}"#),
            (r#"{"a/b":1,"m~n":2}"#, "/a~1b", r#"{"a/b":7,"m~n":2}"#),
            ("[1,2]", "/0", "[7,2]"),
            ("[1,2]", "/-", "[1,2,7]"),
            ("[1,2]", "/2", "[1,2,7]"),
            ("[{}]", "/0/x", r#"[{"x":7}]"#),
            ("[]", "/-/x", r#"[{"x":7}]"#),
            ("5", "", "7"),
            (r#"{"":1}"#, "/", r#"{"":7}"#),
        ];
        for (document, pointer, expected) in cases {
            let mut node = Node::parse(document.as_bytes()).expect("JSON");
            assert!(node.set(&at(pointer), Node::Made("7".to_owned())), "{document} {pointer}");
            assert_eq!(text(&node), expected, "{document} {pointer}");
        }
        for (document, pointer) in [
            ("5", "/a"),
            (r#"{"a":"x"}"#, "/a/b"),
            ("[1]", "/5"),
            ("[1]", "/01"),
            ("[1]", "/x"),
            ("[1]", "/+0"),
        ] {
            let mut node = Node::parse(document.as_bytes()).expect("JSON");
            assert!(!node.set(&at(pointer), Node::Made("7".to_owned())), "{document} {pointer}");
            assert_eq!(text(&node), document);
        }
    }

    #[test]
    fn values_are_taken_out() {
        let cases = [
            (r#"{"a":1,"b":2,"a":3}"#, "/a", Some("3"), r#"{"b":2}"#),
            (r#"{"a":{"x":1},"a":{"x":2,"y":3},"a":5}"#, "/a/x", Some("2"), r#"{"a":{},"a":{"y":3},"a":5}"#),
            (r#"{"\ud800":1,"a":2}"#, "/a", Some("2"), r#"{"\ud800":1}"#),
            (r#"{"a":{"b":[1,{"c":1.0}]}}"#, "/a/b/1/c", Some("1.0"), r#"{"a":{"b":[1,{}]}}"#),
            ("[1,2,3]", "/1", Some("2"), "[1,3]"),
            ("[1]", "/-", None, "[1]"),
            ("[1]", "/1", None, "[1]"),
            (r#"{"a":1}"#, "/b", None, r#"{"a":1}"#),
            (r#"{"a":1}"#, "", None, r#"{"a":1}"#),
        ];
        for (document, pointer, expected, rest) in cases {
            let mut node = Node::parse(document.as_bytes()).expect("JSON");
            let found = node.remove(&at(pointer));
            assert_eq!(found.as_ref().map(text).as_deref(), expected, "{document} {pointer}");
            assert_eq!(text(&node), rest, "{document} {pointer}");
        }
    }

    #[test]
    fn made_values_can_be_changed_again() {
        let mut node = Node::parse(b"{}").expect("JSON");
        node.set(&at("/a"), Node::Made(r#"{"b":[1]}"#.to_owned()));
        assert!(node.set(&at("/a/b/-"), Node::Made("2".to_owned())));
        assert_eq!(text(&node), r#"{"a":{"b":[1,2]}}"#);
    }

    #[test]
    fn only_json_is_read_however_deep() {
        for wrong in ["", "{", "{}x", "{'a':1}", "[1,]", "nul", "\"\\x\"", "01", "\u{feff}{}"] {
            assert!(Node::parse(wrong.as_bytes()).is_none(), "{wrong}");
        }
        assert!(Node::parse(b"\"\xff\"").is_none());
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let mut node = Node::parse(deep.as_bytes()).expect("JSON");
        assert!(node.set(&at("/0/0/-"), Node::Made("1".to_owned())));
        assert_eq!(text(&node).len(), deep.len() + 2);
    }
}
