//! Interim answers (1xx, RFC 9110, 15.2): how many of them a server may send before its answer, and those on their way from
//! an exchange to the connection of its client.
//!
//! They leave at once and by themselves: nothing waits for them, and no filter sees them.

use std::cell::RefCell;

use http::{HeaderMap, response};

use crate::http::fail::Fail;
use crate::http::h1::Garbage;

/// Who takes the interim answers of an attempt; a failure ends the attempt.
pub(crate) type Heard<'a> = &'a dyn Fn(response::Parts) -> Result<(), Fail>;

/// Interim answers of one attempt: a server that sends more has something else in mind.
const MOST: u32 = 100;
/// Bytes of their heads, as HTTP/1 writes them.
pub(crate) const MOST_BYTES: usize = 128 * 1024;

/// What a server may still send before its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    answers: u32,
    bytes: usize,
}

impl Default for Allowance {
    fn default() -> Self {
        Self { answers: MOST, bytes: MOST_BYTES }
    }
}

impl Allowance {
    /// One more, of so many bytes.
    pub(crate) fn take(&mut self, bytes: usize) -> Result<(), Garbage> {
        let left = self.answers.checked_sub(1).zip(self.bytes.checked_sub(bytes));
        (self.answers, self.bytes) = left.ok_or(Garbage::Interim)?;
        Ok(())
    }
}

/// The bytes of a head's fields, as HTTP/1 writes them.
pub(crate) fn size(fields: &HeaderMap) -> usize {
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + b": \r\n".len()).sum()
}

/// Interim answers that an exchange has let through. Its connection takes them right after the poll in which they came,
/// so they are always of the exchange that it has just polled.
#[derive(Default)]
pub(crate) struct Passing(RefCell<Vec<response::Parts>>);

impl Passing {
    /// One more for the client.
    pub(crate) fn put(&self, head: response::Parts) {
        self.0.borrow_mut().push(head);
    }

    /// Whether there is nothing to send, as nearly always.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// All of them, in their order.
    pub(crate) fn take(&self) -> Vec<response::Parts> {
        self.0.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_few_and_small() {
        let mut allowance = Allowance::default();
        for _ in 0..MOST {
            assert_eq!(allowance.take(40), Ok(()));
        }
        assert_eq!(allowance.take(40), Err(Garbage::Interim));

        let mut allowance = Allowance::default();
        assert_eq!(allowance.take(MOST_BYTES), Ok(()));
        assert_eq!(allowance.take(1), Err(Garbage::Interim));
    }
}
