//! What a limit is written as: `100/s`, `1000/min burst 50`, `5000 per day`.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use tidegate_sdk::limit::{Algorithm, Limit};

/// A rate or a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub Limit);

const PERIODS: [(&[&str], u64); 4] = [
    (&["s", "sec", "second", "seconds"], 1),
    (&["m", "min", "minute", "minutes"], 60),
    (&["h", "hour", "hours"], 3600),
    (&["d", "day", "days"], 86_400),
];

impl Rate {
    /// Reads one; none: it is no rate.
    pub fn parse(text: &str) -> Option<Self> {
        let (rate, burst) = match text.split_once(" burst ") {
            Some((rate, burst)) => (rate, Some(positive(burst)?)),
            None => (text, None),
        };
        if let Some((units, period)) = rate.split_once(" per ") {
            // A quota begins with the clock and has no burst.
            let limit = Limit::quota(positive(units)?, span(period)?);
            return burst.is_none().then_some(Rate(limit));
        }
        let (units, period) = rate.split_once('/')?;
        let (units, period) = (positive(units)?, span(period)?);
        Some(Rate(match burst {
            Some(burst) => Limit::bucket(units, period, burst),
            None => Limit::sliding(units, period),
        }))
    }
}

fn positive(text: &str) -> Option<u64> {
    let number: u64 = text.trim().parse().ok()?;
    (1..=1_000_000_000_000).contains(&number).then_some(number)
}

/// A unit of time, perhaps with a number before it: `s`, `10s`, `day`.
fn span(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number = match text.strip_suffix(unit)? {
        "" => 1,
        number => positive(number)?,
    };
    let (_, seconds) = PERIODS.iter().find(|(names, _)| names.contains(&unit.trim()))?;
    // A year; more than that is a mistake.
    let seconds = seconds.checked_mul(number).filter(|seconds| *seconds <= 366 * 86_400)?;
    Some(Duration::from_secs(seconds))
}

/// The policy of a limit as `RateLimit-Policy` has it (draft-ietf-httpapi-ratelimit-headers).
pub fn policy(name: &str, limit: &Limit) -> String {
    let seconds = limit.period / 1_000_000_000;
    match limit.algorithm {
        Algorithm::Concurrency => format!("\"{name}\";q={};qu=\"concurrent-requests\"", limit.units),
        _ => format!("\"{name}\";q={};w={seconds}", limit.units),
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(RateVisitor)
    }
}

struct RateVisitor;

impl Visitor<'_> for RateVisitor {
    type Value = Rate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a rate, as \"100/s\", \"1000/min burst 50\" or \"5000 per day\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Rate, E> {
        Rate::parse(text).ok_or_else(|| {
            let text = text.escape_debug();
            E::custom(format!(
                "\"{text}\" is not a rate, as \"100/s\", \"1000/min burst 50\" or \"5000 per day\" is"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        let seconds = Duration::from_secs;
        for (text, limit) in [
            ("100/s", Limit::sliding(100, seconds(1))),
            ("5/10s", Limit::sliding(5, seconds(10))),
            ("1000/min burst 50", Limit::bucket(1000, seconds(60), 50)),
            ("1 / second", Limit::sliding(1, seconds(1))),
            ("5000 per day", Limit::quota(5000, seconds(86_400))),
            ("10 per 2 hours", Limit::quota(10, seconds(7200))),
        ] {
            assert_eq!(Rate::parse(text), Some(Rate(limit)), "{text}");
        }
        for text in
            ["", "100", "/s", "0/s", "-1/s", "1/0s", "1/week", "1/s burst 0", "1 per day burst 5", "1/400d"]
        {
            assert_eq!(Rate::parse(text), None, "{text}");
        }
    }

    #[test]
    fn policies_are_structured_fields() {
        let limit = Rate::parse("1000/min burst 50").unwrap().0;
        assert_eq!(policy("api", &limit), "\"api\";q=1000;w=60");
        assert_eq!(policy("now", &Limit::at_once(5)), "\"now\";q=5;qu=\"concurrent-requests\"");
    }
}
