//! What runs: the immutable form of a plan together with what it names. Workers share it; requests keep it to their end.

pub(crate) mod build;
mod collectors;
pub(crate) mod destinations;
pub(crate) mod logs;
mod mirrors;
mod plugin;
mod pushes;
mod rollouts;
mod sessions;
mod targets;
pub(crate) mod tls;
pub(crate) mod traces;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::uri::Scheme;
use http::{HeaderMap, StatusCode};
use rustls::ServerConfig;
use tidegate_config::plan::{self, Plan};

use crate::filter::chain::Step;
use crate::filter::entry::Plugin;
use crate::http::reply::Reply;
use crate::route::{RouteTable, StreamTable};
use crate::shared::{ListenerCounters, Rollout, RouteCounters};
use crate::telemetry::recorder::RecordSink;
use crate::upstream::cluster::Cluster;
use crate::upstream::server::Server;
use crate::upstream::session::OwnKey;
use logs::Logs;
use traces::Tracing;

pub use build::BuildError;
pub(crate) use mirrors::Mirror;
pub use plugin::plugin_spec;
pub use pushes::MetricsPush;
pub(crate) use rollouts::Canary;
pub(crate) use targets::Targets;

/// What the plan names, fetched.
#[derive(Default)]
pub struct Assets {
    /// Certificates, keys and authorities by the path in the plan.
    pub files: HashMap<PathBuf, Arc<[u8]>>,
    /// Plugins by [`plan::Plugin::key`]. One that is not here could not be loaded: its routes follow `onFailure.load`.
    pub plugins: HashMap<String, Arc<tidegate_wasm::Plugin>>,
    /// Addresses by [`plan::Server::address`].
    pub addresses: HashMap<String, Vec<SocketAddr>>,
    /// Where all requests of all plugins are recorded, whatever the plan says; none: as the plan says.
    pub records: Option<RecordSink>,
}

/// A configuration that can be served. Immutable; see [`crate::Gateway::publish`].
pub struct Snapshot {
    pub(crate) plan: Plan,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) clusters: Vec<Arc<Cluster>>,
    /// The servers that the plan has for each of them.
    pub(crate) servers: Vec<Vec<Server>>,
    pub(crate) plugins: Vec<Plugin>,
    /// Other versions by plugin; empty where no plugin has one.
    pub(crate) canaries: Vec<Option<Canary>>,
    /// New versions that are on their way, each once.
    pub(crate) rollouts: Vec<Arc<Rollout>>,
    pub(crate) logs: Logs,
    /// What sessions without a key of their own are sealed with, from the first snapshot on.
    session_key: OwnKey,
    pub(crate) tracing: Option<Tracing>,
    pub(crate) push: Option<MetricsPush>,
}

impl Snapshot {
    /// The plan that it was built from.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where metrics are to be pushed to.
    pub fn metrics_push(&self) -> Option<&MetricsPush> {
        self.push.as_ref()
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// A listener; its number is that of the plan.
pub(crate) struct Listener {
    /// As it was written.
    pub(crate) spec: plan::Listener,
    /// Its routes.
    pub(crate) routes: RouteTable,
    /// Its routes for connections; present for tcp and tls.
    pub(crate) streams: Option<StreamTable>,
    /// Present for https and tls.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// What the TLS side was made of: when it is the same again, so is the side, with the sessions of its clients.
    pub(crate) made_of: Vec<Arc<[u8]>>,
    /// Which certificate is for which name.
    pub(crate) names: Option<Arc<tls::ByName>>,
    /// Run before a route is chosen.
    pub(crate) steps: Vec<Step>,
    pub(crate) counters: Arc<ListenerCounters>,
}

/// A rule; its number is the dense one of the route table.
pub(crate) struct Rule {
    /// The route's name and its own, for logs.
    pub(crate) route: Arc<str>,
    pub(crate) name: Arc<str>,
    /// Filters in request order.
    pub(crate) steps: Vec<Step>,
    /// What is done.
    pub(crate) action: Action,
    /// Time limits.
    pub(crate) timeouts: plan::RuleTimeouts,
    /// When to try again.
    pub(crate) retries: plan::Retries,
    /// Where its requests are copied to.
    pub(crate) mirrors: Vec<Arc<Mirror>>,
    /// What the metrics show of the route.
    pub(crate) counters: Arc<RouteCounters>,
}

/// What a rule does.
pub(crate) enum Action {
    /// To one of these by weight.
    Forward(Targets),
    /// Elsewhere.
    Redirect(Redirect),
    /// A fixed answer.
    Respond { status: StatusCode, headers: HeaderMap, body: bytes::Bytes },
}

impl Action {
    /// The upstream of all requests, if there is but one.
    pub(crate) fn upstream(&self) -> Option<plan::UpstreamIndex> {
        match self {
            Self::Forward(targets) => targets.only(),
            Self::Redirect(_) | Self::Respond { .. } => None,
        }
    }

    /// The answer of [`Action::Respond`].
    pub(crate) fn fixed(status: StatusCode, headers: &HeaderMap, body: &bytes::Bytes) -> Reply {
        Reply { status, headers: headers.clone(), body: body.clone(), details: String::new() }
    }
}

/// A redirect with its fixed parts checked.
pub(crate) struct Redirect {
    pub(crate) scheme: Option<Scheme>,
    pub(crate) hostname: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) path: Option<plan::PathRewrite>,
    pub(crate) status: StatusCode,
}
