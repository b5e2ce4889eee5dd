//! The filter's configuration as it is written.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use tidegate_sdk::ConfigError;
use tidegate_sdk::units::{self, Size};

/// The JSON Schema of the configuration.
#[cfg(not(target_family = "wasm"))]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Config)
}

/// Changes headers, query parameters and JSON bodies by rules.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Rules for requests; all that fit are carried out, in order.
    #[serde(default)]
    pub request: Vec<RequestRule>,
    /// Rules for responses; all that fit are carried out, in order.
    #[serde(default)]
    pub response: Vec<ResponseRule>,
    /// The largest body that is changed; 512KiB if nothing is said, or half of the plugin's `limits.heldBody` where that is
    /// less. At most three quarters of `limits.heldBody`, which is 1MiB if nothing is said: what comes above `maxBody` has to
    /// be held too until it is seen.
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "Option<String>"))]
    pub max_body: Option<Size>,
    /// What happens to larger bodies: `refuse` answers 413 for a request, 502 for a response; `pass` leaves them as they are.
    #[serde(default)]
    pub on_too_large: Otherwise,
    /// What happens to bodies that say they are JSON and are not: `refuse` answers 400 or 502; `pass` leaves them.
    #[serde(default)]
    pub on_invalid: Otherwise,
    /// What happens to compressed bodies (`content-encoding`), which are never changed: `refuse` answers 415 or 502; `pass`
    /// leaves them.
    #[serde(default)]
    pub on_encoded: Otherwise,
}

/// A rule for requests.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestRule {
    /// Which requests; without it all.
    #[serde(default)]
    pub when: RequestWhen,
    /// Changes of headers.
    #[serde(default)]
    pub headers: Headers,
    /// Changes of query parameters.
    #[serde(default)]
    pub query: Query,
    /// Changes of a JSON body.
    #[serde(default)]
    pub body: Body,
}

/// A rule for responses.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResponseRule {
    /// Which responses; without it all.
    #[serde(default)]
    pub when: ResponseWhen,
    /// Changes of headers.
    #[serde(default)]
    pub headers: Headers,
    /// Changes of a JSON body.
    #[serde(default)]
    pub body: Body,
}

/// Conditions of a rule for requests; all that are given must hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestWhen {
    /// One of these methods.
    #[serde(default)]
    pub methods: Vec<String>,
    /// The path without its query.
    pub path: Option<Path>,
    /// One of these types, without parameters, as `application/json`; `*` for all after a slash.
    #[serde(default)]
    pub content_type: Vec<String>,
}

/// Conditions of a rule for responses; all that are given must hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResponseWhen {
    /// One of these methods, of the request.
    #[serde(default)]
    pub methods: Vec<String>,
    /// The request's path without its query, as it came.
    pub path: Option<Path>,
    /// One of these types, without parameters, as `application/json`; `*` for all after a slash.
    #[serde(default)]
    pub content_type: Vec<String>,
    /// One of these: `404`, or `5xx` for all that begin so.
    #[serde(default)]
    pub status: Vec<Status>,
}

/// A status, or the first figure of several.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "expected a status as 404, or \"5xx\"")]
pub enum Status {
    /// One.
    One(u16),
    /// All that begin so, as `5xx`; or one.
    Class(String),
}

/// Which paths.
#[derive(Debug, Clone, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Path {
    /// Exactly this.
    Exact(String),
    /// This, and all below: `/a` has `/a` and `/a/b`, not `/ab`.
    Prefix(String),
    /// A regular expression that the whole path must match; templates can name its groups, `{path.1}` or `{path.id}`.
    Regex(String),
}

/// Changes of headers, carried out in this order: `copy`, `rename`, `remove`, `set`, `add`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Headers {
    /// From one name to another, all values, in place of what is there.
    #[serde(default)]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "std::collections::BTreeMap<String, String>"))]
    pub copy: Pairs<String>,
    /// From one name to another; the first is gone then.
    #[serde(default)]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "std::collections::BTreeMap<String, String>"))]
    pub rename: Pairs<String>,
    /// Taken out.
    #[serde(default)]
    pub remove: Vec<String>,
    /// One value, a template, in place of all.
    #[serde(default)]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "std::collections::BTreeMap<String, String>"))]
    pub set: Pairs<String>,
    /// A value more, a template.
    #[serde(default)]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "std::collections::BTreeMap<String, String>"))]
    pub add: Pairs<String>,
}

/// Changes of query parameters: `remove` before `set`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Query {
    /// Taken out, by decoded names.
    #[serde(default)]
    pub remove: Vec<String>,
    /// One value, a template, in place of all; it is written percent-encoded.
    #[serde(default)]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "std::collections::BTreeMap<String, String>"))]
    pub set: Pairs<String>,
}

/// Changes of a JSON body, by JSON Pointer, carried out in this order: `rename`, `remove`, `set`.
#[derive(Debug, Clone, Default, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Body {
    /// From one place to another, in place of what is there.
    #[serde(default)]
    #[cfg_attr(not(target_family = "wasm"), schemars(with = "std::collections::BTreeMap<String, String>"))]
    pub rename: Pairs<String>,
    /// Taken out.
    #[serde(default)]
    pub remove: Vec<String>,
    /// A string is a template; everything else is the value itself. A template that is one place with `:json` in it, as
    /// `{query.page:json}`, gives a number, truth value or null.
    #[serde(default)]
    #[cfg_attr(
        not(target_family = "wasm"),
        schemars(with = "std::collections::BTreeMap<String, serde_json::Value>")
    )]
    pub set: Pairs<serde_json::Value>,
}

impl Body {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.rename.0.is_empty() && self.remove.is_empty() && self.set.0.is_empty()
    }
}

/// What happens to a body that cannot be changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Otherwise {
    /// The message is refused.
    #[default]
    Refuse,
    /// It passes as it is.
    Pass,
}

/// Keys and values in the order in which they are written.
#[derive(Debug, Clone)]
pub struct Pairs<V>(pub Vec<(String, V)>);

impl<V> Default for Pairs<V> {
    fn default() -> Self {
        Pairs(Vec::new())
    }
}

impl<V> Serialize for Pairs<V> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(std::iter::empty::<(&str, &str)>())
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_map(PairsVisitor(PhantomData))
    }
}

struct PairsVisitor<V>(PhantomData<V>);

impl<'de, V: Deserialize<'de>> Visitor<'de> for PairsVisitor<V> {
    type Value = Pairs<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names with values")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<V>, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(Pairs(pairs))
    }
}

/// The largest body that is changed, where the gateway holds `held` bytes; other hosts do not tell.
///
/// # Errors
/// What is wrong with what was asked for.
pub fn max_body(asked: Option<Size>, held: Option<usize>) -> Result<usize, ConfigError> {
    let Some(asked) = asked else { return Ok(held.map_or(MAX_BODY, |held| MAX_BODY.min(held / 2))) };
    let Some(held) = held.filter(|held| asked.0 > held / 4 * 3) else { return Ok(asked.0) };
    let most = Size(held / 4 * 3);
    let held = Size(held);
    Err(ConfigError::at(
        "maxBody",
        format!(
            "{asked} is more than {most}, three quarters of the {held} that `limits.heldBody` of the plugin allows"
        ),
    ))
}

/// Bytes of a body that is changed if nothing is said.
const MAX_BODY: usize = 512 << 10;

/// A header's name in lower case, if the filter may touch it.
pub fn header_name(name: &str) -> Result<String, String> {
    let name = units::header_name(name)?;
    match GATEWAYS.contains(&name.as_str()) {
        true => Err(format!(
            "\"{name}\" is of one connection only, or says where a message ends; the gateway writes it"
        )),
        false => Ok(name),
    }
}

/// Headers that belong to the gateway.
const GATEWAYS: [&str; 9] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
