//! Which exchanges are logged, how, and where to.

use super::Otlp;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// An access log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessLog {
    /// Where its lines go.
    pub target: LogTarget,
    /// What a line says.
    pub format: LogFormat,
    /// Which exchanges.
    pub only: LogOnly,
    /// How many of them, in a million.
    pub share: u32,
    /// Names of query parameters whose values are taken out.
    pub secret_query: Vec<String>,
    /// Names, in lower case, of fields whose values are taken out; one that ends in `*` stands for all that begin so.
    pub secret_headers: Vec<String>,
}

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LogTarget {
    /// A file; `/dev/stdout` and `/dev/stderr` are the process's own.
    File(PathBuf),
    /// A syslog server.
    Syslog(Syslog),
    /// A collector.
    Otlp(Otlp),
}

/// A syslog server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Syslog {
    /// Where it is.
    pub address: SyslogAddress,
    /// The facility's number.
    pub facility: u8,
    /// The name of the program.
    pub app: String,
}

/// Where a syslog server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SyslogAddress {
    /// By UDP.
    Udp(SocketAddr),
    /// A datagram socket of this machine.
    Unix(PathBuf),
}

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFormat {
    /// A JSON object with these fields, those that there are.
    Json(Vec<LogField>),
    /// A text; `-` stands for what there is not.
    Text(Vec<LogPiece>),
    /// A record: a text for people, and these fields as attributes.
    Record(Vec<LogPiece>, Vec<LogField>),
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogPiece {
    /// As it is.
    Text(String),
    /// What a field says.
    Field(LogField),
}

/// Which exchanges: those for which all of it is true.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOnly {
    /// Failed, or answered with 500 or more.
    pub errors: bool,
    /// First and last status of ranges; empty: all.
    pub statuses: Vec<(u16, u16)>,
    /// Names of routes; empty: all.
    pub routes: Vec<String>,
    /// Took at least this long.
    pub slower_than: Option<Duration>,
}

/// What can be said of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogField {
    /// One that every exchange or connection may have.
    Known(KnownField),
    /// A field of the request's head, as the client sent it, in lower case.
    RequestHeader(String),
    /// A field of the answer's head, as the client gets it, in lower case.
    ResponseHeader(String),
}

impl LogField {
    /// What a field is called in documents and lines.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let header = |prefix: &str| name.strip_prefix(prefix).map(str::to_ascii_lowercase);
        let valid = |name: &String| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if let Some(name) = header(REQUEST_HEADER) {
            return valid(&name).then_some(Self::RequestHeader(name));
        }
        if let Some(name) = header(RESPONSE_HEADER) {
            return valid(&name).then_some(Self::ResponseHeader(name));
        }
        KnownField::ALL.iter().find(|(_, known)| *known == name).map(|(field, _)| Self::Known(*field))
    }

    /// Its name, as [`LogField::parse`] takes it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Known(field) => field.name().to_owned(),
            Self::RequestHeader(name) => format!("{REQUEST_HEADER}{name}"),
            Self::ResponseHeader(name) => format!("{RESPONSE_HEADER}{name}"),
        }
    }
}

const REQUEST_HEADER: &str = "header.";
const RESPONSE_HEADER: &str = "response_header.";

macro_rules! fields {
    ($($(#[$doc:meta])* $field:ident = $name:literal,)*) => {
        /// What a log can say of exchanges and connections. The order is that of a JSON object.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum KnownField {
            $($(#[$doc])* $field,)*
        }

        impl KnownField {
            /// All of them with their names.
            pub const ALL: &[(Self, &str)] = &[$((Self::$field, $name),)*];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$field => $name,)*
                }
            }
        }
    };
}

fields! {
    /// The end, in milliseconds since the Unix epoch.
    TimeMs = "time_ms",
    /// The end as text (RFC 3339).
    Time = "time",
    /// Who asked.
    Client = "client",
    /// By which listener.
    Listener = "listener",
    /// The request's method.
    Method = "method",
    /// The request's host.
    Host = "host",
    /// The request's path and query.
    Path = "path",
    /// `x-request-id`.
    RequestId = "request_id",
    /// The trace's number.
    TraceId = "trace_id",
    /// The number of the exchange's span.
    SpanId = "span_id",
    /// `user-agent`.
    UserAgent = "user_agent",
    /// The version of TLS.
    TlsVersion = "tls_version",
    /// What it encrypts with.
    TlsCipher = "tls_cipher",
    /// The version of HTTP, or the listener's protocol.
    Protocol = "protocol",
    /// The name that the client asked for by TLS.
    ServerName = "server_name",
    /// The answer's status.
    Status = "status",
    /// The route's name.
    Route = "route",
    /// The rule's name.
    Rule = "rule",
    /// The upstream's name.
    Upstream = "upstream",
    /// The server's address.
    Server = "server",
    /// Why that server.
    Picked = "picked",
    /// The plugin that chose the route.
    RouteBy = "route_by",
    /// The plugin that chose the upstream.
    UpstreamBy = "upstream_by",
    /// The versions that it took of what is being rolled out.
    Versions = "versions",
    /// How many attempts there were.
    Attempts = "attempts",
    /// What became of the attempts before the last one.
    EarlierAttempts = "earlier_attempts",
    /// Why there was no further one.
    RetryStoppedBy = "retry_stopped_by",
    /// How many attempts were made beside others.
    Hedges = "hedges",
    /// Whether the answer is that of such a one.
    HedgeWon = "hedge_won",
    /// How many interim answers of servers were passed on.
    Interim = "interim",
    /// The plugins that it passed.
    Filters = "filters",
    /// The plugin that answered.
    AnsweredBy = "answered_by",
    /// Why, in its own words.
    Details = "details",
    /// Bytes from the client.
    BytesReceived = "bytes_received",
    /// Bytes to the client.
    BytesSent = "bytes_sent",
    /// Who ended a connection first.
    ClosedBy = "closed_by",
    /// Why it failed.
    Reason = "reason",
    /// The plugin that it failed by.
    Plugin = "plugin",
    /// From a client's connection to the server's.
    ConnectUs = "connect_us",
    /// How long the last attempt waited for a connection.
    WaitUs = "wait_us",
    /// From the last attempt's begin to the head of its answer.
    UpstreamUs = "upstream_us",
    /// From the request's head to the answer's.
    HeadUs = "head_us",
    /// From the first byte to the last.
    DurationUs = "duration_us",
}
