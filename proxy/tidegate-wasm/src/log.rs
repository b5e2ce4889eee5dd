//! Log lines of a guest: made printable, cut, and limited in rate.

use std::{collections::VecDeque, time::Duration};
use tidegate_abi::LogLevel;

/// Bytes of one line.
pub(crate) const LINE_BYTES: usize = 16 << 10;

/// What a guest has written of a line.
pub(crate) struct Unfinished {
    pub(crate) level: LogLevel,
    pub(crate) bytes: Vec<u8>,
}

/// Lines kept to explain why a plugin did not start.
const LAST_LINES: usize = 5;

/// Decides which lines of one instance pass.
#[derive(Debug)]
pub(crate) struct LineLimit {
    /// Lines that may come at once, and each second.
    lines: u32,
    window: Duration,
    passed: u32,
    dropped: u32,
    last: Option<VecDeque<String>>,
}

impl LineLimit {
    /// Lets this many lines pass each second.
    pub(crate) fn new(lines: u32) -> Self {
        Self { lines, window: Duration::ZERO, passed: 0, dropped: 0, last: None }
    }

    /// Starts to keep the last lines.
    pub(crate) fn keep_last(&mut self) {
        self.last = Some(VecDeque::new());
    }

    /// The lines kept; none are kept any more.
    pub(crate) fn take_last(&mut self) -> Vec<String> {
        self.last.take().map(Vec::from).unwrap_or_default()
    }

    /// Notes a line for the explanation of a failed start.
    pub(crate) fn note(&mut self, line: &str) {
        if let Some(last) = &mut self.last {
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(line.to_owned());
        }
    }

    /// Whether one more line may pass now; if it is the first of a new second, also how many
    /// were dropped before.
    pub(crate) fn admit(&mut self, now: Duration) -> (bool, u32) {
        let mut dropped = 0;
        if now >= self.window + Duration::from_secs(1) || now < self.window {
            self.window = now;
            self.passed = 0;
            dropped = std::mem::take(&mut self.dropped);
        }
        if self.passed < self.lines {
            self.passed += 1;
            (true, dropped)
        } else {
            self.dropped += 1;
            (false, dropped)
        }
    }
}

/// Makes a guest's bytes a line: UTF-8, no control characters (they could forge other lines), at
/// most 16 KiB, without the line end.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let cut = bytes.get(..LINE_BYTES).unwrap_or(bytes);
    let cut = cut.strip_suffix(b"\n").unwrap_or(cut);
    let text = String::from_utf8_lossy(cut);
    if !text.contains(|c: char| c.is_control() && c != '\t') {
        return text.into_owned();
    }
    let mut line = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() && c != '\t' {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_cannot_forge_lines() {
        assert_eq!(printable(b"one\ntwo\x1b[0m\n"), "one\\ntwo\\u{1b}[0m");
        assert_eq!(printable(b"plain \xff"), "plain \u{fffd}");
        assert_eq!(printable(&vec![b'a'; 20_000]).len(), LINE_BYTES);
    }

    #[test]
    fn the_rate_is_limited_by_second() {
        let mut limit = LineLimit::new(3);
        for _ in 0..3 {
            assert_eq!(limit.admit(Duration::ZERO), (true, 0));
        }
        assert_eq!(limit.admit(Duration::ZERO), (false, 0));
        assert_eq!(limit.admit(Duration::from_millis(999)), (false, 0));
        assert_eq!(limit.admit(Duration::from_secs(1)), (true, 2));
    }
}
