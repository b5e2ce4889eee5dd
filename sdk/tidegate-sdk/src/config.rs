//! Reads a plugin's configuration into the filter's own type; says which key is wrong, never what a secret was.

use std::any::{Any, TypeId};
use std::fmt;

use serde::Deserialize;
use serde::de::value::UnitDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};

/// The configuration of a filter that has none: every key is refused. A module whose filter has this one needs no reader of
/// JSON, which is half of a small one (some 60 KiB).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Why a configuration was refused: the path of the key and what is wrong with it.
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
            "" | "." | "?" => write!(f, "config: {}", self.message),
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
    let json = if empty { b"{}" } else { json };
    let mut source = serde_json::Deserializer::from_slice(json);
    let config = match serde_path_to_error::deserialize(&mut source) {
        Ok(config) => config,
        Err(error) => {
            let refused = || ConfigError { path: error.path().to_string(), message: describe(error.inner()) };
            return if empty { nothing().ok_or_else(refused) } else { Err(refused()) };
        }
    };
    source.end().map_err(|error| ConfigError { path: String::new(), message: describe(&error) })?;
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
    C::deserialize(().into_deserializer() as UnitDeserializer<serde::de::value::Error>).ok()
}

/// The error without the value, which may be a secret, and without a position in JSON that nobody has seen.
fn describe(error: &serde_json::Error) -> String {
    if !error.is_data() {
        return format!("not valid JSON: {error}");
    }
    let message = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&position).unwrap_or(&message);
    for kind in ["invalid type: ", "invalid value: "] {
        let Some(rest) = message.strip_prefix(kind) else { continue };
        // By bytes: the searches of `str` would be a good part of a small filter.
        let Some(at) = rest.as_bytes().windows(EXPECTED.len()).rposition(|part| part == EXPECTED) else {
            continue;
        };
        let found = rest.as_bytes().get(..at).unwrap_or_default();
        let quote = found.iter().position(|byte| matches!(byte, b'"' | b'`')).unwrap_or(at);
        let (found, expected) = (rest.get(..quote).unwrap_or_default(), rest.get(at..).unwrap_or_default());
        return format!("{kind}{}{expected}", found.trim_ascii_end());
    }
    message.to_owned()
}

const EXPECTED: &[u8] = b", expected ";

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[serde(default)]
        keys: Vec<String>,
    }

    fn error(json: &str) -> String {
        read::<Config>(json.as_bytes()).expect_err("a wrong configuration").to_string()
    }

    #[test]
    fn an_error_names_the_key_but_not_the_value() {
        let cases = [
            (r#"{ "keys": ["a", 51] }"#, "config.keys[1]: invalid type: integer, expected a string"),
            (
                r#"{ "keys": "se, expected \"cret" }"#,
                "config.keys: invalid type: string, expected a sequence",
            ),
            (r#"{ "kees": [] }"#, "config.kees: unknown field `kees`, expected `keys`"),
            ("5", "config: invalid type: integer, expected struct Config"),
            ("{", "config: not valid JSON: EOF while parsing an object at line 1 column 1"),
            ("{} x", "config: not valid JSON: trailing characters at line 1 column 4"),
        ];
        for (json, expected) in cases {
            assert_eq!(error(json), expected, "for {json}");
        }
    }

    #[test]
    fn a_filter_without_configuration_refuses_every_key() {
        let cases = [
            (r#"{ "key": 5 }"#, "config.key: the filter has no configuration"),
            (r#"{ "k\"y": 5 }"#, "config: the filter has none, so it must be empty or {}"),
            ("{ x }", "config: the filter has none, so it must be empty or {}"),
            ("{ \"x", "config: the filter has none, so it must be empty or {}"),
            ("5", "config: the filter has none, so it must be empty or {}"),
        ];
        for (json, expected) in cases {
            let error = read::<NoConfig>(json.as_bytes()).expect_err("a wrong configuration");
            assert_eq!(error.to_string(), expected, "for {json}");
        }
    }

    #[test]
    fn no_configuration_is_an_empty_one() {
        for json in ["", " \n", "{}"] {
            assert_eq!(read::<Config>(json.as_bytes()), Ok(Config { keys: Vec::new() }), "for {json:?}");
        }
        for json in ["", " {} ", "{\n}"] {
            assert!(read::<NoConfig>(json.as_bytes()).is_ok(), "for {json:?}");
        }
        for json in ["", " {} "] {
            assert_eq!(read::<()>(json.as_bytes()), Ok(()), "for {json:?}");
        }
        assert!(read::<()>(b"{\"a\": 1}").is_err());
    }
}
