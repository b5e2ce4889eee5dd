//! The filter's configuration as it is written.

use serde::Deserialize;

use crate::handed_on::HandOnDocument;
use crate::headers::HeadersDocument;
use crate::policy::PolicyDocument;
use crate::way::WayDocument;

/// Establishes who sends a request, and decides what they may do.
#[derive(Debug, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// How senders are known, in the order in which they are asked.
    #[serde(default)]
    pub(crate) ways: Vec<WayDocument>,
    /// Whether one way must know the sender (`any`: the first that does counts), or each of them (`all`).
    #[serde(default)]
    pub(crate) combine: Combine,
    /// Lets requests without any credentials pass, as nobody's. Wrong credentials are still refused.
    #[serde(default)]
    pub(crate) anonymous: bool,
    /// What the upstream is told.
    #[serde(default)]
    pub(crate) headers: HeadersDocument,
    /// What the filters behind this one are told of the sender, as keys of rate limits; no client can write it.
    #[serde(default)]
    pub(crate) hand_on: HandOnDocument,
    /// For Envoy, where the plugin has `allow_on_headers_stop_iteration: true`: bodies that a way must see are waited for
    /// before anything of the request goes on, as Tidegate does it in any case. Where Envoy is not told so, requests with
    /// such bodies wait until it gives them up.
    #[serde(default)]
    pub(crate) envoy_holds_heads: bool,
    /// What senders may do; everything when it is left out.
    pub(crate) policy: Option<PolicyDocument>,
}

/// How the ways combine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(not(target_family = "wasm"), derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) enum Combine {
    /// One way must know the sender.
    #[default]
    Any,
    /// Every way must.
    All,
}

/// The JSON Schema of the configuration.
#[cfg(not(target_family = "wasm"))]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Config)
}
