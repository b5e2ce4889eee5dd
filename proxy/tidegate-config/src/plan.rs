//! The plan: the checked form of a document. References are indices, names are resolved, numbers are in range.
//!
//! A plan cannot be wrong in itself; what can still fail is outside of it (a file that is missing, an address in use).

mod access_log;
mod admin;
mod balance;
mod capability;
mod discover;
mod limits;
mod loading;
mod login;
mod metrics;
mod otlp;
mod policy;
mod recording;
mod release;
mod session;
mod tracing;

pub use crate::document::TraceFormat;
pub use access_log::{
    AccessLog, KnownField, LogField, LogFormat, LogOnly, LogPiece, LogTarget, Syslog, SyslogAddress,
};
pub(crate) use admin::SECRETS;
pub use admin::{Admin, Push, TapSettings};
pub use balance::{Balance, Balancing, HashOn, Subset};
pub use capability::{BodyAccess, Capabilities, FOREIGN_FUNCTIONS, FieldAccess};
pub use discover::{
    ConsulSource, Discover, DnsRecords, DnsSource, Health, HttpSource, Latency, Outliers, Probe, Resolver,
    SecretFields, SuccessRate,
};
pub use limits::{OnFailure, PluginLimits};
pub use loading::{Expect, Fetch, Loading, OciReference, PluginTest, Pull};
pub use login::RedisLogin;
pub use metrics::MetricsPush;
pub use otlp::{Otlp, OtlpRetries};
pub use policy::{
    Adaptive, Deadlines, Hedge, PoolSettings, Retries, RetryBudget, RetryOn, RuleTimeouts, UpstreamLimits,
};
pub use recording::Recording;
pub use release::{Bounds, Canary, Course, Mirror, Release, Split, Sticky, WHOLE};
pub use session::{SameSite, Session, SessionCarrier, SessionCookie, SessionKey};
pub use tracing::Tracing;

use crate::types::{Memory, Network};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that a gateway is to do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// The admin API; none: there is none.
    pub admin: Option<Admin>,
    /// Worker threads; none: one for each CPU that the process may use.
    pub workers: Option<NonZeroUsize>,
    /// Resident memory above which new requests are refused (default 95 % of what the process may use).
    pub memory: Memory,
    /// Who is asked for the names of servers.
    pub resolver: Resolver,
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// Wasm plugins. A rule that replaces a plugin's configuration has an entry of its own here.
    pub plugins: Vec<Plugin>,
    /// Routes in the order of the document.
    pub routes: Vec<Route>,
    /// Groups of servers.
    pub upstreams: Vec<Upstream>,
    /// Where and how exchanges are logged.
    pub access_logs: Vec<AccessLog>,
    /// Plugins that are shown each exchange when it is over.
    pub log_plugins: Vec<PluginIndex>,
    /// Where metrics are pushed to.
    pub metrics: Option<MetricsPush>,
    /// Traces of requests.
    pub tracing: Option<Tracing>,
}

/// Index into [`Plan::plugins`].
pub type PluginIndex = usize;
/// Index into [`Plan::upstreams`].
pub type UpstreamIndex = usize;
/// Index into [`Plan::listeners`].
pub type ListenerIndex = usize;

/// A set of sockets that speak one protocol.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Unique name.
    pub name: String,
    /// At least one; port 0 lets the system choose.
    pub addresses: Vec<SocketAddr>,
    /// What is spoken.
    pub protocol: Protocol,
    /// Only requests for these hosts are served; empty: all.
    pub hostnames: Vec<HostPattern>,
    /// Present exactly when the protocol [is secure](Protocol::is_secure).
    pub tls: Option<ServerTls>,
    /// Proxies in front that are believed what they say of clients.
    pub trusted_proxies: Vec<Network>,
    /// Run before a route is chosen.
    pub filters: Vec<Filter>,
    /// How long clients may take.
    pub timeouts: ListenerTimeouts,
    /// How much clients may use.
    pub limits: ListenerLimits,
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0, HTTP/1.1 and HTTP/2 with prior knowledge, in clear text.
    Http,
    /// HTTP/1.1 and HTTP/2 by ALPN, over TLS.
    Https,
    /// Bytes in clear text.
    Tcp,
    /// Bytes over TLS, which ends at the listener.
    Tls,
}

impl Protocol {
    /// As it is written.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// Whether requests are served; else connections are.
    #[must_use]
    pub fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }

    /// Whether the listener has certificates.
    #[must_use]
    pub fn is_secure(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }
}

/// The TLS side of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// At least one; picked by server name, the first one otherwise.
    pub certificates: Vec<CertificateFiles>,
    /// Whether and how clients show a certificate.
    pub client_auth: Option<ClientAuth>,
}

/// PEM files of a certificate chain and its private key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Client certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// PEM file of the authorities that clients' certificates come from.
    pub ca: PathBuf,
    /// Refuse clients without a certificate.
    pub required: bool,
}

/// How long a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// TLS handshake (default 5 s).
    pub handshake: Duration,
    /// A whole request head (default 10 s).
    pub headers: Duration,
    /// Longest wait for the next byte of a request body (default 30 s).
    pub body: Duration,
    /// A connection without a request (default 60 s).
    pub idle: Duration,
}

/// How much a client may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Bytes of a request head (default 64 KiB).
    pub header_bytes: usize,
    /// Header fields of a request (default 100).
    pub headers: usize,
    /// Open connections of this listener (default 100,000).
    pub connections: usize,
    /// Concurrent HTTP/2 streams of a connection (default 100).
    pub streams: usize,
}

/// A Wasm module with its configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Plugin {
    /// The name in the document.
    pub name: String,
    /// Unique: the name, or `name@route/rule` (`name@listener`) where a filter replaces the configuration; further
    /// ones of the same rule end in `#2`, `#3` and so on. A canary has the key of its plugin and `@canary`.
    pub key: String,
    /// Where the module comes from.
    pub module: ModuleSource,
    /// Lower-case hexadecimal digest that the module must have.
    pub sha256: Option<String>,
    /// How it is fetched, who must have signed it, what it must do.
    pub loading: Loading,
    /// What the guest is configured with.
    pub config: Vec<u8>,
    /// Which of the module's root contexts is meant; mostly empty.
    pub root_id: String,
    /// Whose shared data it uses; empty: its own.
    pub vm_id: String,
    /// What the guest reads when its VM starts.
    pub vm_config: Vec<u8>,
    /// WASI environment variables.
    pub environment: Vec<(String, String)>,
    /// What happens to requests when the plugin cannot do its work.
    pub on_failure: OnFailure,
    /// Which requests share an instance.
    pub isolation: Isolation,
    /// What becomes of a body whose headers it has paused.
    pub on_headers_pause: HeadersPause,
    /// Limits of the guest.
    pub limits: PluginLimits,
    /// Upstreams that the guest may call.
    pub callable: Vec<UpstreamIndex>,
    /// One instance in the process; no request meets it.
    pub background: bool,
    /// What else the guest may do.
    pub capabilities: Capabilities,
    /// Requests of it that are recorded.
    pub record: Option<Recording>,
    /// Another version, for a share of the requests.
    pub canary: Option<Box<Canary>>,
}

/// Where a module comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ModuleSource {
    /// A file, watched.
    File(PathBuf),
    /// A filter that the binary carries.
    Builtin(String),
    /// A URL.
    Https(String),
    /// In a registry.
    Oci(OciReference),
}

/// Which requests share an instance of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Those of a worker (default).
    Worker,
    /// Those of a client's connection.
    Connection,
    /// None.
    Request,
}

impl Isolation {
    /// As it is written in a document.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Connection => "connection",
            Self::Request => "request",
        }
    }
}

/// What becomes of a body while a plugin holds the headers before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadersPause {
    /// It goes on to the plugin (default).
    ContinueBody,
    /// It waits until the plugin continues.
    StopAll,
}

/// What a failure of a plugin means for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The request is refused.
    Closed,
    /// The request goes on without the plugin.
    Open,
}

/// Rules for a set of hosts on a set of listeners.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Unique name.
    pub name: String,
    /// Listeners that have the route; never empty. Either all serve requests or all serve bytes.
    pub listeners: Vec<ListenerIndex>,
    /// Hosts that the route is for; empty: all hosts of the listener.
    pub hostnames: Vec<HostPattern>,
    /// In the order of the document. On listeners of bytes one, that matches all and forwards.
    pub rules: Vec<Rule>,
}

/// Matches, filters and what is done with a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// The rule's name, or its index in the route as text.
    pub name: String,
    /// Any of these; never empty (a rule without matches has one that matches all: prefix `/`).
    pub matches: Vec<Match>,
    /// In request order.
    pub filters: Vec<Filter>,
    /// What is done with the request.
    pub action: Action,
    /// Time limits.
    pub timeouts: RuleTimeouts,
    /// When and how often an attempt is repeated.
    pub retries: Retries,
    /// How upstreams share the requests, and where these are copied to.
    pub split: Split,
}

/// Conditions that hold together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// On the normalised path.
    pub path: PathPattern,
    /// The method, upper case.
    pub method: Option<String>,
    /// By header name (lower case).
    pub headers: Vec<(String, ValuePattern)>,
    /// By query parameter.
    pub query: Vec<(String, ValuePattern)>,
}

/// A host name, `*.` with a suffix for any one or more labels before it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// Lower case, without port.
    Exact(String),
    /// The suffix with its leading dot: `.example.com`.
    Wildcard(String),
}

/// How a path is matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// The whole path.
    Exact(String),
    /// Whole segments at the beginning; no trailing slash but for `/` itself.
    Prefix(String),
    /// A regular expression over the whole path (anchored); known to compile.
    Regex(String),
}

/// How a header or query value is matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValuePattern {
    /// The whole value.
    Exact(String),
    /// A regular expression over the whole value (anchored); known to compile.
    Regex(String),
}

/// One step that a request passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// A Wasm plugin.
    Plugin(PluginIndex),
    /// Changes the request's headers.
    RequestHeaders(HeaderChanges),
    /// Changes the response's headers.
    ResponseHeaders(HeaderChanges),
    /// Changes host and path.
    Rewrite(Rewrite),
}

/// Header changes; set, then add, then remove. Names are lower case and valid, values are valid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeaderChanges {
    /// Replaces all values.
    pub set: Vec<(String, String)>,
    /// Adds a value.
    pub add: Vec<(String, String)>,
    /// Removes all values.
    pub remove: Vec<String>,
}

/// What a rewrite or a redirect does to the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRewrite {
    /// Replaces the whole path; the query stays.
    Full(String),
    /// Replaces the prefix that the rule matched.
    Prefix(String),
}

/// Changes of host and path on the way upstream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewrite {
    /// The new host.
    pub hostname: Option<String>,
    /// The new path.
    pub path: Option<PathRewrite>,
}

/// What is done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// To one of these by weight. Empty, or all weights zero: answered 500.
    Forward(Vec<WeightedUpstream>),
    /// Sends the client elsewhere.
    Redirect(Redirect),
    /// Answers at once.
    Respond(Respond),
}

/// An upstream and its share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightedUpstream {
    /// Which one.
    pub upstream: UpstreamIndex,
    /// Its share is this over the sum of all (default 1).
    pub weight: u32,
}

/// A redirect; what is not set stays as it was in the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// The host.
    pub hostname: Option<String>,
    /// The port.
    pub port: Option<u16>,
    /// The path.
    pub path: Option<PathRewrite>,
    /// 301, 302 (default), 303, 307 or 308.
    pub status: u16,
}

/// A fixed answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// Valid names and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

/// A group of servers.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// Unique name.
    pub name: String,
    /// Host names are resolved by the gateway at build.
    pub servers: Vec<Server>,
    /// Where they come from when they are not written down; `servers` is empty then.
    pub discover: Option<Discover>,
    /// How they are checked; none: not.
    pub health: Option<Health>,
    /// How they are spoken to.
    pub protocol: UpstreamProtocol,
    /// Who the gateway is to Redis.
    pub login: RedisLogin,
    /// It has those of another one's servers that have some labels; it has the other one's settings and no list.
    pub subset: Option<Subset>,
    /// How one is chosen.
    pub balance: Balance,
    /// The details of that.
    pub balancing: Balancing,
    /// When one is left out; none: never.
    pub ejection: Option<Ejection>,
    /// Present: TLS towards the servers.
    pub tls: Option<ClientTls>,
    /// Limits of the whole gateway towards this upstream.
    pub limits: UpstreamLimits,
    /// How many of the attempts may be repetitions; none: no limit.
    pub retry_budget: Option<RetryBudget>,
    /// How its connections are kept.
    pub pool: PoolSettings,
    /// Time for a connection, TLS included (default 5 s).
    pub connect_timeout: Duration,
    /// How long an idle connection is kept (default 60 s).
    pub idle_timeout: Duration,
}

/// One member of an upstream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// `host:port`; the host is an address or a name.
    pub address: String,
    /// Share (default 1).
    pub weight: u32,
    /// Where it stands.
    pub zone: Option<String>,
    /// 0 is asked first (default 0).
    pub priority: u32,
    /// What subsets are chosen by.
    pub labels: std::collections::BTreeMap<String, String>,
}

/// How servers are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 (prior knowledge without TLS).
    Http2,
    /// By ALPN over TLS, HTTP/1.1 without TLS.
    Auto,
    /// Redis; no request goes there.
    Redis,
}

/// When a server that fails is left out for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ejection {
    /// So many failures in a row (default 5).
    pub failures: u32,
    /// Answers that count as failures (default none).
    pub statuses: Vec<u16>,
    /// For how long the first time (default 5 s); doubled each time in a row.
    pub time: Duration,
    /// The longest (default 5 min).
    pub max_time: Duration,
    /// How long one that refuses a connection is left out before the gateway tries to connect by itself (default 100 ms); zero:
    /// that is a failure as any other.
    pub refused: Duration,
    /// At most this share of the servers at once, in percent (default 50).
    pub percent: usize,
    /// When a server is left out because it is worse than the others; none: never.
    pub outliers: Option<Outliers>,
}

/// TLS towards servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ClientTls {
    /// Name that is asked for and verified; none: the host of the server's address.
    pub server_name: Option<String>,
    /// PEM file of trusted authorities; none: those of the system.
    pub ca: Option<PathBuf>,
    /// The gateway's own certificate.
    pub certificate: Option<CertificateFiles>,
}
