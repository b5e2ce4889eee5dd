//! Deadlines that requests bring: heeded, lowered to what is left, and passed on.

use std::rc::Rc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_config::plan::Deadlines;

use crate::exchange::Exchange;
use crate::http::fail::{Fail, Reason, Retry};
use crate::upstream::send::Message;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const REQUEST_DEADLINE: HeaderName = HeaderName::from_static("x-request-deadline");

/// The largest number that fits into `grpc-timeout`.
const DIGITS: u128 = 99_999_999;

/// Which fields tell servers what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    grpc: bool,
    header: bool,
}

impl Exchange {
    /// Takes the deadlines that the request brings and the rule allows.
    #[cold]
    pub(super) fn heed_deadlines(&mut self, allowed: Deadlines, headers: &HeaderMap) -> Told {
        let told = Told { grpc: allowed.grpc && is_grpc(headers), header: allowed.header };
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let grpc = text(&GRPC_TIMEOUT).filter(|_| told.grpc).and_then(grpc_timeout);
        let left = text(&REQUEST_DEADLINE).filter(|_| told.header).and_then(millis);
        for left in [grpc, left].into_iter().flatten() {
            let until = self.record.start.saturating_add(left);
            self.record.until = Some(self.record.until.map_or(until, |own| own.min(until)));
        }
        self.record.grpc = told.grpc;
        told
    }

    /// Tells the server of the next attempt how long it has.
    ///
    /// # Errors
    /// When no time is left.
    #[cold]
    pub(super) fn tell_deadline(
        &self,
        told: Told,
        attempt: Option<Duration>,
        message: &mut Message,
    ) -> Result<(), Fail> {
        let now = self.record.client.local.clock.now();
        let attempt = attempt.map(|limit| now + limit);
        let until = match (self.record.until, attempt) {
            (Some(one), Some(other)) => one.min(other),
            (one, other) => match one.or(other) {
                Some(until) => until,
                None => return Ok(()),
            },
        };
        let left = until.saturating_sub(now);
        if left < Duration::from_millis(1) {
            return Err(Fail::upstream(Reason::Timeout, Retry::Never));
        }
        let headers = &mut Rc::make_mut(&mut message.head).headers;
        let mut tell = |name, text: String| {
            if let Ok(value) = HeaderValue::try_from(text) {
                headers.insert(name, value);
            }
        };
        if told.grpc {
            tell(GRPC_TIMEOUT, written(left));
        }
        if told.header {
            tell(REQUEST_DEADLINE, left.as_millis().to_string());
        }
        Ok(())
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// A year, beyond which a deadline is none.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

fn millis(text: &str) -> Option<Duration> {
    digits(text.trim()).map(|millis| Duration::from_millis(millis).min(LONGEST))
}

/// At most eight digits and a unit.
fn grpc_timeout(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = Some(number).filter(|number| number.len() <= 8).and_then(digits)?;
    let time = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(time.min(LONGEST))
}

fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// As gRPC writes a time, in the smallest unit in which it fits; never more than it is.
fn written(time: Duration) -> String {
    for (unit, value) in [("u", time.as_micros()), ("m", time.as_millis())] {
        if value <= DIGITS {
            return format!("{value}{unit}");
        }
    }
    format!("{}S", u128::from(time.as_secs()).min(DIGITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_grpc_are_read_and_written() {
        let cases = [
            ("1H", 3_600_000_000),
            ("2M", 120_000_000),
            ("3S", 3_000_000),
            ("250m", 250_000),
            ("7u", 7),
            ("5000n", 5),
        ];
        for (text, micros) in cases {
            assert_eq!(grpc_timeout(text), Some(Duration::from_micros(micros)), "{text}");
        }
        for bad in ["", "S", "5", "-1S", "1.5S", "123456789S", "5s", "5 S", "é"] {
            assert_eq!(grpc_timeout(bad), None, "{bad}");
        }
        for (time, text) in [(7, "7u"), (99_999_999, "99999999u"), (100_000_999, "100000m")] {
            assert_eq!(written(Duration::from_micros(time)), text);
        }
        assert_eq!(grpc_timeout("99999999H"), Some(LONGEST));
        assert_eq!(written(LONGEST), "31536000S");
    }

    #[test]
    fn what_is_left_is_whole_milliseconds() {
        assert_eq!(millis("1500"), Some(Duration::from_millis(1500)));
        for bad in ["", "-1", "1.5", "1s", "0x10", "99999999999999999999"] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }
}
