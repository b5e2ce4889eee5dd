//! What configurations are made of, written as in the gateway's own: spans of time (`1m30s`), sizes (`64KiB`), names of
//! headers.
//!
//! ```
//! use std::time::Duration;
//! use tidegate_sdk::units::{Size, Span};
//!
//! #[derive(serde::Deserialize)]
//! struct Config {
//!     patience: Span,
//!     limit: Size,
//! }
//!
//! let config: Config = serde_json::from_str(r#"{ "patience": "1m30s", "limit": "64KiB" }"#).unwrap();
//! assert_eq!(config.patience.0, Duration::from_secs(90));
//! assert_eq!(config.limit.0, 65_536);
//! ```

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::headers;

/// A span of time: whole numbers with the units `h`, `m`, `s` and `ms`, largest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes: plain, or with a unit (`KiB`, `MiB` and `GiB` by 1024; `kB`, `KB`, `MB` and `GB` by 1000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub usize);

const SPANS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A year, in milliseconds.
const LONGEST: u64 = 365 * 24 * 3_600_000;

const SIZES: [(&str, usize); 9] = [
    ("", 1),
    ("B", 1),
    ("kB", 1000),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

impl Span {
    /// A span of whole seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Span(Duration::from_secs(seconds))
    }

    fn parse(text: &str) -> Option<Self> {
        let (mut rest, mut total, mut last) = (text, 0_u64, u64::MAX);
        while !rest.is_empty() {
            let (number, unit, tail) = part(rest)?;
            let factor = SPANS.iter().find(|(name, _)| *name == unit)?.1;
            if factor >= last {
                return None;
            }
            last = factor;
            total = total.saturating_add(number.saturating_mul(factor));
            rest = tail;
        }
        (!text.is_empty() && total <= LONGEST).then(|| Span(Duration::from_millis(total)))
    }
}

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let (number, unit, rest) = part(text)?;
        let factor = SIZES.iter().find(|(name, _)| *name == unit)?.1;
        let size = usize::try_from(number).ok()?.checked_mul(factor)?;
        rest.is_empty().then_some(Size(size))
    }
}

/// A header's name in lower case.
///
/// # Errors
/// A text for the configuration's author, when it is none.
///
/// ```
/// use tidegate_sdk::units::header_name;
///
/// assert_eq!(header_name("X-User"), Ok("x-user".to_owned()));
/// assert!(header_name("x user").is_err());
/// ```
pub fn header_name(name: &str) -> Result<String, String> {
    match is_token(name) {
        true => Ok(name.to_ascii_lowercase()),
        false => Err(format!("\"{}\" is not a header name, as \"x-user\" is", name.escape_debug())),
    }
}

/// Whether a text is a token (RFC 9110, section 5.6.2), as names of headers, methods and cookies are.
///
/// ```
/// use tidegate_sdk::units::is_token;
///
/// assert!(is_token("PURGE"));
/// assert!(!is_token("a b") && !is_token(""));
/// ```
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(headers::is_token)
}

/// A number, the letters behind it, and what follows.
fn part(text: &str) -> Option<(u64, &str, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, tail) = text.split_at_checked(digits)?;
    let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (unit, rest) = tail.split_at_checked(letters)?;
    Some((number.parse().ok()?, unit, rest))
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, factor) in SPANS {
            if rest >= factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= factor && self.0 % factor == 0 {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(SpanVisitor)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(SizeVisitor)
    }
}

struct SpanVisitor;

impl Visitor<'_> for SpanVisitor {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a span of time as 20ms, 5s, 1m30s or 1h, at most 8760h")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Span, E> {
        Span::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

struct SizeVisitor;

impl Visitor<'_> for SizeVisitor {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of bytes, or one with a unit as 64KiB, 1MiB or 32MB")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Size, E> {
        let size = usize::try_from(number).map(Size);
        size.map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
        Size::parse(text).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, millis) in [("20ms", 20), ("5s", 5000), ("1m30s", 90_000), ("1h", 3_600_000), ("0s", 0)] {
            let span = Span::parse(text).expect(text);
            assert_eq!(span.0, Duration::from_millis(millis), "{text}");
            assert_eq!(span.to_string(), text);
        }
        for text in ["", "5", "s", "1s1m", "1s1s", "-1s", "1.5s", "9999h", "1 s", "5x"] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, size, written) in [
            ("64KiB", 65_536, "64KiB"),
            ("1MB", 1_000_000, "1000000"),
            ("12", 12, "12"),
            ("2048", 2048, "2KiB"),
        ] {
            let read = Size::parse(text).expect(text);
            assert_eq!((read.0, read.to_string().as_str()), (size, written));
        }
        for text in ["", "KiB", "1TiB", "1 KiB x", "99999999999999999999"] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
        assert_eq!(serde_json::from_str::<Size>("12").expect("a number"), Size(12));
        let error = serde_json::from_str::<Span>("\"5\"").expect_err("no unit").to_string();
        assert!(error.contains("expected a span of time as 20ms"), "{error}");
    }
}
