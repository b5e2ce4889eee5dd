//! Sizes as they are written: `64KiB`, `32MB`, or a plain number of bytes.

use crate::problem::Fault;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use std::borrow::Cow;

/// A number of bytes: plain, or with a unit (`KiB`, `MiB` and `GiB` by 1024; `kB`, `KB`, `MB` and `GB` by 1000).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl ByteSize {
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let fault = || {
            Fault::new(format!("{text:?} is not a size"))
                .hint("a whole number of bytes, or one with a unit: 64KiB, 1MiB or 32MB")
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim_start() {
            "" | "B" => 1,
            "kB" | "KB" => 1000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(fault()),
        };
        let number: u64 = number.parse().map_err(|_| fault())?;
        number.checked_mul(factor).map(Self).ok_or_else(fault)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written<'a> {
            Number(u64),
            Text(Cow<'a, str>),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(Self(number)),
            Written::Text(text) => Self::parse(&text).map_err(|fault| de::Error::custom(fault.message)),
        }
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of bytes, plain or with a unit: 65536, 64KiB, 1MiB, 32MB.",
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "format": "byteSize", "pattern": "^[0-9]+ *(B|kB|KB|MB|GB|KiB|MiB|GiB)?$" }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let cases =
            [("64KiB", 65_536), ("1MiB", 1 << 20), ("32MB", 32_000_000), ("100", 100), ("1 GiB", 1 << 30)];
        for (text, bytes) in cases {
            assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "KiB", "-1", "1.5MiB", "1XB", "64k", "99999999999GiB", "99999999999999999999999"] {
            assert!(ByteSize::parse(text).is_err(), "{text}");
        }
    }
}
