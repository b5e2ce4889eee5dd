//! A reference page of a filter's configuration, made from the JSON Schema of its types.
//!
//! The page is kept beside the code and compared by a test, so it cannot fall behind:
//!
//! ```no_run
//! # fn schema() -> serde_json::Value { serde_json::json!({}) }
//! # fn the_reference_page_is_current() {
//! let page = tidegate_sdk_test::reference::page("auth", &schema());
//! tidegate_sdk_test::reference::assert_current(concat!(env!("CARGO_MANIFEST_DIR"), "/REFERENCE.md"), &page);
//! # }
//! ```

mod kind;

use std::fmt::Write as _;
use std::fs;

use serde_json::{Map, Value};

/// The variable of the environment that makes [`assert_current`] write the page.
pub const WRITE: &str = "TIDEGATE_WRITE_REFERENCE";

/// The page, in Markdown. The schema is what `schemars` makes of the configuration's type: its descriptions, defaults and
/// required keys become the page; each type that it names becomes a section.
pub fn page(name: &str, schema: &Value) -> String {
    let mut text = format!("# {name}: configuration reference\n");
    text +=
        "\nMade from the types of the configuration; the keys below are those of the plugin's `config`.\n";
    describe(&mut text, schema);
    body(&mut text, schema, schema);
    for named in kind::named(schema) {
        if let Some(definition) = schema.get("$defs").and_then(|all| all.get(&named)) {
            let _ = write!(text, "\n## {}\n", kind::title(&named));
            describe(&mut text, definition);
            body(&mut text, definition, schema);
        }
    }
    text
}

/// Fails unless the file holds this page. With [`WRITE`] set in the environment, the page is written instead.
///
/// # Panics
/// When the file cannot be read or written, or holds something else.
#[expect(clippy::panic, reason = "it is an assertion")]
pub fn assert_current(path: &str, page: &str) {
    if std::env::var_os(WRITE).is_some() {
        if let Err(error) = fs::write(path, page) {
            panic!("cannot write {path}: {error}");
        }
        return;
    }
    match fs::read_to_string(path) {
        Ok(found) if found == page => {}
        Ok(found) => {
            let lines = found.lines().chain([""]).zip(page.lines().chain([""]));
            let differs = lines.enumerate().find(|(_, (is, should))| is != should);
            let (line, (is, should)) = differs.unwrap_or((found.lines().count(), ("", "")));
            panic!(
                "{path}:{}: is not current; run the test with {WRITE}=1\n is:     {is}\n should: {should}",
                line + 1
            );
        }
        Err(error) => panic!("cannot read {path}: {error}; run the test with {WRITE}=1 to make it"),
    }
}

fn describe(text: &mut String, schema: &Value) {
    if let Some(description) = schema.get("description").and_then(Value::as_str) {
        let _ = write!(text, "\n{}\n", description.trim());
    }
}

/// What a type holds: its keys, or the forms that it may have.
fn body(text: &mut String, schema: &Value, root: &Value) {
    if let Some(keys) = schema.get("properties").and_then(Value::as_object) {
        table(text, keys, schema);
    }
    for part in ["allOf"].iter().filter_map(|word| schema.get(*word)?.as_array()).flatten() {
        body(text, kind::resolve(part, root), root);
    }
    for word in ["oneOf", "anyOf"] {
        let Some(forms) = schema.get(word).and_then(Value::as_array) else { continue };
        let _ = write!(text, "\nOne of:\n\n");
        for form in forms {
            let _ = writeln!(text, "- {}{}", kind::of(form), kind::meaning(form));
        }
        for keys in forms.iter().filter(|form| kind::is_structure(form)) {
            if let Some(properties) = keys.get("properties").and_then(Value::as_object) {
                let _ = write!(text, "\nWith {}:\n", kind::of(keys));
                table(text, properties, keys);
            }
        }
    }
    if kind::is_plain(schema) {
        let _ = write!(text, "\n{}\n", kind::of(schema));
    }
}

fn table(text: &mut String, keys: &Map<String, Value>, schema: &Value) {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    text.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
    for (name, value) in keys {
        let default = match value.get("default") {
            _ if required.contains(&name.as_str()) => "required".to_owned(),
            None | Some(Value::Null) => String::new(),
            Some(default) => format!("`{default}`"),
        };
        let _ = writeln!(
            text,
            "| `{name}` | {} | {} | {} |",
            kind::of(value),
            cell(&default),
            kind::sentence(value)
        );
    }
}

/// Text that stays inside its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests;
