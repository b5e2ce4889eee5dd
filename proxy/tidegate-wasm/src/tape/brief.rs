//! A tape for who wants to see what a guest did, not to play it again: bodies are counted, not kept.

use super::{Content, Event, Tape};
use crate::Side;

/// A body on its way through a guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BodyUse {
    /// Bytes that the guest was shown.
    pub told: u64,
    /// Bytes that it let go on.
    pub left: u64,
    /// It wrote to them.
    pub written: bool,
}

/// Both bodies of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bodies {
    request: BodyUse,
    response: BodyUse,
}

impl Bodies {
    fn of(&mut self, side: Side) -> &mut BodyUse {
        match side {
            Side::Request => &mut self.request,
            Side::Response => &mut self.response,
        }
    }
}

impl Tape {
    /// Keeps bodies out from now on.
    pub(crate) fn be_brief(&mut self) {
        self.brief = Some(Bodies::default());
    }

    /// What became of a body, on a tape that counts them.
    #[must_use]
    pub fn body(&self, side: Side) -> BodyUse {
        self.brief.map(|mut bodies| *bodies.of(side)).unwrap_or_default()
    }

    /// Counts a piece that the guest is shown; false: it is to be noted.
    pub(crate) fn counts_told(&mut self, side: Side, bytes: usize) -> bool {
        let Some(bodies) = &mut self.brief else { return false };
        bodies.of(side).told += bytes as u64;
        true
    }

    /// As [`Tape::counts_told`] for what goes on.
    pub(crate) fn counts_left(&mut self, side: Side, bytes: usize) -> bool {
        let Some(bodies) = &mut self.brief else { return false };
        bodies.of(side).left += bytes as u64;
        true
    }

    /// The guest writes to a body.
    pub(crate) fn writes(&mut self, side: Side) {
        if let Some(bodies) = &mut self.brief {
            bodies.of(side).written = true;
        }
    }

    /// Whether a step is worth a note: with bodies that are only counted there may be thousands that say nothing.
    pub(super) fn is_worth(&self, event: &Event) -> bool {
        self.brief.is_none()
            || match self.notes.last().map(|note| &note.event) {
                Some(last @ (Event::Pause | Event::Wait)) => last != event,
                Some(Event::RequestHeaders { .. } | Event::ResponseHeaders { .. }) => true,
                _ => *event != Event::Continue,
            }
    }

    /// Bytes as this tape keeps them.
    pub(crate) fn content(&self, bytes: &[u8]) -> Content {
        match self.brief {
            Some(_) => Content::Redacted { redacted: bytes.len() },
            None => Content::of(bytes),
        }
    }
}
