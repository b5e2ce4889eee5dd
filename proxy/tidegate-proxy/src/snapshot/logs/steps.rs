//! How a line that is an object is written where nothing is out of the way: one small step for each of its parts, which follow
//! each other in memory.

use super::parts::{ABSENT, Figures, Part};
use crate::telemetry::access_log::kept::{Kept, Key, Keys, Same};
use crate::telemetry::access_log::line::After;
use crate::telemetry::access_log::noted::Noted;
use crate::telemetry::access_log::piece::Piece;
use crate::telemetry::access_log::room::Room;

/// See the module.
#[derive(Default)]
pub(super) struct Steps(Vec<Step>);

enum Step {
    /// A number by its place among the [`Figures`].
    Figure(Piece, usize),
    /// Text by its place among what was noted.
    Noted(Piece, usize),
    /// A time, of which most is kept at this place, or the part that tells it.
    Moment(After, usize, usize),
    /// What is kept at this place, or the part that tells it.
    Kept(Same, usize, usize),
    /// A part that is always told in the longer way.
    Aside(usize),
}

impl Steps {
    /// Of these parts of an object.
    pub(super) fn new(parts: &[Part]) -> Self {
        let step = |(index, part): (usize, &Part)| match part {
            Part::Figure(place, _, name) => Step::Figure(name.key, *place),
            Part::Noted(place, _, name) => Step::Noted(name.key, *place),
            Part::Moment(_, _, after, place) => Step::Moment(*after, *place, index),
            Part::Kept(same, place, _) => Step::Kept(*same, *place, index),
            Part::Field(..) | Part::Literal(_) => Step::Aside(index),
        };
        Self(parts.iter().enumerate().map(step).collect())
    }

    /// The length of the line, if there is room for it. `aside` writes a part in the longer way.
    #[inline]
    pub(super) fn write(
        &self,
        mut room: Room<'_>,
        (figures, noted): (&Figures, &Noted),
        (kept, keys): (&[Kept], &Keys),
        aside: impl Fn(&mut Room<'_>, usize) -> Option<()>,
    ) -> Option<usize> {
        let moment = keys.moment?;
        let second = After::key(moment)?;
        let known = |room: &mut Room<'_>, place: usize, key: &Key| {
            kept.get(place)?.find(key, |part| {
                let (chunks, length) = part.chunks();
                room.chunks(chunks, length)
            })?
        };
        for step in &self.0 {
            match step {
                Step::Figure(key, place) => match *figures.get(*place)? {
                    ABSENT => {}
                    number => room.figure(key, number)?,
                },
                Step::Noted(key, place) => {
                    if let Some((text, length)) = noted.from(*place) {
                        room.text(key, text, length)?;
                    }
                }
                Step::Moment(after, place, part) => match known(&mut room, *place, &second) {
                    Some(()) => {
                        room.last_three(moment.subsec_millis())?;
                        if !after.bytes().is_empty() {
                            room.slice(after.bytes())?;
                        }
                    }
                    None => aside(&mut room, *part)?,
                },
                Step::Kept(Same::Plain, ..) if keys.plain => {}
                Step::Kept(same, place, part) => {
                    match keys.of(*same).and_then(|key| known(&mut room, *place, key)) {
                        Some(()) => {}
                        None => aside(&mut room, *part)?,
                    }
                }
                Step::Aside(part) => aside(&mut room, *part)?,
            }
        }
        room.end()
    }
}
