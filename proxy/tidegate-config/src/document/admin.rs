//! `admin`: the admin API.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{ListenerTls, LogRedactDocument, UpstreamTls};

/// The admin API with its dashboard.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Admin")]
pub struct AdminDocument {
    /// IP address and port to listen on, for instance `127.0.0.1:9900`. Left out: only `socket`.
    pub address: Option<String>,
    /// Serves `address` by TLS, as listeners do: with `clientAuth` who has no certificate is refused, or with the mode `optional`
    /// needs the token. The socket is not concerned. Default: clear text.
    pub tls: Option<ListenerTls>,
    /// Unix socket to listen on; only the gateway's user and group may connect. Left out: none.
    pub socket: Option<String>,
    /// What clients send as `Authorization: Bearer TOKEN`, at least 16 characters: `${file:…}` or `${env:NAME}` keeps it
    /// out of the document. `/healthz` and `/readyz` need none. Default: whoever reaches the API may use it.
    #[schemars(length(min = 16))]
    pub token: Option<String>,
    /// What this gateway is called beside others. Default: the machine's name.
    #[schemars(length(min = 1, max = 64))]
    pub name: Option<String>,
    /// Another gateway's admin API that is told every two seconds what this one counts, so that its dashboard shows both.
    /// Default: none.
    pub push: Option<PushDocument>,
    /// Plugins, or VM ids of plugins, whose shared data can be read and set by it. Default: none.
    #[serde(default)]
    pub shared_data: Vec<String>,
    /// Whether releases and canaries can be paused, promoted and rolled back by it. Default: `false`.
    pub steer_releases: Option<bool>,
    /// Whether it can set log levels, take CPU profiles, reload the configuration and end the process. Default: `false`.
    pub operate: Option<bool>,
    /// What `/tap` may show of live requests. Default: all but bodies, and what access logs take out.
    pub tap: Option<TapDocument>,
}

/// What taps may show.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Tap")]
pub struct TapDocument {
    /// Whether the first bytes of bodies may be asked for. Default: `false`.
    pub bodies: Option<bool>,
    /// What is taken out besides: what any access log takes out, and `authorization`, `proxy-authorization`, `cookie` and
    /// `set-cookie`, is never shown. Default: nothing.
    pub redact: Option<LogRedactDocument>,
}

/// Where a gateway pushes what it counts.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Push")]
pub struct PushDocument {
    /// The other's admin API, such as `http://10.0.0.7:9900`.
    pub url: String,
    /// The other's token. Default: it wants none.
    pub token: Option<String>,
    /// How an `https` address is asked: whom to trust, and this gateway's own certificate, where the other one wants it.
    pub tls: Option<UpstreamTls>,
}
