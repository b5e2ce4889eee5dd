//! The parts of lines as they were compiled, and how a line is made of them.

use tidegate_config::plan::{AccessLog, KnownField};

use super::steps::Steps;
use super::{Field, Log, Logs, Shape, Tells, hides};
use crate::telemetry::access_log::Line;
use crate::telemetry::access_log::kept::{Kept, Keys, Same};
use crate::telemetry::access_log::line::{After, json_key};
use crate::telemetry::access_log::noted::Noted;
use crate::telemetry::access_log::pad::Pad;
use crate::telemetry::access_log::piece::Piece;
use crate::telemetry::access_log::room::{ROOM, Room};

/// A part of a line.
pub(super) enum Part {
    Literal(String),
    Field(Field, Name),
    /// A number of an object, by its place among the [`Figures`].
    Figure(usize, Field, Name),
    /// Text of an object that stands in the request's head, by its place in [`Noted`].
    Noted(usize, Field, Name),
    /// A time, of which only the milliseconds change within a second: the rest is at this place among what is kept.
    Moment(Field, Name, After, usize),
    /// Fields that are the same for many exchanges, by their place among what is kept.
    Kept(Same, usize, Vec<(Field, Name)>),
}

/// The name of a field.
pub(super) struct Name {
    /// As [`Line::field`] wants it.
    text: String,
    /// As [`Room`] does.
    pub(super) key: Piece,
}

impl Name {
    /// As it is.
    pub(super) fn new(name: &str) -> Self {
        Self { text: name.to_owned(), key: Piece::new(&[]) }
    }

    /// As it is in an object.
    fn into_key(self) -> Self {
        let text = json_key(&self.text);
        Self { key: Piece::new(format!("{text}\"").as_bytes()), text }
    }
}

impl Logs {
    /// The same parts of an object, of which neighbours that stay the same together are one.
    pub(super) fn grouped(&mut self, parts: Vec<Part>, spec: &AccessLog) -> Vec<Part> {
        let mut grouped: Vec<Part> = Vec::with_capacity(parts.len());
        for part in parts {
            let (field, name) = match part {
                Part::Field(field, name) => (field, name.into_key()),
                other => {
                    grouped.push(other);
                    continue;
                }
            };
            match (same(field), grouped.last_mut()) {
                (Some(same), Some(Part::Kept(before, _, fields))) if *before == same => {
                    fields.push((field, name));
                }
                (Some(same), _) => grouped.push(Part::Kept(same, self.keep(), vec![(field, name)])),
                (None, _) => grouped.push(self.straight(field, name, spec)),
            }
        }
        let after = [After::MILLIS, After::QUOTED];
        grouped.into_iter().map(|part| self.part_of_second(part, after)).collect()
    }

    /// A field of an object that is written straight from where it stands, if it is one; of which nothing is taken out.
    fn straight(&self, field: Field, name: Name, spec: &AccessLog) -> Part {
        let place = match field {
            Field::Known(KnownField::Method) => Noted::METHOD,
            Field::Known(KnownField::Host) => Noted::HOST,
            Field::Known(KnownField::Path) if spec.secret_query.is_empty() => Noted::PATH,
            Field::Known(KnownField::RequestId) => Noted::REQUEST_ID,
            Field::Known(KnownField::UserAgent) => Noted::AGENT,
            Field::RequestHeader(place) if self.is_shown(place, spec) => Noted::HEADERS + place,
            Field::Known(known) => match figure(known) {
                Some(place) => return Part::Figure(place, field, name),
                None => return Part::Field(field, name),
            },
            _ => return Part::Field(field, name),
        };
        Part::Noted(place, field, name)
    }

    fn is_shown(&self, place: usize, spec: &AccessLog) -> bool {
        self.request_headers.get(place).is_some_and(|name| !hides(&spec.secret_headers, name.as_str()))
    }

    /// The same parts of a text, of which times are not written anew.
    pub(super) fn timed(&mut self, parts: Vec<Part>) -> Vec<Part> {
        let after = [After::MILLIS, After::PLAIN];
        parts.into_iter().map(|part| self.part_of_second(part, after)).collect()
    }

    /// The same part; of a time, most of which is kept for a second. `after`: what is behind its milliseconds, where it is a
    /// number and where it is text.
    fn part_of_second(&mut self, part: Part, [number, text]: [After; 2]) -> Part {
        match part {
            Part::Field(field @ Field::Known(KnownField::TimeMs), name) => {
                Part::Moment(field, name, number, self.keep())
            }
            Part::Field(field @ Field::Known(KnownField::Time), name) => {
                Part::Moment(field, name, text, self.keep())
            }
            other => other,
        }
    }

    /// A place among what is kept.
    fn keep(&mut self) -> usize {
        self.kept += 1;
        self.kept - 1
    }
}

impl Log {
    /// Writes a line, without its end.
    pub(super) fn line(&self, pad: &mut Pad, failed: bool, kept: (&[Kept], &Keys), tells: &impl Tells) {
        match &self.shape {
            Shape::Json(steps) => match self.short_object(steps, pad.room(), kept, tells) {
                Some(length) => pad.wrote(length),
                None => pad.append(|bytes| self.object(Line::json(bytes), kept, tells)),
            },
            Shape::Text => pad.append(|bytes| self.text(Line::plain(bytes), &self.parts, kept, tells)),
            Shape::Record(attributes) => pad.append(|bytes| {
                let text = self.text(Line::plain(bytes), &self.parts, kept, tells);
                self.text(Line::record(failed, &text), attributes, kept, tells)
            }),
        }
    }

    /// The length of a line that is an object and needs nothing but what is at hand: short text, numbers, what is kept.
    #[inline]
    fn short_object(
        &self,
        steps: &Steps,
        room: Option<&mut [u8; ROOM]>,
        kept: (&[Kept], &Keys),
        tells: &impl Tells,
    ) -> Option<usize> {
        let (figures, noted) = (tells.figures()?, tells.noted().filter(|noted| noted.is_plain())?);
        steps.write(Room::new(room?), (figures, noted), kept, |room, part| {
            let mut line = Line::json(Vec::new());
            self.part(&mut line, self.parts.get(part)?, kept, tells);
            room.slice(line.bytes())
        })
    }

    /// A line that is an object.
    fn object(&self, mut line: Line, kept: (&[Kept], &Keys), tells: &impl Tells) -> Vec<u8> {
        for part in &self.parts {
            self.part(&mut line, part, kept, tells);
        }
        line.end()
    }

    /// A part of an object.
    fn part(&self, line: &mut Line, part: &Part, (kept, keys): (&[Kept], &Keys), tells: &impl Tells) {
        let put = |line: &mut Line, field: Field, name: &Name| {
            line.field(&name.text, |value| tells.put(self, field, value));
        };
        match part {
            Part::Literal(_) => {}
            Part::Figure(_, field, name) | Part::Noted(_, field, name) | Part::Field(field, name) => {
                put(line, *field, name);
            }
            Part::Moment(field, name, after, place) => {
                self.moment(line, (*field, name, *after), (kept.get(*place), keys), tells);
            }
            // They say nothing.
            Part::Kept(Same::Plain, ..) if keys.plain => {}
            Part::Kept(same, place, fields) => {
                let each = |line: &mut Line| fields.iter().for_each(|(field, name)| put(line, *field, name));
                match (kept.get(*place), keys.of(*same)) {
                    (Some(kept), Some(key)) => line.kept(kept, key, each),
                    _ => each(line),
                }
            }
        }
    }

    /// A line that is text, or a record of these parts.
    fn text(
        &self,
        mut line: Line,
        parts: &[Part],
        (kept, keys): (&[Kept], &Keys),
        tells: &impl Tells,
    ) -> Vec<u8> {
        for part in parts {
            match part {
                Part::Literal(text) => line.literal(text),
                Part::Field(field, name) => {
                    line.field(&name.text, |value| tells.put(self, *field, value));
                }
                Part::Moment(field, name, after, place) => {
                    self.moment(&mut line, (*field, name, *after), (kept.get(*place), keys), tells);
                }
                // Of objects only.
                Part::Kept(..) | Part::Figure(..) | Part::Noted(..) => {}
            }
        }
        line.end()
    }

    fn moment(
        &self,
        line: &mut Line,
        (field, name, after): (Field, &Name, After),
        (kept, keys): (Option<&Kept>, &Keys),
        tells: &impl Tells,
    ) {
        let put = |line: &mut Line| line.field(&name.text, |value| tells.put(self, field, value));
        match (kept, keys.moment) {
            (Some(kept), Some(moment)) => line.moment(kept, moment, after, put),
            _ => put(line),
        }
    }
}

/// The place of a field among the [`Figures`].
pub(crate) fn figure(field: KnownField) -> Option<usize> {
    FIGURES.iter().position(|known| *known == field)
}

/// Fields of exchanges that are numbers.
const FIGURES: [KnownField; 8] = [
    KnownField::Status,
    KnownField::Attempts,
    KnownField::BytesReceived,
    KnownField::BytesSent,
    KnownField::WaitUs,
    KnownField::UpstreamUs,
    KnownField::HeadUs,
    KnownField::DurationUs,
];

/// Their values, in this order.
pub(crate) type Figures = [u64; FIGURES.len()];

/// A number that there is not.
pub(crate) const ABSENT: u64 = u64::MAX;

/// What a field stays the same for, if it does.
fn same(field: Field) -> Option<Same> {
    match field {
        Field::Known(
            KnownField::Client
            | KnownField::Listener
            | KnownField::Protocol
            | KnownField::TlsVersion
            | KnownField::TlsCipher
            | KnownField::ServerName,
        ) => Some(Same::Connection),
        Field::Known(
            KnownField::Route
            | KnownField::Rule
            | KnownField::Upstream
            | KnownField::Server
            | KnownField::Picked,
        ) => Some(Same::Way),
        Field::Known(
            KnownField::TraceId
            | KnownField::SpanId
            | KnownField::Versions
            | KnownField::RouteBy
            | KnownField::UpstreamBy
            | KnownField::EarlierAttempts
            | KnownField::RetryStoppedBy
            | KnownField::Interim
            | KnownField::Hedges
            | KnownField::HedgeWon
            | KnownField::Filters
            | KnownField::AnsweredBy
            | KnownField::Details
            | KnownField::ClosedBy
            | KnownField::Reason
            | KnownField::Plugin
            | KnownField::ConnectUs,
        ) => Some(Same::Plain),
        _ => None,
    }
}
