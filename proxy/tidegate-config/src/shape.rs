//! The schema in a form that is quick to walk: one [`Shape`] for each type, which says for each kind of value what is
//! right. Unions of the document are told apart by kind, so that a shape never has to be tried.

mod walk;

use crate::schema::schema;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

pub(crate) use walk::walk;

/// All shapes of the document; the first one is the document itself.
static SHAPES: LazyLock<Vec<Shape>> = LazyLock::new(|| compile(&schema()));

/// Index into [`SHAPES`].
type ShapeIndex = usize;

/// What a value may be. Kinds that are not there are wrong.
#[derive(Debug, Default)]
struct Shape {
    anything: bool,
    boolean: bool,
    text: Option<TextShape>,
    number: Option<NumberShape>,
    list: Option<ListShape>,
    map: Option<MapShape>,
}

#[derive(Debug, Default)]
struct TextShape {
    /// The only texts that are right; empty: any.
    words: Vec<String>,
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Timeout,
    ByteSize,
    Memory,
}

#[derive(Debug, Default)]
struct NumberShape {
    whole: bool,
    least: Option<f64>,
    most: Option<f64>,
    /// The only numbers that are right; empty: any.
    values: Vec<u64>,
}

#[derive(Debug)]
struct ListShape {
    item: ShapeIndex,
    least: u64,
}

/// Sets of keys are bits in the order of `keys`.
#[derive(Debug, Default)]
struct MapShape {
    keys: Vec<KeyShape>,
    /// Shape of values under any other key.
    other: Option<ShapeIndex>,
    required: u64,
    exactly_one: u64,
    at_least_one: u64,
    /// The first key makes sense only with the second one.
    needs: Vec<(usize, usize)>,
}

#[derive(Debug)]
struct KeyShape {
    name: String,
    shape: ShapeIndex,
    description: String,
}

impl MapShape {
    fn position(&self, key: &str) -> Option<usize> {
        self.keys.iter().position(|known| known.name == key)
    }

    fn bits(&self, names: &Value) -> u64 {
        let names = names.as_array().into_iter().flatten().filter_map(Value::as_str);
        names.filter_map(|name| self.position(name)).fold(0, |bits, position| bits | 1 << position)
    }

    fn names(&self, bits: u64) -> Vec<&str> {
        let chosen = self.keys.iter().enumerate().filter(|(position, _)| bits & 1 << position != 0);
        chosen.map(|(_, key)| key.name.as_str()).collect()
    }
}

fn compile(schema: &Value) -> Vec<Shape> {
    let mut compiler = Compiler { root: schema, shapes: Vec::new(), named: HashMap::new() };
    compiler.shape(schema);
    compiler.shapes
}

struct Compiler<'a> {
    root: &'a Value,
    shapes: Vec<Shape>,
    named: HashMap<&'a str, ShapeIndex>,
}

impl<'a> Compiler<'a> {
    fn shape(&mut self, schema: &'a Value) -> ShapeIndex {
        let name = schema.get("$ref").and_then(Value::as_str);
        if let Some(known) = name.and_then(|name| self.named.get(name)) {
            return *known;
        }
        let index = self.shapes.len();
        self.shapes.push(Shape::default());
        if let Some(name) = name {
            self.named.insert(name, index);
        }
        let mut shape = Shape::default();
        self.add(&mut shape, schema);
        self.shapes[index] = shape;
        index
    }

    /// Adds what a schema allows to a shape.
    fn add(&mut self, shape: &mut Shape, schema: &'a Value) {
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.trim_start_matches('#');
            if let Some(target) = self.root.pointer(target) {
                self.add(shape, target);
            }
            return;
        }
        if let Some(word) = schema.get("const").and_then(Value::as_str) {
            shape.text.get_or_insert_default().words.push(word.to_owned());
            return;
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("string") => add_text(shape.text.get_or_insert_default(), schema),
            Some("integer" | "number") => add_number(shape.number.get_or_insert_default(), schema),
            Some("boolean") => shape.boolean = true,
            Some("array") => {
                let item = schema.get("items").map(|items| self.shape(items));
                let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
                shape.list = item.map(|item| ListShape { item, least });
            }
            Some("object") => shape.map = Some(self.map(schema)),
            _ => match schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
                Some(branches) => branches.iter().for_each(|branch| self.add(shape, branch)),
                None => shape.anything = true,
            },
        }
    }

    fn map(&mut self, schema: &'a Value) -> MapShape {
        let mut map = MapShape::default();
        for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let described = property.get("description").and_then(Value::as_str).unwrap_or_default();
            let sentence = described.split_once(". ").map_or(described, |(first, _)| first);
            let description = sentence.trim_end_matches('.').replace('`', "");
            map.keys.push(KeyShape { name: name.clone(), shape: self.shape(property), description });
        }
        map.other = match schema.get("additionalProperties") {
            Some(Value::Bool(false)) | None => None,
            Some(other) => Some(self.shape(other)),
        };
        map.required = schema.get("required").map_or(0, |names| map.bits(names));
        let alternatives = |map: &MapShape, key: &str| {
            let branches = schema.get(key).and_then(Value::as_array).into_iter().flatten();
            branches.filter_map(|branch| branch.get("required")).fold(0, |bits, names| bits | map.bits(names))
        };
        map.exactly_one = alternatives(&map, "oneOf");
        map.at_least_one = alternatives(&map, "anyOf");
        for (key, needed) in schema.get("dependentRequired").and_then(Value::as_object).into_iter().flatten()
        {
            let needed = needed.as_array().into_iter().flatten().filter_map(Value::as_str);
            let pairs = needed.filter_map(|needed| Some((map.position(key)?, map.position(needed)?)));
            let pairs: Vec<_> = pairs.collect();
            map.needs.extend(pairs);
        }
        map
    }
}

fn add_text(text: &mut TextShape, schema: &Value) {
    let words = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    text.words.extend(words.filter_map(Value::as_str).map(str::to_owned));
    text.format = match schema.get("format").and_then(Value::as_str) {
        Some("timeout") => Some(Format::Timeout),
        Some("byteSize") => Some(Format::ByteSize),
        Some("memory") => Some(Format::Memory),
        _ => text.format,
    };
}

fn add_number(number: &mut NumberShape, schema: &Value) {
    let highest = match schema.get("format").and_then(Value::as_str) {
        Some("uint16") => Some(f64::from(u16::MAX)),
        Some("uint32") => Some(f64::from(u32::MAX)),
        _ => None,
    };
    number.whole = schema.get("type").is_some_and(|name| name == "integer");
    number.least = schema.get("minimum").and_then(Value::as_f64);
    number.most = schema.get("maximum").and_then(Value::as_f64).or(highest);
    let values = schema.get("enum").and_then(Value::as_array).into_iter().flatten();
    number.values = values.filter_map(Value::as_u64).collect();
}
