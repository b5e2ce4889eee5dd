//! The document: what a user writes, key by key, before anything is checked.
//!
//! Each type is the serde form and, through its documentation, the JSON Schema of one part of the file. Optional
//! keys stay optional here; their defaults are filled in where the document becomes a [`Plan`](crate::plan::Plan).
//! The shape (unknown keys, types, missing keys) is checked against the schema before serde sees a document.

mod access_log;
mod admin;
mod balance;
mod discover;
mod health;
mod limits;
mod listener;
mod loading;
mod metrics;
mod otlp;
mod outliers;
mod plugin;
mod policy;
mod recording;
mod release;
mod route;
mod session;
mod tls;
mod tracing;
mod traffic;
mod upstream;

pub use access_log::{
    AccessLogDocument, AccessLogEntry, LogOnlyDocument, LogRedactDocument, StatusEntry, SyslogDocument,
    SyslogFacility,
};
pub use admin::{AdminDocument, PushDocument, TapDocument};
pub use balance::{BalanceDocument, BalanceEntry, BalanceMethod, HashDocument, HashEntry, HashWord};
pub use discover::{
    AddressFamily, ConsulDocument, ConsulEntry, DiscoverDocument, DnsDocument, DnsEntry, HttpSourceDocument,
    HttpSourceEntry, ResolverDocument, ResolverEntry, SrvDocument, SrvEntry,
};
pub use health::{
    GrpcCheckDocument, HealthDocument, HttpCheckDocument, HttpCheckEntry, InitialHealth, TcpCheckDocument,
};
pub use limits::LimitsDocument;
pub use listener::{
    Addresses, ListenerDocument, ListenerFilter, ListenerLimitsDocument, ListenerProtocol,
    ListenerTimeoutsDocument,
};
pub use loading::{
    ExpectDocument, FetchDocument, PluginTestDocument, PullPolicy, SignatureDocument, TestRequestDocument,
};
pub use metrics::{HistogramsDocument, MetricsDocument, MetricsOtlpDocument};
pub use otlp::{OtlpBackoffDocument, OtlpDocument, OtlpProtocol, OtlpRetriesDocument};
pub use outliers::{LatencyDocument, LatencyEntry, SuccessRateDocument, SuccessRateEntry};
pub use plugin::{
    BodyAccessDocument, Capabilities, FailureMode, FailureModes, FailurePolicy, FieldAccessDocument,
    HeadersPause, Isolation, PluginDocument, PluginLimitsDocument,
};
pub use policy::{Backoff, RetriesDocument, RetryCondition, RetryWord, RuleTimeoutsDocument};
pub use recording::{RecordedRequests, RecordingDocument, RedactDocument};
pub use release::{
    CanaryDocument, MirrorDocument, MirrorEntry, ReleaseDocument, RollbackDocument, StickyDocument,
    StickyEntry, StickyWord,
};
pub use route::{
    FilterDocument, ForwardDocument, HeaderChangesDocument, MatchDocument, PathMatch, PathRewriteDocument,
    RedirectDocument, RedirectScheme, RegexMatch, RespondDocument, RewriteDocument, RouteDocument,
    RuleDocument, ValueMatch,
};
pub use session::{SameSiteWord, SessionDocument, SessionLifetime};
pub use tls::{Certificate, ClientAuthDocument, ClientAuthMode, ListenerTls, UpstreamTls};
pub use tracing::{KeepDocument, TraceFormat, TracingDocument};
pub use traffic::{AdaptiveDocument, HedgeDocument, PoolAddresses, PoolDocument, RetryBudgetDocument};
pub use upstream::{
    EjectionDocument, EjectionEntry, RedisLoginDocument, ServerDocument, ServerEntry, UpstreamDocument,
    UpstreamLimitsDocument, UpstreamTimeoutsDocument, UpstreamWire,
};

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Configuration of a Tidegate gateway.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "Tidegate configuration", rename = "Document")]
pub struct Document {
    /// The admin API: health, readiness, metrics and the running configuration. Left out: no admin API.
    pub admin: Option<AdminDocument>,
    /// Worker threads. Default: the CPUs that the process may use.
    #[schemars(range(min = 1, max = 1024))]
    pub workers: Option<u32>,
    /// What the gateway as a whole may use.
    pub limits: Option<LimitsDocument>,
    /// Where the gateway is: servers in the same zone are preferred. Left out: zones do not count.
    pub zone: Option<String>,
    /// Who is asked for the names of servers. Default: the system's name servers.
    pub resolver: Option<ResolverEntry>,
    /// Where clients connect.
    #[serde(default)]
    pub listeners: Vec<ListenerDocument>,
    /// Wasm modules by name.
    #[serde(default)]
    pub plugins: BTreeMap<String, PluginDocument>,
    /// Which requests go where.
    #[serde(default)]
    pub routes: Vec<RouteDocument>,
    /// Groups of servers by name.
    #[serde(default)]
    pub upstreams: BTreeMap<String, UpstreamDocument>,
    /// One line for each exchange; a list for several logs. Left out: no access log.
    pub access_log: Option<AccessLogEntry>,
    /// Metrics beside those of the admin API. Left out: only there.
    pub metrics: Option<MetricsDocument>,
    /// Traces of requests. Left out: none, and trace headers are passed on as they are.
    pub tracing: Option<TracingDocument>,
}
