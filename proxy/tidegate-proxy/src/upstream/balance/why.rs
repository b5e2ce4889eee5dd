//! Why a server was picked, for the access log.

use super::{Part, Wish};

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Why {
    bits: u8,
    priority: u8,
}

const KEY: u8 = 1;
const SESSION: u8 = 2;
const OWN_ZONE: u8 = 4;
const OTHER_ZONE: u8 = 8;
const PANIC: u8 = 16;
const ANYONE: u8 = 32;
const MOVED: u8 = 64;
const FILTER: u8 = 128;

impl Why {
    #[inline]
    pub(super) fn of(wish: &Wish<'_>, part: &Part) -> Self {
        let bit = |there: bool, bit: u8| if there { bit } else { 0 };
        let zone = match part.own_zone {
            None => 0,
            Some(true) => OWN_ZONE,
            Some(false) => OTHER_ZONE,
        };
        let bits = bit(wish.key.is_some(), KEY) | bit(part.panic, PANIC);
        Self { bits: bits | zone, priority: u8::try_from(part.priority).unwrap_or(u8::MAX) }
    }

    /// It is the server of the request's session.
    pub(crate) fn session() -> Self {
        Self { bits: SESSION, priority: 0 }
    }

    /// A filter has chosen it.
    pub(crate) fn filter() -> Self {
        Self { bits: FILTER, priority: 0 }
    }

    /// The server of the request's session cannot be used, or has failed it.
    pub(crate) fn moved(self) -> Self {
        Self { bits: self.bits | MOVED, ..self }
    }

    /// Nobody was left whom the rules would have picked.
    pub(super) fn anyone(self) -> Self {
        Self { bits: self.bits | ANYONE, ..self }
    }

    /// All of it in one number of 16 bits.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.priority) << 8 | u64::from(self.bits)
    }

    /// The method, and what else decided.
    pub(crate) fn words(self, method: &str) -> String {
        let words = [
            (KEY, "key"),
            (OWN_ZONE, "own zone"),
            (OTHER_ZONE, "other zone"),
            (PANIC, "panic"),
            (ANYONE, "anyone"),
            (MOVED, "session moved"),
        ];
        if self.bits & SESSION != 0 {
            return "session".to_owned();
        }
        if self.bits & FILTER != 0 {
            return "filter".to_owned();
        }
        let mut text = method.to_owned();
        for (_, word) in words.into_iter().filter(|(bit, _)| self.bits & bit != 0) {
            text.push_str(", ");
            text.push_str(word);
        }
        if self.priority > 0 {
            text.push_str(", priority ");
            text.push_str(&self.priority.to_string());
        }
        text
    }
}
