//! Compares a tree with the shapes: unknown keys, wrong types, missing keys, all at once. What is wrong is taken out of
//! the tree, so that the rest can still be read and checked.

use super::{Format, MapShape, NumberShape, SHAPES, Shape, ShapeIndex, TextShape};
use crate::node::{At, Entry, Node, Path, Value};
use crate::problem::{Fault, guess};
use crate::report::Report;
use crate::types::{ByteSize, Memory, Timeout};
use std::fmt::Write as _;

/// Checks a whole document. Whether there is still one when what is wrong is out.
pub(crate) fn walk(root: &mut Node, report: &mut Report) -> bool {
    Walk { report }.value(0, root, &Path::ROOT)
}

struct Walk<'a> {
    report: &'a mut Report,
}

impl Walk<'_> {
    /// Checks one value. Whether it can stay.
    fn value(&mut self, shape: ShapeIndex, node: &mut Node, path: &Path<'_>) -> bool {
        let shape = &SHAPES[shape];
        if shape.anything {
            return true;
        }
        let (at, filled) = (node.at, node.filled);
        let result = match (&mut node.value, shape) {
            (Value::Bool(_), Shape { boolean: true, .. }) => Ok(()),
            // A reference without a value has been reported.
            (Value::Text(_), _) if !node.intact => return false,
            (Value::Text(text), Shape { text: Some(expected), .. }) => check_text(text, expected),
            (Value::Number(number), Shape { number: Some(expected), .. }) => check_number(number, expected),
            (Value::List(items), Shape { list: Some(expected), .. }) => {
                if (items.len() as u64) < expected.least {
                    Err(Fault::new("the list is empty")
                        .hint("leave the key out or put something into the list"))
                } else {
                    items.retain_mut(|item| {
                        let index = item.index;
                        self.value(expected.item, item, &path.index(index))
                    });
                    Ok(())
                }
            }
            (Value::Map(_), Shape { map: Some(expected), .. }) => return self.map(expected, node, path),
            _ => Err(wrong_kind(node, shape)),
        };
        result.map_err(|fault| self.report.add(at, path.text(), fault.discreet(filled))).is_ok()
    }

    fn map(&mut self, shape: &MapShape, node: &mut Node, path: &Path<'_>) -> bool {
        let at = node.at;
        let Value::Map(entries) = &mut node.value else { return false };
        let (mut seen, mut guessed, mut lost) = (0_u64, 0_u64, 0_u64);
        entries.retain_mut(|Entry { key, at, node: value }| {
            let Some(position) = shape.position(key) else {
                let Some(other) = shape.other else {
                    guessed |= self.unknown_key(shape, key, *at, path);
                    return false;
                };
                return self.value(other, value, &path.key(key));
            };
            seen |= 1 << position;
            let fine = self.value(shape.keys[position].shape, value, &path.key(key));
            if !fine {
                lost |= 1 << position;
            }
            fine
        });
        node.intact = lost == 0;
        for fault in constraints(shape, seen, guessed) {
            self.report.add(at, path.text(), fault);
        }
        (lost | !seen) & shape.required == 0
    }

    /// Reports a key that is not known. The bit of the key that was probably meant.
    fn unknown_key(&mut self, shape: &MapShape, key: &str, at: At, path: &Path<'_>) -> u64 {
        let names = || shape.keys.iter().map(|known| known.name.as_str());
        let fault = Fault::new(format!("unknown key {key:?}"));
        let meant = guess(key, names());
        let fault = match meant {
            _ if key == "<<" => fault.hint("YAML 1.2 has no merge keys: write the keys out"),
            Some(name) => fault.hint(format!("did you mean {name:?}?")),
            None => fault.hint(format!("known keys: {}", names().collect::<Vec<_>>().join(", "))),
        };
        self.report.add(at, path.key(key).text(), fault);
        meant.and_then(|name| shape.position(name)).map_or(0, |position| 1 << position)
    }
}

/// What is said about keys together: which must be there, which exclude each other. `seen` keys are there, `guessed`
/// ones were probably meant by keys that are not known.
fn constraints(shape: &MapShape, seen: u64, guessed: u64) -> Vec<Fault> {
    let meant = seen | guessed;
    let mut faults = Vec::new();
    for (position, key) in shape.keys.iter().enumerate() {
        if shape.required & !meant & 1 << position != 0 {
            let fault = Fault::new(format!("the key {:?} is missing", key.name));
            faults.push(fault.hint(format!("{}: {}", key.name, lower_first(&key.description))));
        }
    }
    for bits in [shape.exactly_one, shape.at_least_one] {
        if bits != 0 && meant & bits == 0 {
            faults.push(Fault::new(format!("one of {} is missing", listed(&shape.names(bits), "or"))));
        }
    }
    let chosen = seen & shape.exactly_one;
    if chosen.count_ones() > 1 {
        let names = listed(&shape.names(chosen), "and");
        faults.push(Fault::new(format!("{names} exclude each other")).hint("keep one of them"));
    }
    for (key, needed) in &shape.needs {
        if seen & 1 << key != 0 && meant & 1 << needed == 0 {
            let (key, needed) = (&shape.keys[*key].name, &shape.keys[*needed].name);
            faults.push(Fault::new(format!("{key:?} has no meaning without {needed:?}")));
        }
    }
    faults
}

fn check_text(text: &str, shape: &TextShape) -> Result<(), Fault> {
    match shape.format {
        Some(Format::Timeout) => return Timeout::parse(text).map(|_| ()),
        Some(Format::ByteSize) => return ByteSize::parse(text).map(|_| ()),
        Some(Format::Memory) => return Memory::parse(text).map(|_| ()),
        None => {}
    }
    if shape.words.is_empty() || shape.words.iter().any(|word| word == text) {
        return Ok(());
    }
    let fault = Fault::new(format!("{text:?} is not known here"));
    let words: Vec<&str> = shape.words.iter().map(String::as_str).collect();
    Err(match guess(text, words.iter().copied()) {
        Some(word) => fault.hint(format!("did you mean {word:?}?")),
        None if words.len() == 1 => fault.hint(format!("the only one is {:?}", words[0])),
        None => fault.hint(format!("one of {}", listed(&words, "or"))),
    })
}

fn check_number(number: &serde_json::Number, shape: &NumberShape) -> Result<(), Fault> {
    let value = number.as_f64().unwrap_or(f64::NAN);
    if shape.whole && !(number.is_u64() || number.is_i64()) {
        return Err(Fault::new(format!("{number} is not a whole number")));
    }
    if !shape.values.is_empty() && !number.as_u64().is_some_and(|number| shape.values.contains(&number)) {
        let values: Vec<String> = shape.values.iter().map(u64::to_string).collect();
        return Err(Fault::new(format!("{number} is not possible here"))
            .hint(format!("one of {}", values.join(", "))));
    }
    match (shape.least, shape.most) {
        (Some(least), _) if value < least => {
            Err(Fault::new(format!("{number} is too small")).hint(format!("at least {least}")))
        }
        (_, Some(most)) if value > most => {
            Err(Fault::new(format!("{number} is too large")).hint(format!("at most {most}")))
        }
        _ => Ok(()),
    }
}

fn wrong_kind(node: &Node, shape: &Shape) -> Fault {
    if matches!(node.value, Value::Null) {
        return Fault::new("there is no value").hint("leave the key out or give it a value");
    }
    let kinds = [
        (shape.text.is_some(), "text"),
        (shape.number.is_some(), "a number"),
        (shape.boolean, "true or false"),
        (shape.list.is_some(), "a list"),
        (shape.map.is_some(), "a map"),
    ];
    let expected: Vec<&str> = kinds.iter().filter(|(fits, _)| *fits).map(|(_, kind)| *kind).collect();
    // Numbers and truth values are no secrets; where a text or a list is wanted, this may be one.
    let found = match (&node.value, shape) {
        (Value::Text(text), Shape { text: None, list: None, map: None, .. }) if !node.filled => {
            format!("the text {:?}", text.chars().take(40).collect::<String>())
        }
        _ => node.kind().to_owned(),
    };
    let fault = Fault::new(format!("expected {}, found {found}", expected.join(" or ")));
    match (&node.value, shape) {
        (
            Value::Number(number),
            Shape { text: Some(TextShape { format: Some(Format::Timeout), .. }), .. },
        ) => fault.hint(format!("give it a unit: {number}s or {number}ms")),
        (Value::Number(number), Shape { text: Some(text), .. }) if text.words.is_empty() => {
            fault.hint(format!("put it into quotes: \"{number}\""))
        }
        (Value::Bool(value), Shape { text: Some(text), .. }) if text.words.is_empty() => {
            fault.hint(format!("put it into quotes: \"{value}\""))
        }
        (Value::Text(text), Shape { number: Some(_), .. } | Shape { boolean: true, .. })
            if text.parse::<f64>().is_ok() || text == "true" || text == "false" =>
        {
            fault.hint(format!("write {text} without quotes"))
        }
        (Value::Text(text), Shape { boolean: true, .. }) => match text.to_lowercase().as_str() {
            "yes" | "on" | "y" => fault.hint("in YAML 1.2 this is a text: write true"),
            "no" | "off" | "n" => fault.hint("in YAML 1.2 this is a text: write false"),
            _ => fault,
        },
        (Value::Text(_) | Value::Map(_), Shape { list: Some(_), .. }) => {
            fault.hint("write each item on a line of its own that begins with \"- \", or all in [ ]")
        }
        _ => fault,
    }
}

fn lower_first(text: &str) -> String {
    let shouted = text.chars().nth(1).is_some_and(|c| c.is_ascii_uppercase());
    let mut chars = text.chars();
    match chars.next() {
        Some(first) if !shouted => first.to_lowercase().chain(chars).collect(),
        _ => text.to_owned(),
    }
}

/// `"a", "b" or "c"`.
fn listed(names: &[&str], word: &str) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        let join = match index {
            0 => String::new(),
            _ if index + 1 == names.len() => format!(" {word} "),
            _ => ", ".to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{join}{name:?}");
    }
    text
}
