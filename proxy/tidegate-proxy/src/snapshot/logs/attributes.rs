//! What fields are called in records of OTLP: by OpenTelemetry's semantic conventions where those have a name, else below
//! `tidegate`. <https://opentelemetry.io/docs/specs/semconv/registry/attributes/>

use tidegate_config::plan::{KnownField, LogField, LogPiece};

use super::parts::{Name, Part};
use super::{BuildError, Logs};

/// What each record has: its time, its trace and its span.
const ALWAYS: [KnownField; 3] = [KnownField::TimeMs, KnownField::TraceId, KnownField::SpanId];

impl Logs {
    /// These fields as attributes, after what each record has.
    pub(super) fn attributes(&mut self, fields: &[LogField]) -> Result<Vec<Part>, BuildError> {
        let is_own = |field: &LogField| match field {
            LogField::Known(field) => ALWAYS.contains(field) || *field == KnownField::Time,
            _ => false,
        };
        let others = fields.iter().filter(|field| !is_own(field)).cloned();
        let mut parts = Vec::new();
        for field in ALWAYS.into_iter().map(LogField::Known).chain(others) {
            let name = name(&field);
            parts.push(match self.part(LogPiece::Field(field))? {
                Part::Field(field, _) => Part::Field(field, Name::new(&name)),
                other => other,
            });
        }
        Ok(parts)
    }
}

/// Those that are several attributes are named where they are written, as a client with its port.
fn name(field: &LogField) -> String {
    let known = match field {
        LogField::RequestHeader(name) => return format!("http.request.header.{name}"),
        LogField::ResponseHeader(name) => return format!("http.response.header.{name}"),
        LogField::Known(field) => match field {
            KnownField::Method => "http.request.method",
            KnownField::Status => "http.response.status_code",
            KnownField::UserAgent => "user_agent.original",
            KnownField::Protocol => "network.protocol.name",
            KnownField::TlsVersion => "tls.protocol.version",
            KnownField::TlsCipher => "tls.cipher",
            KnownField::BytesReceived => "http.request.body.size",
            KnownField::BytesSent => "http.response.body.size",
            KnownField::Reason => "error.type",
            other => return format!("tidegate.{}", other.name()),
        },
    };
    known.to_owned()
}
