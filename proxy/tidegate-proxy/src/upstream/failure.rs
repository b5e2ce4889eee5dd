//! What a server did for which it is left out.

use std::fmt::{self, Display};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::http::fail::Reason;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// An answer with this status.
    Status(u16),
    /// No answer, or none that is one.
    Reason(Reason),
}

impl Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(out),
            Self::Reason(reason) => out.write_str(reason.word()),
        }
    }
}

/// The last one of a server, whichever worker met it. No lock: a number of one word.
#[derive(Debug, Default)]
pub(crate) struct Last(AtomicU32);

/// Numbers from here on are reasons, by their place among all; those below are statuses, 0 is none.
const REASONS: u32 = 1 << 16;

impl Last {
    /// That was the last one.
    pub(crate) fn set(&self, failure: Failure) {
        let number = match failure {
            Failure::Status(status) => u32::from(status),
            Failure::Reason(reason) => {
                let place = (0..).zip(Reason::ALL).find(|(_, known)| *known == reason);
                place.map_or(0, |(place, _)| REASONS + place)
            }
        };
        self.0.store(number, Ordering::Relaxed);
    }

    /// Which it was.
    pub(crate) fn get(&self) -> Option<Failure> {
        let number = self.0.load(Ordering::Relaxed);
        match number.checked_sub(REASONS) {
            Some(place) => Reason::ALL.get(place as usize).copied().map(Failure::Reason),
            None => u16::try_from(number).ok().filter(|status| *status > 0).map(Failure::Status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_it_was_is_known_afterwards() {
        let last = Last::default();
        assert_eq!(last.get(), None);
        for failure in Reason::ALL.map(Failure::Reason).into_iter().chain([503, 599].map(Failure::Status)) {
            last.set(failure);
            assert_eq!(last.get(), Some(failure));
        }
        assert_eq!(Failure::Status(503).to_string(), "503");
        assert_eq!(Failure::Reason(Reason::Connect).to_string(), Reason::Connect.word());
    }
}
