//! The filter's configuration, as it is written and checked.

use serde::Deserialize;
use tidegate_sdk::limit::{Algorithm, Limit};
use tidegate_sdk::units::Span;

use crate::key::Key;
use crate::rate::{self, Rate};

/// The JSON Schema of the configuration.
#[cfg(not(target_family = "wasm"))]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Document)
}

/// What the plugin's `config` holds, checked.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Document")]
pub struct Config {
    /// The limits, in their order.
    pub limits: Vec<Rule>,
    /// Headers of answers.
    pub headers: Headers,
    /// `RateLimit-Policy`, of all limits that refuse.
    pub policy: String,
    /// How a refusal looks.
    pub status: u16,
    /// Its body.
    pub body: String,
    /// An external service.
    pub service: Option<Service>,
    /// Where limits of several gateways are counted.
    pub redis: Option<Store>,
    /// Whether any limit is counted there.
    pub has_global: bool,
    /// Whether responses settle any.
    pub settles: bool,
    /// Whether nothing is left for the response: it is told of nothing, settles nothing, and frees nothing.
    pub ends_with_request: bool,
}

/// A limit with all that belongs to it.
#[derive(Debug)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub limit: Limit,
    /// Who is counted.
    pub key: Key,
    /// What a request takes.
    pub cost: Cost,
    /// It is only watched.
    pub shadow: bool,
    /// A request that lacks a part of the key is not counted.
    pub skips: bool,
    /// It is counted for several gateways together.
    pub global: bool,
}

impl Rule {
    /// Whether it counts what goes on at the same time.
    pub fn is_concurrent(&self) -> bool {
        self.limit.algorithm == Algorithm::Concurrency
    }
}

/// What a request takes of a limit.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(untagged, deny_unknown_fields)]
pub enum Cost {
    /// The same for each.
    Fixed(u64),
    /// What a header of the request says, which another filter should have set.
    Header {
        /// The header.
        header: String,
        /// Units where it is missing or no number. Default: 1.
        #[serde(default = "one")]
        default: u64,
    },
    /// What a header of the response says: the limit is settled afterwards.
    Response {
        /// The header.
        response: String,
        /// Units that are taken before that is known. Default: 1.
        #[serde(default = "one")]
        default: u64,
    },
}

fn one() -> u64 {
    1
}

/// Which headers tell clients of limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Headers {
    /// `RateLimit` and `RateLimit-Policy`.
    #[default]
    Standard,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`, of the limit with the least left.
    Legacy,
    /// Both.
    Both,
    /// `Retry-After` of refusals only.
    None,
}

impl Headers {
    /// Whether the standard ones are wanted.
    pub fn standard(self) -> bool {
        matches!(self, Headers::Standard | Headers::Both)
    }

    /// Whether the older ones are wanted.
    pub fn legacy(self) -> bool {
        matches!(self, Headers::Legacy | Headers::Both)
    }
}

/// A Redis that several gateways have in common. Its clock counts.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Store {
    /// The upstream, by its name; it must have `protocol: redis`.
    pub upstream: String,
    /// What its keys begin with; gateways with the same count together. Default: `tidegate:`.
    pub prefix: Option<String>,
    /// How long to wait for its answer. Default: `100ms`.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    pub timeout: Option<Span>,
    /// What happens to a request when it gives no answer. Default: `local`.
    #[serde(default)]
    pub on_error: OnStoreError,
}

/// What happens to a request when Redis gives no answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum OnStoreError {
    /// Each gateway counts for itself.
    #[default]
    Local,
    /// It passes.
    Allow,
    /// It is refused, with 503.
    Deny,
}

/// What happens to a request when the service gives no answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum OnError {
    /// It passes.
    #[default]
    Allow,
    /// It is refused, with 503.
    Deny,
}

/// An external service that speaks `envoy.service.ratelimit.v3.RateLimitService`.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Service {
    /// The upstream, by its name; it must speak HTTP/2.
    pub upstream: String,
    /// The domain, which names a set of limits to the service.
    pub domain: String,
    /// Lists of entries; a descriptor to which the request has not all entries is left out.
    pub descriptors: Vec<Vec<Descriptor>>,
    /// How long to wait for its answer. Default: `100ms`.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    pub timeout: Option<Span>,
    /// What happens to a request when it gives no answer. Default: `allow`.
    #[serde(default)]
    pub on_error: OnError,
}

/// An entry of a descriptor.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Descriptor {
    /// Its name, as the service knows it.
    pub key: String,
    /// Its value: a part of the request as in `limits[].key`.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "String"))]
    pub value: Key,
}

/// Limits the rate of requests, quotas, and how many requests go on at the same time.
#[derive(Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    /// Limits; a request passes when all of them let it.
    #[serde(default)]
    limits: Vec<LimitDocument>,
    /// An external service that decides as well, after the limits here.
    service: Option<Service>,
    /// Where limits with `global` are counted.
    redis: Option<Store>,
    /// Which headers tell clients of the limits. Default: `standard`.
    #[serde(default)]
    headers: Headers,
    /// The status of a refusal, 400 to 599. Default: 429.
    status: Option<u16>,
    /// The body of a refusal, a line of text. Default: `too many requests`.
    body: Option<String>,
    /// All limits are only watched: what they would refuse is counted, logged, and passes.
    #[serde(default)]
    shadow: bool,
}

/// A limit: either `rate` or `concurrent`.
#[derive(Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[cfg_attr(not(target_family = "wasm"), schemars(rename = "Limit"))]
struct LimitDocument {
    /// Its name in headers, metrics and counts, of letters, figures, `-` and `_`. Each has another one.
    name: String,
    /// `100/s`: never more than that in any second. `1000/min burst 50`: a bucket of 50 that fills by 1000 a minute.
    /// `5000 per day`: a quota of each day (or `hour`) in UTC. Units are `s`, `min`, `h` and `day`, with a number as in
    /// `10s`.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    rate: Option<Rate>,
    /// How many requests may go on at the same time.
    concurrent: Option<u64>,
    /// Who is counted: `address`, `address/24/64` (networks of IPv4 and IPv6), `header:NAME`, `cookie:NAME`, `query:NAME`,
    /// `claim:NAME` and `subject` (which the filter auth hands on), `property:PATH`, `method`, `path`, `path/2` (its first
    /// segments), `host`, `route`, `rule`, `text:ANY`; the first that the request has of several, as
    /// `"subject | address"`; or a list of these, each of whose combinations is counted apart. Left out: all together.
    #[serde(default)]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<KeyParts>"))]
    key: Key,
    /// What a request takes. Default: 1.
    cost: Option<Cost>,
    /// What happens to requests that lack a part of the key. Default: `count`.
    #[serde(default)]
    missing: Missing,
    /// It is only watched.
    #[serde(default)]
    shadow: bool,
    /// It is counted in Redis, for all gateways that use the same one.
    #[serde(default)]
    global: bool,
}

/// A part of the request, or several.
#[cfg(not(target_family = "wasm"))]
#[derive(schemars::JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it exists for its schema; `Key` is what reads")]
enum KeyParts {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

/// What happens to requests that lack a part of a key.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
enum Missing {
    /// They are counted together.
    #[default]
    Count,
    /// The limit does not apply to them.
    Skip,
}

impl TryFrom<Document> for Config {
    type Error = String;

    fn try_from(document: Document) -> Result<Self, String> {
        if document.limits.is_empty() && document.service.is_none() {
            return Err("no limit is listed in limits, and there is no service".to_owned());
        }
        let mut limits: Vec<Rule> = Vec::with_capacity(document.limits.len());
        for (at, written) in document.limits.into_iter().enumerate() {
            let rule = rule(written, document.shadow).map_err(|problem| format!("limits[{at}].{problem}"))?;
            if limits.iter().any(|other| other.name == rule.name) {
                return Err(format!("limits[{at}].name: \"{}\" is the name of an earlier limit", rule.name));
            }
            if rule.global && document.redis.is_none() {
                return Err(format!("limits[{at}].global: there is no redis to count in"));
            }
            limits.push(rule);
        }
        if limits.len() > 16 {
            return Err(format!("limits: {} of them, at most 16 are possible", limits.len()));
        }
        let status = document.status.unwrap_or(429);
        if !(400..=599).contains(&status) {
            return Err(format!("status: {status} is no status of a refusal, 400 to 599"));
        }
        let shown = limits.iter().filter(|rule| !rule.shadow);
        let policy: Vec<_> = shown.map(|rule| rate::policy(&rule.name, &rule.limit)).collect();
        let settles = limits.iter().any(|rule| matches!(rule.cost, Cost::Response { .. }));
        let frees = limits.iter().any(Rule::is_concurrent);
        let tells = document.headers != Headers::None && !policy.is_empty();
        Ok(Config {
            has_global: limits.iter().any(|rule| rule.global),
            settles,
            ends_with_request: !(settles || frees || tells || document.service.is_some()),
            policy: policy.join(", "),
            limits,
            headers: document.headers,
            status,
            body: document.body.unwrap_or_else(|| "too many requests".to_owned()),
            service: document.service,
            redis: document.redis,
        })
    }
}

fn rule(written: LimitDocument, shadow: bool) -> Result<Rule, String> {
    let LimitDocument { name, rate, concurrent, key, cost, missing, shadow: own, global } = written;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
        let name = name.escape_debug();
        return Err(format!("name: \"{name}\" is not a name of 1 to 64 letters, figures, - and _"));
    }
    let limit = match (rate, concurrent) {
        (Some(rate), None) => rate.0,
        (None, Some(units)) if units > 0 => Limit::at_once(units),
        (None, Some(_)) => return Err("concurrent: 0 would refuse every request".to_owned()),
        _ => return Err("rate: a limit has either a rate or concurrent".to_owned()),
    };
    if global && limit.algorithm == Algorithm::Concurrency {
        return Err("global: what goes on at the same time is counted in each gateway only".to_owned());
    }
    let cost = cost.unwrap_or(Cost::Fixed(1));
    match &cost {
        Cost::Fixed(units) if *units > limit.capacity() => {
            let most = limit.capacity();
            return Err(format!("cost: {units} is more than there can be, which is {most}"));
        }
        Cost::Response { .. } if limit.algorithm == Algorithm::Concurrency => {
            return Err("cost: what goes on at the same time cannot be settled by a response".to_owned());
        }
        _ => {}
    }
    Ok(Rule { name, limit, key, cost, shadow: shadow || own, skips: missing == Missing::Skip, global })
}
