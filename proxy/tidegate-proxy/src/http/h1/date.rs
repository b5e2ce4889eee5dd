//! The date of answers (RFC 9110, 5.6.7), put together once a second.

use std::cell::Cell;
use std::time::Duration;

/// Bytes of a date.
const LENGTH: usize = 29;
const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// The date that was asked for last.
#[derive(Debug)]
pub(crate) struct Date {
    second: Cell<u64>,
    text: Cell<[u8; LENGTH]>,
}

impl Default for Date {
    fn default() -> Self {
        Self { second: Cell::new(0), text: Cell::new(text(0)) }
    }
}

impl Date {
    /// The date at this time since the Unix epoch.
    pub(crate) fn at(&self, wall: Duration) -> [u8; LENGTH] {
        let second = wall.as_secs();
        if self.second.replace(second) != second {
            self.text.set(text(second));
        }
        self.text.get()
    }
}

/// As `Sun, 06 Nov 1994 08:49:37 GMT`.
fn text(second: u64) -> [u8; LENGTH] {
    let (days, time) = (second / 86_400, second % 86_400);
    let (year, month, day) = civil(days);
    let name = |names: &[&'static [u8; 3]], index: u64| {
        usize::try_from(index).ok().and_then(|index| names.get(index)).map_or(*b"---", |name| **name)
    };
    let mut text = *b"---, 00 --- 0000 00:00:00 GMT";
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = text.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, &name(&DAYS, days % 7));
    put(8, &name(&MONTHS, month - 1));
    put(5, &two(day));
    put(12, &two(year / 100));
    put(14, &two(year % 100));
    put(17, &two(time / 3600));
    put(20, &two(time / 60 % 60));
    put(23, &two(time % 60));
    text
}

fn two(number: u64) -> [u8; 2] {
    [number / 10 % 10, number % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or_default())
}

/// Year, month and day, so many days after 1970-01-01: years begin in March, so that a leap day is the last one.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written() {
        let date = Date::default();
        for (second, expected) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        ] {
            let text = date.at(Duration::from_secs(second));
            assert_eq!(String::from_utf8_lossy(&text), expected);
        }
    }
}
