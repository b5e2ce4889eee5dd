//! How much memory is too much: `2GiB`, `95%` of what there is, or `false`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use super::ByteSize;
use crate::problem::Fault;

/// Resident memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// As much as there is.
    Unlimited,
    /// In bytes.
    Bytes(u64),
    /// Percent of what the process may use: the smallest limit of its control groups, or the machine's memory.
    Share(u8),
}

/// With less the gateway would refuse all requests: it takes about as much itself.
const LEAST: u64 = 16 << 20;

impl Default for Memory {
    fn default() -> Self {
        Self::Share(95)
    }
}

impl Memory {
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let hint = "a size, as 2GiB, a share of what the process may use, as 90%, or false";
        let Some(percent) = text.strip_suffix('%') else {
            let ByteSize(bytes) = ByteSize::parse(text).map_err(|fault| fault.hint(hint))?;
            return Self::of(bytes);
        };
        match percent.parse() {
            Ok(percent @ 1..=100) if !text.starts_with('+') => Ok(Self::Share(percent)),
            _ => Err(Fault::new(format!("{text:?} is no share of the memory")).hint("1% to 100%")),
        }
    }

    fn of(bytes: u64) -> Result<Self, Fault> {
        if bytes < LEAST {
            let fault = Fault::new(format!("{bytes} bytes are less than the gateway takes itself"));
            return Err(fault.hint("at least 16MiB"));
        }
        Ok(Self::Bytes(bytes))
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written<'a> {
            Switch(bool),
            Number(u64),
            Text(Cow<'a, str>),
        }
        let memory = match Written::deserialize(deserializer)? {
            Written::Switch(false) => return Ok(Self::Unlimited),
            Written::Switch(true) => return Ok(Self::default()),
            Written::Number(number) => Self::of(number),
            Written::Text(text) => Self::parse(&text),
        };
        memory.map_err(|fault| de::Error::custom(fault.message))
    }
}

impl JsonSchema for Memory {
    fn schema_name() -> Cow<'static, str> {
        "Memory".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A size (2GiB), a share of what the process may use (95%), or false for no limit.",
            "anyOf": [
                { "type": "boolean" },
                { "type": "integer", "minimum": LEAST },
                {
                    "type": "string",
                    "format": "memory",
                    "pattern": "^([0-9]+ *(B|kB|KB|MB|GB|KiB|MiB|GiB)?|(100|[1-9][0-9]?)%)$"
                }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_shares_are_read() {
        for (text, expected) in [
            ("\"95%\"", Memory::Share(95)),
            ("\"100%\"", Memory::Share(100)),
            ("\"2GiB\"", Memory::Bytes(2 << 30)),
            ("16777216", Memory::Bytes(LEAST)),
            ("false", Memory::Unlimited),
            ("true", Memory::Share(95)),
        ] {
            let read: Memory = serde_json::from_str(text).expect(text);
            assert_eq!(read, expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["\"0%\"", "\"101%\"", "\"+5%\"", "\"%\"", "\"1.5%\"", "\"15MiB\"", "1000", "\"all\"", "[]"]
        {
            assert!(serde_json::from_str::<Memory>(text).is_err(), "{text}");
        }
    }
}
