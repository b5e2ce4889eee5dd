//! `routes`: which requests there are and what is done with them.

use super::{
    MirrorEntry, PluginLimitsDocument, ReleaseDocument, RetriesDocument, RuleTimeoutsDocument,
    SessionDocument, StickyEntry,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Rules for a set of hosts on a set of listeners.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Route")]
pub struct RouteDocument {
    /// Unique name.
    pub name: String,
    /// Names of listeners, either HTTP or `tcp` and `tls`. Default: all HTTP listeners.
    #[schemars(length(min = 1))]
    pub listeners: Option<Vec<String>>,
    /// Hosts that the route is for: `shop.example.com` or `*.example.com`. Default: all hosts of the listeners.
    #[schemars(length(min = 1))]
    pub hostnames: Option<Vec<String>>,
    /// What is done with which requests. On listeners that speak `tcp` or `tls` one rule, which forwards.
    #[schemars(length(min = 1))]
    pub rules: Vec<RuleDocument>,
}

/// Matches, filters and what is done with a request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(
    rename = "Rule",
    extend(
        "oneOf" = [{ "required": ["forward"] }, { "required": ["redirect"] }, { "required": ["respond"] }],
        "dependentRequired" = {
            "stickyBy": ["forward"], "session": ["forward"], "release": ["forward"], "mirror": ["forward"]
        }
    )
)]
pub struct RuleDocument {
    /// Unique in the route. Default: the rule's index.
    pub name: Option<String>,
    /// Any of these; inside one, all of it. Default: all requests.
    #[schemars(length(min = 1))]
    pub matches: Option<Vec<MatchDocument>>,
    /// In order; the response passes them in reverse.
    #[serde(default)]
    pub filters: Vec<FilterDocument>,
    /// Sends the request to one of these upstreams, by weight.
    #[schemars(length(min = 1))]
    pub forward: Option<Vec<ForwardDocument>>,
    /// What keeps a client with one of the upstreams. Default: nothing.
    pub sticky_by: Option<StickyEntry>,
    /// Requests of one client stay at one server, whatever its upstream says. Left out: as the upstream says.
    pub session: Option<SessionDocument>,
    /// One of the upstreams takes over step by step.
    pub release: Option<ReleaseDocument>,
    /// Sends the client elsewhere.
    pub redirect: Option<RedirectDocument>,
    /// Answers at once.
    pub respond: Option<RespondDocument>,
    /// Time limits.
    pub timeouts: Option<RuleTimeoutsDocument>,
    /// When and how often an attempt is repeated.
    pub retries: Option<RetriesDocument>,
    /// Copies requests to other upstreams, whose answers nobody gets.
    pub mirror: Option<MirrorEntry>,
}

/// Conditions that hold together.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Match")]
pub struct MatchDocument {
    /// On the path. Default: all paths.
    pub path: Option<PathMatch>,
    /// The method. Default: all methods.
    pub method: Option<String>,
    /// Header values by name.
    #[serde(default)]
    pub headers: BTreeMap<String, ValueMatch>,
    /// Query parameters by name.
    #[serde(default)]
    pub query: BTreeMap<String, ValueMatch>,
}

/// How a path is matched.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["exact"] }, { "required": ["prefix"] }, { "required": ["regex"] }]))]
pub struct PathMatch {
    /// The whole path.
    pub exact: Option<String>,
    /// Whole segments at the beginning: `/orders` matches `/orders` and `/orders/7`, not `/orders7`.
    pub prefix: Option<String>,
    /// A regular expression over the whole path.
    pub regex: Option<String>,
}

/// How a value is matched: exactly, or by a regular expression.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ValueMatch {
    /// The whole value.
    Exact(String),
    /// A regular expression over the whole value.
    Regex(RegexMatch),
}

/// A regular expression.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegexMatch {
    /// The expression; it has to fit the whole value.
    pub regex: String,
}

/// One step that a request passes.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(
    rename = "Filter",
    extend(
        "oneOf" = [
            { "required": ["plugin"] },
            { "required": ["requestHeaders"] },
            { "required": ["responseHeaders"] },
            { "required": ["rewrite"] }
        ],
        "dependentRequired" = { "config": ["plugin"], "limits": ["plugin"] }
    )
)]
pub struct FilterDocument {
    /// The name of a plugin.
    pub plugin: Option<String>,
    /// Replaces the plugin's configuration here.
    #[serde(default)]
    pub config: Option<serde_json::Value>,
    /// Narrows the plugin's limits here.
    pub limits: Option<PluginLimitsDocument>,
    /// Changes the request's headers.
    pub request_headers: Option<HeaderChangesDocument>,
    /// Changes the response's headers.
    pub response_headers: Option<HeaderChangesDocument>,
    /// Changes host and path.
    pub rewrite: Option<RewriteDocument>,
}

/// Header changes: set, then add, then remove.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "HeaderChanges")]
pub struct HeaderChangesDocument {
    /// Replaces all values of a header.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Adds a value to a header.
    #[serde(default)]
    pub add: BTreeMap<String, String>,
    /// Removes a header.
    #[serde(default)]
    pub remove: Vec<String>,
}

/// Changes of host and path on the way upstream.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Rewrite", extend("anyOf" = [{ "required": ["hostname"] }, { "required": ["path"] }]))]
pub struct RewriteDocument {
    /// The new host.
    pub hostname: Option<String>,
    /// The new path.
    pub path: Option<PathRewriteDocument>,
}

/// What becomes of the path.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "PathRewrite", extend("oneOf" = [{ "required": ["full"] }, { "required": ["prefix"] }]))]
pub struct PathRewriteDocument {
    /// Replaces the whole path; the query stays.
    pub full: Option<String>,
    /// Replaces the prefix that the rule matched.
    pub prefix: Option<String>,
}

/// An upstream and its share.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Forward")]
pub struct ForwardDocument {
    /// Name of the upstream.
    pub upstream: String,
    /// Only to servers with these labels. Default: to all.
    #[schemars(extend("minProperties" = 1))]
    pub subset: Option<BTreeMap<String, String>>,
    /// Its share of requests is this over the sum of all. Default: 1.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub weight: Option<u32>,
}

/// A redirect; what is not given stays as it was in the request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(
    rename = "Redirect",
    extend(
        "anyOf" = [
            { "required": ["scheme"] },
            { "required": ["hostname"] },
            { "required": ["port"] },
            { "required": ["path"] }
        ]
    )
)]
pub struct RedirectDocument {
    /// The scheme.
    pub scheme: Option<RedirectScheme>,
    /// The host.
    pub hostname: Option<String>,
    /// The port.
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<u16>,
    /// The path.
    pub path: Option<PathRewriteDocument>,
    /// 301, 302, 303, 307 or 308. Default: 302.
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub status: Option<u16>,
}

/// The scheme of a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RedirectScheme {
    /// Clear text.
    Http,
    /// TLS.
    Https,
}

/// A fixed answer.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Respond")]
pub struct RespondDocument {
    /// 200 to 599. Default: 200.
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// Headers of the answer.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Body of the answer. Default: empty.
    pub body: Option<String>,
}
