//! `accessLog`: what is written of each exchange, where, and of which ones.

use super::OtlpDocument;
use crate::types::Timeout;
use schemars::JsonSchema;
use serde::Deserialize;

/// One log, or several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AccessLogEntry {
    /// One.
    One(Box<AccessLogDocument>),
    /// Each has its own form, place and choice of exchanges.
    Several(Vec<AccessLogDocument>),
}

impl AccessLogEntry {
    /// All of them.
    pub(crate) fn all(&self) -> &[AccessLogDocument] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        }
    }
}

/// An access log.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "AccessLog")]
pub struct AccessLogDocument {
    /// `json`, or a text with fields as `%{status}`. Default: `json`; with `otlp` a text.
    pub format: Option<String>,
    /// Fields of a JSON object, or attributes of a record. Default: all but headers.
    #[schemars(length(min = 1))]
    pub fields: Option<Vec<String>>,
    /// File to append to. Default: `/dev/stdout`.
    pub path: Option<String>,
    /// A syslog server in place of a file (RFC 5424).
    pub syslog: Option<SyslogDocument>,
    /// A collector in place of a file: one record for each exchange.
    pub otlp: Option<OtlpDocument>,
    /// Which exchanges. Default: all.
    pub only: Option<LogOnlyDocument>,
    /// How many of them, in percent. Default: 100.
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<f64>,
    /// What is taken out before anything is written.
    pub redact: Option<LogRedactDocument>,
    /// Names of plugins that are shown each exchange when it is over, whatever became of it. Default: none.
    #[schemars(length(min = 1))]
    pub plugins: Option<Vec<String>>,
}

/// A syslog server.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Syslog")]
pub struct SyslogDocument {
    /// IP address and port for UDP, or `unix:` and the path of a datagram socket, for instance `unix:/dev/log`.
    pub address: String,
    /// Default: `local0`.
    pub facility: Option<SyslogFacility>,
    /// The name of the program. Default: `tidegate`.
    pub app: Option<String>,
}

/// What kind of program a line comes from; see RFC 5424, 6.2.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the standard's own names")]
pub enum SyslogFacility {
    User,
    Daemon,
    Local0,
    Local1,
    Local2,
    Local3,
    Local4,
    Local5,
    Local6,
    Local7,
}

/// Which exchanges are logged: those for which all of this is true.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "LogOnly")]
pub struct LogOnlyDocument {
    /// Failed, or answered with 500 or more.
    pub errors: Option<bool>,
    /// Answered with one of these, for instance 404 or `5xx`.
    #[schemars(length(min = 1))]
    pub statuses: Option<Vec<StatusEntry>>,
    /// For one of these routes.
    #[schemars(length(min = 1))]
    pub routes: Option<Vec<String>>,
    /// Took at least this long.
    pub slower_than: Option<Timeout>,
}

/// A status, or a class of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StatusEntry {
    /// One.
    One(#[schemars(range(min = 100, max = 599))] u16),
    /// `1xx` to `5xx`.
    Class(String),
}

/// What is taken out of a log.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "LogRedact")]
pub struct LogRedactDocument {
    /// Names of query parameters whose values are taken out of `path`. Default: none.
    pub query: Option<Vec<String>>,
    /// Names of fields whose values are taken out; `x-*` stands for all that begin with `x-`. Default:
    /// `authorization`, `proxy-authorization`, `cookie` and `set-cookie`.
    pub headers: Option<Vec<String>>,
}
