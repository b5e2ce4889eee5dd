//! The filter's configuration as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_request_parts::{Claim, Match};
use tidegate_sdk::units::Span;

/// The JSON Schema of the configuration.
#[cfg(not(target_family = "wasm"))]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Config)
}

/// Chooses where requests go: canaries, arms of experiments, switches, languages, tenants; rewrites and redirects.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Paths whose clients are sent elsewhere; the first that fits counts, before all else.
    #[serde(default)]
    pub redirects: Vec<Redirect>,
    /// Paths that are changed before the rules are looked at; the first that fits counts.
    #[serde(default)]
    pub rewrites: Vec<Rewrite>,
    /// The rules, in order; the first one that fits and decides counts.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// Who is told which arm a request was given.
    #[serde(default)]
    pub tell: Tell,
    /// Changes which identity is given which arm, without changing the shares.
    #[serde(default)]
    pub seed: String,
}

/// A redirect.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redirect {
    /// A regular expression that must fit the whole path, without its query.
    pub path: String,
    /// Where to: a path, or a URL of `http` or `https`. `$1` and `${name}` stand for what groups have captured; Tidegate
    /// reads `${…}` itself, so write `$${name}` there.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "permanent")]
    pub status: u16,
    /// Whether the query goes along.
    #[serde(default = "yes")]
    pub keep_query: bool,
}

/// A rewrite.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rewrite {
    /// A regular expression that must fit the whole path, without its query.
    pub path: String,
    /// The new path. `$1` and `${name}` stand for what groups have captured; Tidegate reads `${…}` itself, so write
    /// `$${name}` there.
    pub to: String,
    /// Whether the query stays.
    #[serde(default = "yes")]
    pub keep_query: bool,
}

/// A rule: one of `to`, `split`, `values`, `language`, `switch` and `table`.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Its name, for metrics and other filters: letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// Which requests it is about; without it, all.
    pub r#match: Option<Match<Pattern>>,
    /// Always the same.
    pub to: Option<To>,
    /// By chance, or by an identity: canaries and experiments.
    pub split: Option<Split>,
    /// By a value of the request.
    pub values: Option<Values>,
    /// By `accept-language`.
    pub language: Option<Language>,
    /// By a flag that is the same on all workers.
    pub switch: Option<Switch>,
    /// By a table.
    pub table: Option<Table>,
}

/// A regular expression that must fit the whole path, without its query.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Pattern(pub String);

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum To {
    /// An upstream of the gateway, by its name; in Tidegate only.
    Upstream(String),
    /// A rule of the gateway: `ROUTE/RULE`, the first one of `ROUTE`, or the only `RULE` of that name; in Tidegate only.
    Route(String),
    /// A header by which a route of the gateway is chosen, in every host.
    Header(SetHeader),
}

/// A header that is set.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A value of the request.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A header, as one that a filter for authentication has set from a claim.
    Header(String),
    /// A cookie.
    Cookie(String),
    /// A key of the query.
    Query(String),
    /// A property of the gateway, as `filter_state.tenant` or `connection.requested_server_name`.
    Property(String),
    /// A claim of the sender's that the filter auth hands on, as `org.tenant`.
    Claim(#[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))] Claim),
    /// The sender's name, which the filter auth hands on.
    Subject,
    /// A segment of the path, from 0.
    Segment(usize),
    /// The host, in lower case, without its port.
    Host,
    /// The first label of the host.
    Subdomain,
    /// The client's address.
    Address,
}

/// A choice among arms by weight.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Split {
    /// The arms.
    pub arms: Vec<Arm>,
    /// An identity: the same one is given the same arm, on every worker and gateway. A request without it is given one by
    /// chance.
    pub by: Option<Source>,
    /// A cookie in which the client keeps its arm. It counts before `by`.
    pub cookie: Option<Cookie>,
}

/// An arm.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Arm {
    /// Its name: letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// Its share of the sum of weights. An arm of 0 is given to nobody, cookies that name it included.
    #[serde(default = "one")]
    pub weight: u32,
    /// Where its requests go; without it, where they would go without this filter.
    pub to: Option<To>,
}

/// A cookie that the filter sets.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cookie {
    /// Its name.
    pub name: String,
    /// How long clients keep it.
    #[serde(default = "month")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String", default = "month_text"))]
    pub max_age: Span,
    /// Whether clients send it over TLS only.
    #[serde(default)]
    pub secure: bool,
}

/// A choice by a value: each one that is listed is an arm of its own.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Values {
    /// Which value.
    pub from: Source,
    /// Where requests go, by value.
    pub arms: BTreeMap<String, To>,
    /// Where others go; without it the next rule decides.
    pub default: Option<To>,
}

/// A choice by the languages that a client prefers: each one that is listed is an arm of its own.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Language {
    /// Where requests go, by language: `de` fits `de-AT` as well, `de-AT` fits before it.
    pub arms: BTreeMap<String, To>,
    /// Where others go; without it the next rule decides.
    pub default: Option<To>,
}

/// A switch between arms. Its state is kept by the gateway's process.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Switch {
    /// Where requests go, by the state of the switch, as `blue` and `green`.
    pub arms: BTreeMap<String, To>,
    /// The state as long as nobody has switched.
    pub initial: String,
    /// How it is switched; without it, by other rules with a switch of that name.
    pub control: Option<Control>,
}

/// A path of the filter itself: `GET` shows the state, `POST` with `?to=ARM` changes it.
#[derive(Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Control {
    /// The path.
    pub path: String,
    /// What `authorization: Bearer` must have, at least 16 bytes; as `${env:SWITCH_TOKEN}`.
    pub token: String,
}

/// A table from a value of the request to the name of an upstream or a rule: one of `entries`, `text` and `http`.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Table {
    /// Which value.
    pub from: Source,
    /// What the table's values name.
    #[serde(default)]
    pub names: Names,
    /// The table.
    pub entries: Option<BTreeMap<String, String>>,
    /// The table as text, one entry a line: the value, blanks, the name. What follows a `#` is left out. As
    /// `${file:tenants.txt}`, which is watched.
    pub text: Option<String>,
    /// The table as a JSON object that a server gives.
    pub http: Option<Http>,
    /// Where requests go whose value is not in the table; without it the next rule decides.
    pub default: Option<To>,
}

/// What names mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, serde::Serialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Names {
    /// An upstream.
    #[default]
    Upstream,
    /// A rule.
    Route,
}

/// A table that a server gives.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Http {
    /// The server's upstream, which the plugin must be allowed to call.
    pub upstream: String,
    /// The path.
    pub path: String,
    /// How often it is fetched again. Until that succeeds the last good one counts.
    #[serde(default = "half_a_minute")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String", default = "half_a_minute_text"))]
    pub refresh: Span,
    /// How long the server may take.
    #[serde(default = "five_seconds")]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String", default = "five_seconds_text"))]
    pub timeout: Span,
}

/// Who is told which arm a request was given.
#[derive(Debug, Clone, Default, Deserialize, serde::Serialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tell {
    /// A header of the request for the upstream. What a client wrote there is removed.
    pub upstream: Option<String>,
    /// A header of the response for the client.
    pub client: Option<String>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("path", &self.path).finish_non_exhaustive()
    }
}

fn permanent() -> u16 {
    308
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

fn month() -> Span {
    Span::seconds(30 * 24 * 3600)
}

fn half_a_minute() -> Span {
    Span::seconds(30)
}

fn five_seconds() -> Span {
    Span::seconds(5)
}

#[cfg(not(target_family = "wasm"))]
fn month_text() -> String {
    month().to_string()
}

#[cfg(not(target_family = "wasm"))]
fn half_a_minute_text() -> String {
    half_a_minute().to_string()
}

#[cfg(not(target_family = "wasm"))]
fn five_seconds_text() -> String {
    five_seconds().to_string()
}
