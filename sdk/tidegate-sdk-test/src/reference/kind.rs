//! One type of a schema in a few words.

use serde_json::Value;

/// The section of a type.
pub(super) fn title(name: &str) -> String {
    let mut words = String::new();
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_ascii_uppercase() && !words.ends_with(|last: char| last.is_ascii_uppercase()) {
            words.push(' ');
        }
        words.push(if at == 0 { letter } else { letter.to_ascii_lowercase() });
    }
    words
}

/// The types that a schema names, each once, in the order in which they are first named.
pub(super) fn named(root: &Value) -> Vec<String> {
    let mut names = Vec::new();
    let mut next = 0;
    collect(root, &mut names);
    while let Some(name) = names.get(next).cloned() {
        if let Some(definition) = root.get("$defs").and_then(|all| all.get(&name)) {
            collect(definition, &mut names);
        }
        next += 1;
    }
    names
}

fn collect(schema: &Value, names: &mut Vec<String>) {
    if let Some(name) = reference(schema).filter(|name| !names.iter().any(|known| known == name)) {
        names.push(name.to_owned());
    }
    match schema {
        Value::Object(parts) => {
            for (_, part) in parts.iter().filter(|(key, _)| *key != "$defs") {
                collect(part, names);
            }
        }
        Value::Array(parts) => parts.iter().for_each(|part| collect(part, names)),
        _ => {}
    }
}

/// The type that a reference means.
pub(super) fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    let named = reference(schema).and_then(|name| root.get("$defs")?.get(name));
    named.unwrap_or(schema)
}

fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref")?.as_str()?.rsplit('/').next()
}

/// The type in words, with a link where it has a section of its own.
pub(super) fn of(schema: &Value) -> String {
    if let Some(name) = reference(schema) {
        let title = title(name);
        let anchor = title.to_ascii_lowercase().replace(' ', "-");
        return format!("[{title}](#{anchor})");
    }
    if let Some(value) = schema.get("const") {
        return format!("`{}`", bare(value));
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return values.iter().map(|value| format!("`{}`", bare(value))).collect::<Vec<_>>().join(", ");
    }
    for word in ["anyOf", "oneOf", "allOf"] {
        if let Some(forms) = schema.get(word).and_then(Value::as_array) {
            let forms = forms.iter().filter(|form| !is_null(form));
            return forms.map(of).collect::<Vec<_>>().join(" or ");
        }
    }
    match schema.get("type") {
        Some(Value::Array(kinds)) => {
            let kinds = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null");
            kinds.map(|kind| simple(kind, schema)).collect::<Vec<_>>().join(" or ")
        }
        Some(Value::String(kind)) => simple(kind, schema),
        _ => "any value".to_owned(),
    }
}

fn simple(kind: &str, schema: &Value) -> String {
    match kind {
        "array" => format!("list of {}", schema.get("items").map_or_else(|| "values".to_owned(), of)),
        "object" => {
            match (schema.get("properties").and_then(Value::as_object), schema.get("additionalProperties")) {
                (Some(keys), _) => {
                    format!(
                        "{{ {} }}",
                        keys.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
                    )
                }
                (None, Some(values)) if !values.is_boolean() => format!("map of {}", of(values)),
                _ => "map".to_owned(),
            }
        }
        "boolean" => "true or false".to_owned(),
        "integer" => range("whole number", schema),
        "number" => range("number", schema),
        kind => kind.to_owned(),
    }
}

fn range(kind: &str, schema: &Value) -> String {
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => format!("{kind}, {least} to {most}"),
        (Some(least), None) => format!("{kind}, at least {least}"),
        (None, Some(most)) => format!("{kind}, at most {most}"),
        (None, None) => kind.to_owned(),
    }
}

/// A value as it is written in a document.
fn bare(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

/// It has keys of its own.
pub(super) fn is_structure(schema: &Value) -> bool {
    schema.get("properties").is_some()
}

/// It is neither a structure nor a choice, so it is told by one line.
pub(super) fn is_plain(schema: &Value) -> bool {
    ["properties", "oneOf", "anyOf", "allOf"].iter().all(|word| schema.get(*word).is_none())
}

/// The description in one line, for a cell.
pub(super) fn sentence(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// The description behind a form.
pub(super) fn meaning(schema: &Value) -> String {
    let sentence = sentence(schema);
    if sentence.is_empty() { sentence } else { format!(": {sentence}") }
}
