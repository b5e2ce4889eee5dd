//! `upstreams.X.discover`: where the servers of an upstream come from, when they are not written down.

use crate::types::Timeout;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Where the servers of an upstream come from.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Discover", extend("oneOf" = [
    { "required": ["dns"] }, { "required": ["srv"] }, { "required": ["file"] }, { "required": ["http"] },
    { "required": ["consul"] }
]))]
pub struct DiscoverDocument {
    /// A name and a port: the addresses of the name are the servers.
    pub dns: Option<DnsEntry>,
    /// A name with SRV records, for instance `_http._tcp.orders.internal`.
    pub srv: Option<SrvEntry>,
    /// A file with a list of servers, watched.
    pub file: Option<String>,
    /// A web server that answers with a list of servers.
    pub http: Option<HttpSourceEntry>,
    /// A service in Consul's catalog.
    pub consul: Option<ConsulEntry>,
}

/// The address of a name server, or the details.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ResolverEntry {
    /// An IP address and maybe a port.
    Address(String),
    /// The details.
    Rule(ResolverDocument),
}

/// Who is asked for the names of servers, and for how long answers hold.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Resolver")]
pub struct ResolverDocument {
    /// The name server to ask, an IP address and maybe a port. Default: those of the system.
    pub address: Option<String>,
    /// Answers are kept at least this long. Default: `5s`.
    pub min_ttl: Option<Timeout>,
    /// Answers are kept at most this long. Default: `5m`.
    pub max_ttl: Option<Timeout>,
}

/// `host:port`, or the details.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DnsEntry {
    /// `host:port`.
    Address(String),
    /// The details.
    Source(DnsDocument),
}

/// A name whose addresses are servers.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "DnsSource")]
pub struct DnsDocument {
    /// `host:port`.
    pub address: String,
    /// The name server to ask, an IP address and maybe a port. Default: those of the system.
    pub resolver: Option<String>,
    /// Answers are kept at least this long. Default: `5s`.
    pub min_ttl: Option<Timeout>,
    /// Answers are kept at most this long. Default: `5m`.
    pub max_ttl: Option<Timeout>,
    /// Which addresses. Default: `any`.
    pub family: Option<AddressFamily>,
}

/// Which addresses of a name are servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AddressFamily {
    /// Both.
    Any,
    /// A records.
    Ipv4,
    /// AAAA records.
    Ipv6,
}

/// A name, or the details.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SrvEntry {
    /// The name.
    Name(String),
    /// The details.
    Source(SrvDocument),
}

/// A name with SRV records.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "SrvSource")]
pub struct SrvDocument {
    /// For instance `_http._tcp.orders.internal`.
    pub name: String,
    /// The name server to ask, an IP address and maybe a port. Default: those of the system.
    pub resolver: Option<String>,
    /// Answers are kept at least this long. Default: `5s`.
    pub min_ttl: Option<Timeout>,
    /// Answers are kept at most this long. Default: `5m`.
    pub max_ttl: Option<Timeout>,
}

/// A URL, or the details.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HttpSourceEntry {
    /// The URL.
    Url(String),
    /// The details.
    Source(HttpSourceDocument),
}

/// A web server that answers with a list of servers.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "HttpSource")]
pub struct HttpSourceDocument {
    /// `http://` or `https://`.
    pub url: String,
    /// Header fields of the requests; secrets by `${env:NAME}` or `${file:path}`.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// How long the server may hold a request until something changes. Default: `30s`.
    pub wait: Option<Timeout>,
    /// The shortest time between two requests to a server that does not hold them. Default: `5s`.
    pub interval: Option<Timeout>,
    /// PEM file of trusted authorities. Default: the system's authorities.
    pub ca: Option<String>,
}

/// A service's name, or the details.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ConsulEntry {
    /// The service's name.
    Service(String),
    /// The details.
    Source(ConsulDocument),
}

/// A service in Consul's catalog.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ConsulSource")]
pub struct ConsulDocument {
    /// Its name.
    pub service: String,
    /// Consul's HTTP API. Default: `http://127.0.0.1:8500`.
    pub address: Option<String>,
    /// Which datacenter. Default: the agent's own.
    pub datacenter: Option<String>,
    /// Tags that an instance must have, all of them. Default: none.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Only instances that pass all of their checks; `false`: all that are registered. Default: `true`.
    pub passing: Option<bool>,
    /// ACL token; by `${env:NAME}` or `${file:path}`.
    pub token: Option<String>,
    /// How long a query waits for a change. Default: `5m`.
    pub wait: Option<Timeout>,
    /// PEM file of trusted authorities. Default: the system's authorities.
    pub ca: Option<String>,
}
