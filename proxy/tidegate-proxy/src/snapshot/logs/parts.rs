//! The parts of lines as they were compiled, and how a line is made of them.

use tidegate_config::plan::KnownField;

use super::{Field, Log, Logs, Shape, Tells};
use crate::telemetry::access_log::Line;
use crate::telemetry::access_log::kept::{Kept, Keys, Same};
use crate::telemetry::access_log::line::{After, Said, json_key};
use crate::telemetry::access_log::piece::Piece;

/// A part of a line.
pub(super) enum Part {
    Literal(String),
    Field(Field, Name),
    /// A time, of which only the milliseconds change within a second: the rest is at this place among what is kept.
    Moment(Field, Name, After, usize),
    /// Fields that are the same for many exchanges, by their place among what is kept.
    Kept(Same, usize, Vec<(Field, Name)>),
}

/// The name of a field.
pub(super) struct Name {
    /// As [`Line::field`] wants it.
    text: String,
    /// As [`Line::said`] does.
    key: Piece,
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
    pub(super) fn grouped(&mut self, parts: Vec<Part>) -> Vec<Part> {
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
                (None, _) => grouped.push(Part::Field(field, name)),
            }
        }
        let after = [After::MILLIS, After::QUOTED];
        grouped.into_iter().map(|part| self.part_of_second(part, after)).collect()
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
    /// The same bytes with a line behind them.
    pub(super) fn line(
        &self,
        bytes: Vec<u8>,
        failed: bool,
        kept: (&[Kept], &Keys),
        tells: &impl Tells,
    ) -> Vec<u8> {
        match &self.shape {
            Shape::Json => self.object(Line::json(bytes), kept, tells),
            Shape::Text => self.text(Line::plain(bytes), &self.parts, kept, tells),
            Shape::Record(attributes) => {
                let text = self.text(Line::plain(bytes), &self.parts, kept, tells);
                self.text(Line::record(failed, &text), attributes, kept, tells)
            }
        }
    }

    /// A line that is an object.
    fn object(&self, mut line: Line, (kept, keys): (&[Kept], &Keys), tells: &impl Tells) -> Vec<u8> {
        for part in &self.parts {
            match part {
                Part::Literal(_) => {}
                Part::Field(field, name) => match tells.said(self, *field) {
                    Said::Other => line.field(&name.text, |value| tells.put(self, *field, value)),
                    said => line.said(&name.key, said),
                },
                Part::Moment(field, name, after, place) => {
                    self.moment(&mut line, (*field, name, *after), (kept.get(*place), keys), tells);
                }
                Part::Kept(same, place, fields) => {
                    let key = match same {
                        // They say nothing.
                        Same::Plain if keys.plain => continue,
                        Same::Plain => None,
                        Same::Connection => keys.connection,
                        Same::Way => keys.way,
                    };
                    let each = |line: &mut Line| {
                        for (field, name) in fields {
                            line.field(&name.text, |value| tells.put(self, *field, value));
                        }
                    };
                    match (kept.get(*place), key) {
                        (Some(kept), Some(key)) => line.kept(kept, key, each),
                        _ => each(&mut line),
                    }
                }
            }
        }
        line.end()
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
                Part::Kept(..) => {}
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
