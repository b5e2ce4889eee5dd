//! Spans of time as they are written: `20ms`, `5s`, `1m30s`, `1h`.

use crate::problem::Fault;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use std::borrow::Cow;
use std::time::Duration;

/// A span of time: whole numbers with the units `h`, `m`, `s` and `ms`, for instance `5s` or `1m30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeout(pub Duration);

/// The longest that can be written: a year.
const LONGEST: u64 = 365 * 24 * 3600 * 1000;

impl Timeout {
    pub(crate) fn parse(text: &str) -> Result<Self, Fault> {
        let fault = || {
            Fault::new(format!("{text:?} is not a span of time"))
                .hint("a whole number with a unit: 20ms, 5s, 1m30s or 1h")
        };
        let (mut rest, mut total, mut last) = (text, 0_u64, u64::MAX);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let factor = match unit {
                "h" => 3_600_000,
                "m" => 60_000,
                "s" => 1000,
                "ms" => 1,
                _ => return Err(fault()),
            };
            let number: u64 = number.parse().map_err(|_| fault())?;
            if factor >= last {
                return Err(fault());
            }
            last = factor;
            total = total.saturating_add(number.saturating_mul(factor));
            rest = tail;
        }
        if text.is_empty() {
            return Err(fault());
        }
        if total > LONGEST {
            return Err(Fault::new(format!("{text:?} is too long")).hint("at most 8760h"));
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

impl<'de> Deserialize<'de> for Timeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(|fault| de::Error::custom(fault.message))
    }
}

impl JsonSchema for Timeout {
    fn schema_name() -> Cow<'static, str> {
        "Timeout".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A span of time: whole numbers with the units h, m, s and ms, for instance 5s or 1m30s.",
            "type": "string",
            "format": "timeout",
            "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
            "minLength": 2
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read() {
        let cases =
            [("20ms", 20), ("5s", 5000), ("1m", 60_000), ("1h", 3_600_000), ("1m30s", 90_000), ("0s", 0)];
        for (text, millis) in cases {
            assert_eq!(Timeout::parse(text), Ok(Timeout(Duration::from_millis(millis))), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "5", "s", "5 s", "-5s", "1.5s", "5sec", "5s1m", "5s5s", "9999h", "99999999999999999999s"]
        {
            assert!(Timeout::parse(text).is_err(), "{text}");
        }
    }
}
