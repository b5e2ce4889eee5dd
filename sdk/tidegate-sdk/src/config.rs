//! Reads a plugin's configuration into the filter's own type; says which key is wrong, never what a secret was.

mod problem;
mod reader;
mod text;

use std::any::{Any, TypeId};
use std::fmt;

use serde::Deserialize;
use serde::de::value::UnitDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};

use problem::Problem;
use reader::Reader;
use text::Text;

/// The configuration of a filter that has none: every key is refused. A module whose filter has this one needs no reader of
/// JSON.
///
/// ```no_run
/// use tidegate_sdk::{Filter, NoConfig, filter};
///
/// struct Plain;
///
/// #[filter]
/// impl Filter for Plain {
///     fn new(_: NoConfig) -> Self {
///         Plain
///     }
/// }
/// # fn main() {}
/// ```
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Why a configuration was refused: the path of the key and what is wrong with it.
///
/// ```
/// use tidegate_sdk::ConfigError;
///
/// /// What no type says by itself.
/// fn check(from: u32, to: u32) -> Result<(), ConfigError> {
///     if from > to {
///         return Err(ConfigError::at("range.from", "must not be above `range.to`"));
///     }
///     Ok(())
/// }
///
/// let error = check(2, 1).unwrap_err();
/// assert_eq!(error.to_string(), "config.range.from: must not be above `range.to`");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    path: String,
    message: String,
}

impl ConfigError {
    /// An error that no single key is to blame for.
    pub fn new(message: impl Into<String>) -> Self {
        ConfigError { path: String::new(), message: message.into() }
    }

    /// An error of one key, by its path: `ConfigError::at("rules[2].path", "must begin with a slash")`.
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        ConfigError { path: path.into(), message: message.into() }
    }
}

impl From<String> for ConfigError {
    fn from(message: String) -> Self {
        ConfigError::new(message)
    }
}

impl From<&str> for ConfigError {
    fn from(message: &str) -> Self {
        ConfigError::new(message)
    }
}

impl From<crate::Error> for ConfigError {
    fn from(error: crate::Error) -> Self {
        ConfigError::new(error.to_string())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => write!(f, "config: {}", self.message),
            path if path.starts_with('[') => write!(f, "config{path}: {}", self.message),
            path => write!(f, "config.{path}: {}", self.message),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Reads the JSON that the gateway hands over; none at all counts as `{}`.
pub(crate) fn read<C: DeserializeOwned + 'static>(json: &[u8]) -> Result<C, ConfigError> {
    // Known when it is compiled, so that what follows is not in such a module.
    if TypeId::of::<C>() == TypeId::of::<NoConfig>() {
        refuse_all(json)?;
        let mut none = Some(NoConfig {});
        let none = (&mut none as &mut dyn Any).downcast_mut::<Option<C>>();
        return none.and_then(Option::take).ok_or_else(|| ConfigError::new(NONE));
    }
    let empty = matches!(json.trim_ascii(), b"" | b"{}");
    let refused = |problem: Problem| {
        let (path, message) = problem.into_parts();
        ConfigError { path, message }
    };
    let mut text = Text::new(if empty { b"{}" } else { json }).map_err(refused)?;
    let read = C::deserialize(Reader(&mut text));
    let config = match read {
        Ok(config) => config,
        Err(problem) if empty => return nothing().ok_or_else(|| refused(problem)),
        Err(problem) => return Err(refused(problem)),
    };
    text.end().map_err(refused)?;
    Ok(config)
}

/// Whether there is nothing in a configuration; the first key is named, if it is plain.
fn refuse_all(json: &[u8]) -> Result<(), ConfigError> {
    let text = json.trim_ascii();
    let Some(rest) = text.strip_prefix(b"{") else {
        return if text.is_empty() { Ok(()) } else { Err(ConfigError::new(NONE)) };
    };
    let rest = rest.trim_ascii();
    if rest == b"}" {
        return Ok(());
    }
    let mut parts = rest.split(|byte| *byte == b'"');
    let (before, key) = (parts.next(), parts.next().map(std::str::from_utf8));
    match (before, key) {
        (Some(b""), Some(Ok(key))) if parts.next().is_some() && !key.contains('\\') => {
            Err(ConfigError::at(key, "the filter has no configuration"))
        }
        _ => Err(ConfigError::new(NONE)),
    }
}

const NONE: &str = "the filter has none, so it must be empty or {}";

/// A configuration that holds nothing, as `()`: it is no map, not even an empty one.
fn nothing<C: DeserializeOwned>() -> Option<C> {
    C::deserialize(().into_deserializer() as UnitDeserializer<Problem>).ok()
}

#[cfg(test)]
mod tests;
