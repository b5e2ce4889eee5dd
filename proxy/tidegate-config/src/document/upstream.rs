//! `upstreams`: groups of servers and how they are spoken to.

use super::{
    AdaptiveDocument, BalanceEntry, DiscoverDocument, HealthDocument, LatencyEntry, PoolDocument,
    RetryBudgetDocument, SessionDocument, SuccessRateEntry, UpstreamTls,
};
use crate::types::Timeout;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A group of servers.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Upstream", extend("oneOf" = [{ "required": ["servers"] }, { "required": ["discover"] }]))]
pub struct UpstreamDocument {
    /// The members: `host:port`, or an address with a weight.
    #[schemars(length(min = 1))]
    pub servers: Option<Vec<ServerEntry>>,
    /// Where the members come from.
    pub discover: Option<DiscoverDocument>,
    /// How servers are spoken to. Default: `auto`.
    pub protocol: Option<UpstreamWire>,
    /// Who the gateway is to Redis; for `protocol: redis`.
    pub login: Option<RedisLoginDocument>,
    /// How a server is chosen. Default: `leastRequest`.
    pub balance: Option<BalanceEntry>,
    /// Requests of one client stay at one server. Left out: they do not.
    pub session: Option<SessionDocument>,
    /// The time in which a new server comes to its whole share of requests. Default: at once.
    pub slow_start: Option<Timeout>,
    /// Where less than this share of the servers can be used, in percent, all are. Default: 0.
    #[schemars(range(min = 0, max = 100))]
    pub panic_threshold: Option<u32>,
    /// When a server that fails is left out for a while; `false`: never. Default: with its defaults.
    pub ejection: Option<EjectionEntry>,
    /// How the gateway itself finds out whether a server is well. Left out: servers are judged by what requests meet.
    pub health: Option<HealthDocument>,
    /// TLS towards the servers; `{}` for the defaults. Left out: clear text.
    pub tls: Option<UpstreamTls>,
    /// Limits of the whole gateway towards this upstream.
    pub limits: Option<UpstreamLimitsDocument>,
    /// How many of the attempts may be repetitions; `{}` for the defaults. Left out: no limit.
    pub retry_budget: Option<RetryBudgetDocument>,
    /// How connections are kept.
    pub pool: Option<PoolDocument>,
    /// Time limits of connections.
    pub timeouts: Option<UpstreamTimeoutsDocument>,
}

/// An address, or an address with a weight.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ServerEntry {
    /// `host:port`.
    Address(String),
    /// With a weight.
    Weighted(ServerDocument),
}

/// One member of an upstream.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Server")]
pub struct ServerDocument {
    /// `host:port`; the host is an address or a name.
    pub address: String,
    /// Its share of requests. Default: 1.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub weight: Option<u32>,
    /// Where it stands; see the gateway's own `zone`.
    pub zone: Option<String>,
    /// 0 is asked first; servers of a higher number get what those before them cannot take. Default: 0.
    #[schemars(range(min = 0, max = 127))]
    pub priority: Option<u32>,
    /// What subsets are chosen by.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// How servers are spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum UpstreamWire {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, by prior knowledge where there is no TLS.
    Http2,
    /// By ALPN over TLS, HTTP/1.1 without TLS.
    Auto,
    /// Redis, for filters that ask it; not for requests.
    Redis,
}

/// Who the gateway is to Redis.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "RedisLogin")]
pub struct RedisLoginDocument {
    /// The user's name. Left out: the default user.
    pub username: Option<String>,
    /// The password; by `${env:NAME}` or `${file:path}`.
    pub password: Option<String>,
    /// The database's number. Default: 0.
    pub database: Option<u32>,
}

/// A switch, or the details.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum EjectionEntry {
    /// On with the defaults, or off.
    Switch(bool),
    /// On, with these.
    Rule(EjectionDocument),
}

/// When a server that fails is left out for a while.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Ejection")]
pub struct EjectionDocument {
    /// Failures in a row: no connection, no answer, or one of `statuses`. Default: 5.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub failures: Option<u32>,
    /// Answers that count as failures. Default: none.
    #[schemars(inner(range(min = 400, max = 599)))]
    pub statuses: Option<Vec<u16>>,
    /// How long the first time; doubled each time in a row. Default: `5s`.
    pub time: Option<Timeout>,
    /// The longest time. Default: `5m`.
    pub max_time: Option<Timeout>,
    /// How long a server that refuses a connection is left out at once, whatever `failures` says; then the gateway itself
    /// tries to connect, after twice the time each time up to `time`. `0s`: it is not. Default: `100ms`.
    pub refused: Option<Timeout>,
    /// At most this share of the servers at once; one always stays. Default: 50.
    #[schemars(range(min = 1, max = 100))]
    pub percent: Option<u32>,
    /// How often servers are compared by `successRate` and `latency`. Default: `10s`.
    pub interval: Option<Timeout>,
    /// Whether a server is left out that fails much more often than the others. Default: `false`.
    pub success_rate: Option<SuccessRateEntry>,
    /// Whether a server is left out that is much slower than the others. Default: `false`.
    pub latency: Option<LatencyEntry>,
}

/// Limits towards an upstream, each for the whole gateway.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "UpstreamLimits")]
pub struct UpstreamLimitsDocument {
    /// Connections. Default: 1024.
    #[schemars(range(min = 1))]
    pub connections: Option<u32>,
    /// Requests that wait for a connection; 0: none waits. Default: 1024.
    pub pending: Option<u32>,
    /// Requests in flight. Default: 4096.
    #[schemars(range(min = 1))]
    pub requests: Option<u32>,
    /// Repetitions in flight, hedged requests included; 0: none. Default: no limit.
    pub retries: Option<u32>,
    /// A limit of requests in flight that follows the servers' latency; `{}` for the defaults. Left out: none.
    pub adaptive: Option<AdaptiveDocument>,
}

/// Time limits of connections to servers.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "UpstreamTimeouts")]
pub struct UpstreamTimeoutsDocument {
    /// Time for a connection, TLS included. Default: `5s`.
    pub connect: Option<Timeout>,
    /// How long an idle connection is kept. Default: `60s`.
    pub idle: Option<Timeout>,
}
