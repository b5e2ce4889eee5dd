//! What is wrong with a configuration, and where. It never has the value, which may be a secret.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

/// Why a configuration could not be read.
#[derive(Debug)]
pub(super) struct Problem(Box<Inner>);

#[derive(Debug)]
struct Inner {
    /// Of the key, as `rules[2].path`; grows on the way out of the value.
    path: String,
    message: String,
}

impl Problem {
    pub(super) fn new(message: String) -> Self {
        Problem(Box::new(Inner { path: String::new(), message }))
    }

    /// It is in the value of a key.
    pub(super) fn inside(self, key: &str) -> Self {
        self.below(key.to_owned())
    }

    /// It is in this element of a list.
    pub(super) fn inside_element(self, index: usize) -> Self {
        let mut step = String::from("[");
        step.push_str(&index.to_string());
        step.push(']');
        self.below(step)
    }

    fn below(mut self, mut step: String) -> Self {
        if !self.0.path.is_empty() && !self.0.path.starts_with('[') {
            step.push('.');
        }
        step.push_str(&self.0.path);
        self.0.path = step;
        self
    }

    /// The path and what is wrong there.
    pub(super) fn into_parts(self) -> (String, String) {
        (self.0.path, self.0.message)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Problem {}

impl Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Problem::new(without_value(message.to_string()))
    }

    // The two that would show the value. Showing it would also bring the code that writes floating point, 17 KiB.
    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        mismatch("invalid type: ", found, wanted)
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        mismatch("invalid value: ", found, wanted)
    }
}

fn mismatch(what: &str, found: Unexpected<'_>, wanted: &dyn Expected) -> Problem {
    let found = match found {
        Unexpected::Bool(_) => "boolean",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "integer",
        Unexpected::Float(_) => "floating point",
        Unexpected::Char(_) => "character",
        Unexpected::Str(_) => "string",
        Unexpected::Bytes(_) => "byte array",
        Unexpected::Unit => "null",
        Unexpected::Option => "Option value",
        Unexpected::NewtypeStruct => "newtype struct",
        Unexpected::Seq => "sequence",
        Unexpected::Map => "map",
        Unexpected::Enum => "enum",
        Unexpected::UnitVariant => "unit variant",
        Unexpected::NewtypeVariant => "newtype variant",
        Unexpected::TupleVariant => "tuple variant",
        Unexpected::StructVariant => "struct variant",
        Unexpected::Other(other) => before_quote(other),
    };
    Problem::new(format!("{what}{found}{EXPECTED}{wanted}"))
}

/// A message as other readers write it, which a type may have passed on, without the value.
fn without_value(message: String) -> String {
    for kind in ["invalid type: ", "invalid value: "] {
        let Some(rest) = message.strip_prefix(kind) else { continue };
        // By bytes: the searches of `str` would be a good part of a small filter.
        let Some(at) = rest.as_bytes().windows(EXPECTED.len()).rposition(|part| part == EXPECTED.as_bytes())
        else {
            continue;
        };
        let (found, expected) = (rest.get(..at).unwrap_or_default(), rest.get(at..).unwrap_or_default());
        return [kind, before_quote(found), expected].concat();
    }
    message
}

/// The kind of a value that is followed by the value itself.
fn before_quote(found: &str) -> &str {
    let quote = found.bytes().position(|byte| matches!(byte, b'"' | b'`')).unwrap_or(found.len());
    found.get(..quote).unwrap_or_default().trim_ascii_end()
}

const EXPECTED: &str = ", expected ";
