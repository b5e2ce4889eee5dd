//! Lengths of time, as configurations write them: `500ms`, `5s`, `10m`, `8h`, `7d`.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// A length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema), schemars(with = "String"))]
pub(crate) struct Span(pub(crate) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let text = String::deserialize(source)?;
        read(&text).map(Span).ok_or_else(|| {
            let shown = text.escape_debug();
            serde::de::Error::custom(format!(
                "\"{shown}\" is no length of time, as \"500ms\", \"5s\", \"10m\" or \"8h\" is"
            ))
        })
    }
}

fn read(text: &str) -> Option<Duration> {
    let at = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (figures, unit) = text.split_at(at);
    let count: u64 = figures.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // A thousand years are enough, and leave room for sums.
    count.checked_mul(milliseconds).filter(|total| *total < 32_000_000_000_000).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn spans_have_a_number_and_a_unit() {
        for (text, milliseconds) in
            [("0s", 0), ("250ms", 250), ("5s", 5000), ("10m", 600_000), ("2d", 172_800_000)]
        {
            assert_eq!(read(text).map(|span| span.as_millis()), Some(milliseconds), "{text}");
        }
        for text in ["", "5", "s", "-5s", "5 s", "5S", "1.5s", "99999999999999999999s", "9999999999d"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
