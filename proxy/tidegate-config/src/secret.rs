//! `${env:NAME}` and `${file:path}`: where secrets come from, how they get into a document, how they stay out of
//! messages.

use crate::node::{Node, Path, Value};
use crate::problem::Fault;
use crate::report::Report;
use std::path::{Path as FilePath, PathBuf};

/// Where the values of references come from. The one who loads decides what can be reached.
pub trait Secrets {
    /// The value of an environment variable, or why there is none.
    ///
    /// # Errors
    /// A text for the user that says why there is no value.
    fn env(&self, name: &str) -> Result<String, String>;

    /// The text of a file, or why there is none. The path is complete.
    ///
    /// # Errors
    /// A text for the user that says why there is no value.
    fn file(&self, path: &FilePath) -> Result<String, String>;
}

/// What the references of a document were filled with.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    /// Files that were named.
    pub(crate) files: Vec<PathBuf>,
    /// Values with what stands for them in the document.
    values: Vec<(String, String)>,
}

impl Filled {
    /// Puts references back into the place of their values.
    pub(crate) fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, reference) in &self.values {
            let escaped = format!("{value:?}");
            let escaped = &escaped[1..escaped.len() - 1];
            for shown in [value.as_str(), escaped] {
                // Short values are part of ordinary words; they are hidden where they are shown as a value.
                text = if shown.len() >= 4 {
                    replace(&text, shown, reference)
                } else {
                    replace(&text, &format!("{shown:?}"), &format!("{reference:?}"))
                };
            }
        }
        text
    }
}

/// Replaces a value in a text. Upper and lower case are the same: hosts and header names are shown in lower case.
fn replace(text: &str, value: &str, reference: &str) -> String {
    let (mut rest, value) = (text, value.to_ascii_lowercase());
    let mut replaced = String::with_capacity(text.len());
    // ASCII letters have one byte in both cases, so places in the one text are places in the other.
    while let Some(found) = rest.to_ascii_lowercase().find(&value) {
        replaced.push_str(&rest[..found]);
        replaced.push_str(reference);
        rest = &rest[found + value.len()..];
    }
    replaced + rest
}

/// Fills in all references of a tree.
pub(crate) fn fill(root: &mut Node, base: &FilePath, secrets: &dyn Secrets, report: &mut Report) -> Filled {
    let mut fill = Fill { base, secrets, report, filled: Filled::default() };
    fill.node(root, &Path::ROOT);
    let mut filled = fill.filled;
    filled.files.sort();
    filled.files.dedup();
    // Longest first: a value that is part of another one must not break it up.
    filled.values.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
    filled
}

struct Fill<'a> {
    base: &'a FilePath,
    secrets: &'a dyn Secrets,
    report: &'a mut Report,
    filled: Filled,
}

impl Fill<'_> {
    fn node(&mut self, node: &mut Node, path: &Path<'_>) {
        match &mut node.value {
            Value::Text(text) if text.contains("${") => match self.text(text) {
                Ok(full) => {
                    node.filled = full != *text;
                    *text = full;
                }
                Err(fault) => {
                    node.intact = false;
                    self.report.add(node.at, path.text(), fault);
                }
            },
            Value::List(items) => {
                for item in items {
                    let index = item.index;
                    self.node(item, &path.index(index));
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    self.node(&mut entry.node, &path.key(&entry.key));
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) -> Result<String, Fault> {
        let mut full = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(found) = rest.find("${") {
            let (before, reference) = rest.split_at(found);
            if let Some(before) = before.strip_suffix('$') {
                full.push_str(before);
                full.push_str("${");
                rest = &reference[2..];
                continue;
            }
            full.push_str(before);
            let end = reference.find('}').ok_or_else(|| {
                Fault::new("a reference \"${\" has no end")
                    .hint("close it with }, or write $${ for the characters ${")
            })?;
            let (reference, after) = reference.split_at(end + 1);
            full.push_str(&self.value(reference)?);
            rest = after;
        }
        full.push_str(rest);
        Ok(full)
    }

    fn value(&mut self, reference: &str) -> Result<String, Fault> {
        let inside = &reference[2..reference.len() - 1];
        let value = match inside.split_once(':') {
            Some(("env", name)) if !name.is_empty() => self.secrets.env(name),
            Some(("file", path)) if !path.is_empty() => {
                let path = self.base.join(path);
                self.filled.files.push(path.clone());
                self.secrets.file(&path)
            }
            _ => {
                return Err(Fault::new(format!("{reference:?} is not a reference"))
                    .hint("${env:NAME}, ${file:path}, or $${ for the characters ${"));
            }
        };
        let mut value = value.map_err(|why| Fault::new(format!("{reference} has no value: {why}")))?;
        if value.ends_with('\n') {
            value.pop();
            if value.ends_with('\r') {
                value.pop();
            }
        }
        if !value.is_empty() {
            self.filled.values.push((value.clone(), reference.to_owned()));
        }
        Ok(value)
    }
}
