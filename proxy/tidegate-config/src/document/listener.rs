//! `listeners`: where clients connect, what is spoken there and what a client may use.

use super::{FilterDocument, ListenerTls};
use crate::types::{ByteSize, Timeout};
use schemars::JsonSchema;
use serde::Deserialize;

/// A set of sockets that speak one protocol.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Listener")]
pub struct ListenerDocument {
    /// Unique name.
    pub name: String,
    /// IP address and port, or a list of them. Port 0 lets the system choose.
    pub address: Addresses,
    /// What is spoken. Default: `http`.
    pub protocol: Option<ListenerProtocol>,
    /// Only requests (with `tls`: connections) for these hosts are served: `shop.example.com` or `*.example.com`; not
    /// with `tcp`. Default: all.
    #[schemars(length(min = 1))]
    pub hostnames: Option<Vec<String>>,
    /// Also serve HTTP/3 on the same port (`https` only). Default: `false`.
    pub http3: Option<bool>,
    /// Networks of proxies in front of the gateway, as `10.0.0.0/8`, or single addresses. From these only, what a request
    /// says of its client (`x-forwarded-*`, `forwarded`) is believed and kept. Default: none.
    pub trusted_proxies: Option<Vec<String>>,
    /// Read PROXY protocol headers. Default: `false`.
    pub proxy_protocol: Option<bool>,
    /// Certificates; needed exactly for the protocols `https` and `tls`.
    pub tls: Option<ListenerTls>,
    /// Run before a route is chosen: plugin names or filters; with `tcp` and `tls` plugins only.
    #[serde(default)]
    pub filters: Vec<ListenerFilter>,
    /// How long a client may take.
    pub timeouts: Option<ListenerTimeoutsDocument>,
    /// How much a client may use.
    pub limits: Option<ListenerLimitsDocument>,
}

/// One address or several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Addresses {
    /// One address.
    One(String),
    /// Several addresses.
    Many(#[schemars(length(min = 1))] Vec<String>),
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ListenerProtocol {
    /// HTTP/1.1 and HTTP/2 in clear text.
    Http,
    /// HTTP/1.1 and HTTP/2 by ALPN, over TLS.
    Https,
    /// Bytes in clear text.
    Tcp,
    /// Bytes over TLS, which ends at the listener.
    Tls,
}

/// A plugin's name, or a filter.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ListenerFilter {
    /// The name of a plugin.
    Plugin(String),
    /// A filter.
    Filter(Box<FilterDocument>),
}

/// How long a client may take.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ListenerTimeouts")]
pub struct ListenerTimeoutsDocument {
    /// TLS handshake. Default: `5s`.
    pub handshake: Option<Timeout>,
    /// A whole request head. Default: `10s`.
    pub headers: Option<Timeout>,
    /// Longest wait for the next byte of a request body. Default: `30s`.
    pub body: Option<Timeout>,
    /// A connection without a request. Default: `60s`.
    pub idle: Option<Timeout>,
}

/// How much a client may use.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "ListenerLimits")]
pub struct ListenerLimitsDocument {
    /// Bytes of a request head. Default: `64KiB`.
    pub header_bytes: Option<ByteSize>,
    /// Header fields of a request. Default: 100.
    #[schemars(range(min = 1, max = 10_000))]
    pub headers: Option<u32>,
    /// Open connections of this listener. Default: 100000.
    #[schemars(range(min = 1))]
    pub connections: Option<u32>,
    /// Concurrent HTTP/2 streams of a connection. Default: 100.
    #[schemars(range(min = 1))]
    pub streams: Option<u32>,
}
