//! Access logs as they run: compiled lines, and the writers, which are kept as long as their target is the same.

mod attributes;
mod parts;
mod steps;

use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use http::header::HeaderName;
use tidegate_config::plan::{self, KnownField, LogField, LogFormat, LogPiece, LogTarget, PluginIndex};

use super::build::BuildError;
use super::{Assets, collectors};
use crate::http::added;
use crate::telemetry::access_log::batch::{Batch, Gathering};
use crate::telemetry::access_log::kept::{Kept, Keys};
use crate::telemetry::access_log::line::Value;
use crate::telemetry::access_log::noted::Noted;
use crate::telemetry::access_log::pad::Pad;
use crate::telemetry::access_log::{Entry, Lines, Writer};
pub(crate) use parts::{ABSENT, Figures, figure};
use parts::{Name, Part};
use steps::Steps;

/// All access logs.
#[derive(Default)]
pub(crate) struct Logs {
    pub(crate) all: Vec<Log>,
    /// Fields of heads that some line says.
    pub(crate) request_headers: Vec<HeaderName>,
    pub(crate) response_headers: Vec<HeaderName>,
    /// Plugins that are shown what is over.
    pub(crate) plugins: Vec<PluginIndex>,
    /// Bits of those that want every exchange.
    always: u32,
    /// How many parts of lines are kept.
    kept: usize,
    /// What lines say of heads besides.
    pub(crate) wants: Wants,
}

/// What some line says of a request's head: nothing else is noted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wants {
    pub(crate) path: bool,
    pub(crate) host: bool,
    pub(crate) request_id: bool,
    pub(crate) agent: bool,
    /// Fields that the gateway adds by itself, under their own names.
    pub(crate) added: bool,
}

/// What a worker has for the lines of its exchanges.
#[derive(Default)]
pub(crate) struct Outlets {
    /// Where the lines of each log gather, of those that go to files.
    batches: Vec<Option<Rc<Batch>>>,
    kept: Vec<Kept>,
}

/// One of them.
pub(crate) struct Log {
    pub(crate) spec: plan::AccessLog,
    pub(crate) writer: Writer,
    /// Of a line, or of what people read of a record.
    parts: Vec<Part>,
    shape: Shape,
}

/// What a line is.
enum Shape {
    Json(Steps),
    Text,
    /// Its attributes.
    Record(Vec<Part>),
}

/// What a line can say; fields of heads by their place in [`Logs`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field {
    Known(KnownField),
    RequestHeader(usize),
    ResponseHeader(usize),
}

/// Tells what lines say of one exchange.
pub(crate) trait Tells {
    /// The numbers of an exchange.
    fn figures(&self) -> Option<&Figures>;

    /// What was noted of its heads.
    fn noted(&self) -> Option<&Noted>;

    /// Puts what a field says, whichever it is; those two are the shorter way for what most lines say.
    fn put(&self, log: &Log, field: Field, value: &mut Value<'_>);
}

/// What decides whether an exchange that is over is logged.
pub(crate) struct Over<'a> {
    pub(crate) failed: bool,
    pub(crate) status: u16,
    pub(crate) route: Option<&'a str>,
    pub(crate) took: Duration,
}

impl Logs {
    /// Starts the writers that `previous` does not have.
    pub(crate) fn build(
        plan: &plan::Plan,
        assets: &Assets,
        previous: Option<&Self>,
    ) -> Result<Self, BuildError> {
        let mut logs = Self { plugins: plan.log_plugins.clone(), ..Self::default() };
        for (index, spec) in plan.access_logs.iter().enumerate() {
            let known = || logs.all.iter().chain(previous.iter().flat_map(|logs| &logs.all));
            let same = known().find(|log| log.writer.is_of(&spec.target)).map(|log| log.writer.clone());
            let writer = match (&spec.target, same) {
                (LogTarget::Otlp(otlp), _) => {
                    let known = known().filter_map(|log| log.writer.exporter());
                    Writer::Records(collectors::exporter(otlp, assets, known)?)
                }
                (_, Some(writer)) => writer,
                (target, None) => Writer::start(target).map_err(BuildError::plan)?,
            };
            let (shape, parts) = logs.compile(spec)?;
            logs.all.push(Log { spec: spec.clone(), writer, parts, shape });
            if spec.share >= MILLION {
                logs.always |= 1 << index;
            }
        }
        Ok(logs)
    }

    /// What a worker needs for them; it goes on with what gathers already.
    pub(crate) fn outlets(&self, previous: Option<&Outlets>) -> Outlets {
        let known = |lines: &Lines| {
            let mut batches = previous.into_iter().flat_map(|outlets| outlets.batches.iter().flatten());
            batches.find(|batch| batch.is_for(lines)).cloned()
        };
        Outlets {
            batches: self.all.iter().map(|log| log.writer.batch(known)).collect(),
            kept: (0..self.kept).map(|_| Kept::default()).collect(),
        }
    }

    /// What a line is, and its parts.
    fn compile(&mut self, spec: &plan::AccessLog) -> Result<(Shape, Vec<Part>), BuildError> {
        let mut parts = |pieces: Vec<LogPiece>| {
            pieces.into_iter().map(|piece| self.part(piece)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match &spec.format {
            LogFormat::Json(fields) => {
                let parts = parts(fields.iter().cloned().map(LogPiece::Field).collect())?;
                let parts = self.grouped(parts, spec);
                (Shape::Json(Steps::new(&parts)), parts)
            }
            LogFormat::Text(pieces) => {
                let parts = parts(pieces.clone())?;
                (Shape::Text, self.timed(parts))
            }
            LogFormat::Record(text, fields) => {
                let parts = parts(text.clone())?;
                let parts = self.timed(parts);
                (Shape::Record(self.attributes(fields)?), parts)
            }
        })
    }

    fn part(&mut self, piece: LogPiece) -> Result<Part, BuildError> {
        let field = match piece {
            LogPiece::Text(text) => return Ok(Part::Literal(text)),
            LogPiece::Field(field) => field,
        };
        self.wants.note(&field);
        let name = Name::new(&field.name());
        let place = |headers: &mut Vec<HeaderName>, name: &str| {
            let name = HeaderName::from_str(name).map_err(BuildError::plan)?;
            let known = headers.iter().position(|known| *known == name);
            Ok(known.unwrap_or_else(|| {
                headers.push(name);
                headers.len() - 1
            }))
        };
        let field = match field {
            LogField::Known(field) => Field::Known(field),
            LogField::RequestHeader(name) => Field::RequestHeader(place(&mut self.request_headers, &name)?),
            LogField::ResponseHeader(name) => {
                Field::ResponseHeader(place(&mut self.response_headers, &name)?)
            }
        };
        Ok(Part::Field(field, name))
    }

    /// Whether there is none, and no plugin is shown anything.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.plugins.is_empty()
    }

    /// Bits of the logs that an exchange is for, by their shares.
    pub(crate) fn draw(&self, random: impl Fn() -> u64) -> u32 {
        let mut bits = self.always;
        for (index, log) in self.all.iter().enumerate() {
            if bits & 1 << index == 0 && random() < u64::from(log.spec.share) {
                bits |= 1 << index;
            }
        }
        bits
    }

    /// Hands a line to each log of `bits` that wants the exchange; how many were dropped. `keys` tell what parts of lines are
    /// the same by.
    pub(crate) fn write(
        &self,
        (bits, over): (u32, &Over<'_>),
        (outlets, gathering): (&Outlets, &Gathering),
        keys: &Keys,
        tells: &impl Tells,
    ) -> u64 {
        let mut dropped = 0;
        for (index, log) in self.all.iter().enumerate() {
            if bits & 1 << index == 0 || !log.wants(over) {
                continue;
            }
            let line = |pad: &mut Pad| log.line(pad, over.failed, (&outlets.kept, keys), tells);
            let taken = match outlets.batches.get(index) {
                Some(Some(batch)) => batch.take(gathering, line),
                _ => {
                    let mut pad = Pad::new(LINE);
                    line(&mut pad);
                    log.writer.write(Entry { text: pad.into_bytes(), failed: over.failed })
                }
            };
            dropped += u64::from(!taken);
        }
        dropped
    }

    /// Waits for lines that are not written yet.
    pub(crate) fn finish(&self) {
        self.all.iter().for_each(|log| log.writer.finish());
    }

    /// Opens files again.
    pub(crate) fn reopen(&self) {
        for log in &self.all {
            if matches!(log.spec.target, LogTarget::File(_)) {
                log.writer.reopen();
            }
        }
    }
}

impl Wants {
    fn note(&mut self, field: &LogField) {
        match field {
            LogField::Known(KnownField::Path) => self.path = true,
            LogField::Known(KnownField::Host) => self.host = true,
            LogField::Known(KnownField::RequestId) => self.request_id = true,
            LogField::Known(KnownField::UserAgent) => self.agent = true,
            LogField::RequestHeader(name) => self.added |= added::is_added(name),
            LogField::Known(_) | LogField::ResponseHeader(_) => {}
        }
    }
}

/// Room for a line that does not gather with others; growing would copy it.
const LINE: usize = 1024;

/// All exchanges, of a share.
pub(crate) const MILLION: u32 = 1_000_000;

impl Log {
    fn wants(&self, over: &Over<'_>) -> bool {
        let only = &self.spec.only;
        let status = || only.statuses.iter().any(|(first, last)| (*first..=*last).contains(&over.status));
        let route = || over.route.is_some_and(|route| only.routes.iter().any(|known| known == route));
        (!only.errors || over.failed)
            && (only.statuses.is_empty() || status())
            && (only.routes.is_empty() || route())
            && only.slower_than.is_none_or(|limit| over.took >= limit)
    }

    /// Whether the values of a head's field are taken out.
    pub(crate) fn hides(&self, name: &HeaderName) -> bool {
        hides(&self.spec.secret_headers, name.as_str())
    }

    /// A path and query without the values that are taken out.
    pub(crate) fn path(&self, path: &[u8], value: &mut Value<'_>) {
        if self.spec.secret_query.is_empty() || !path.contains(&b'?') {
            return value.target(path);
        }
        let path = String::from_utf8_lossy(path);
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        value.target(without_secrets(&self.spec.secret_query, path, query).as_bytes());
    }
}

/// Whether one of these names, of which one that ends in `*` stands for all that begin so, is this one.
pub(crate) fn hides(secrets: &[String], name: &str) -> bool {
    secrets.iter().any(|secret| match secret.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == secret,
    })
}

/// A path and query without the values of these parameters.
pub(crate) fn without_secrets(secrets: &[String], path: &str, query: &str) -> String {
    let mut text = format!("{path}?");
    for (index, pair) in query.split('&').enumerate() {
        if index > 0 {
            text.push('&');
        }
        match pair.split_once('=') {
            Some((name, _)) if secrets.iter().any(|secret| is_named(name, secret)) => {
                text.push_str(name);
                text.push('=');
                text.push_str(TAKEN_OUT);
            }
            _ => text.push_str(pair),
        }
    }
    text
}

/// What stands for a value that was taken out.
pub(crate) const TAKEN_OUT: &str = "***";

/// Whether the name of a query parameter is this one, however it is written.
fn is_named(written: &str, name: &str) -> bool {
    let mut bytes = written.bytes();
    let decoded = std::iter::from_fn(|| {
        let byte = bytes.next()?;
        if byte != b'%' {
            return Some(if byte == b'+' { b' ' } else { byte });
        }
        let digit = |byte: Option<u8>| char::from(byte.unwrap_or(0)).to_digit(16).unwrap_or(0);
        let (high, low) = (digit(bytes.next()), digit(bytes.next()));
        u8::try_from(high * 16 + low).ok()
    });
    decoded.eq(name.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_query_parameters_cannot_hide() {
        for (written, expected) in [
            ("token", true),
            ("%74oken", true),
            ("tok%65n", true),
            ("tokens", false),
            ("tok", false),
            ("%", false),
        ] {
            assert_eq!(is_named(written, "token"), expected, "{written}");
        }
        assert!(is_named("a+b", "a b") && is_named("a%20b", "a b"));
    }
}
