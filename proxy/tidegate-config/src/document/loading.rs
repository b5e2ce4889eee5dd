//! `fetch`, `signature` and `tests` of a plugin: where its module may come from and what it must be before it is used.

use crate::types::Timeout;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How a module from `https://` or `oci://` is fetched.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Fetch")]
pub struct FetchDocument {
    /// When a registry is asked. Default: `always` for the tag `latest`, else `ifNotPresent`.
    pub pull: Option<PullPolicy>,
    /// How often a registry is asked again, with `pull: always`. Default: `5m`.
    pub refresh: Option<Timeout>,
    /// One attempt, all of its requests together. Default: `30s`.
    pub timeout: Option<Timeout>,
    /// PEM file of trusted authorities. Default: the system's authorities.
    pub ca: Option<String>,
    /// Docker configuration file with the registry's credentials. Default: `config.json` in `$DOCKER_CONFIG` or
    /// `~/.docker`, if it is there.
    pub pull_secret: Option<String>,
    /// The registry speaks HTTP without TLS. Default: only where it is on this machine.
    pub plain_http: Option<bool>,
}

/// When a registry is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PullPolicy {
    /// When nothing is known of the reference.
    IfNotPresent,
    /// At the start, at each reload, and from time to time.
    Always,
}

/// Who must have signed a module.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Signature")]
pub struct SignatureDocument {
    /// PEM file of ed25519 public keys; one of them must have signed the module.
    pub key: String,
}

/// A request that a new version must treat as told before it is used.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "PluginTest")]
pub struct PluginTestDocument {
    /// What is sent. Default: `GET /`.
    pub request: Option<TestRequestDocument>,
    /// What must come of it.
    pub expect: ExpectDocument,
}

/// The request of a test.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "TestRequest")]
pub struct TestRequestDocument {
    /// Default: `GET`.
    pub method: Option<String>,
    /// Default: `localhost`.
    pub host: Option<String>,
    /// With a query, if wanted. Default: `/`.
    pub path: Option<String>,
    /// Header fields by name.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Default: none.
    pub body: Option<String>,
}

/// What must come of a test's request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Expect")]
pub struct ExpectDocument {
    /// The plugin answers with this status. Left out: the request goes on.
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// Fields that the answer, or the request that goes on, must have.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Names of fields that it must not have.
    #[serde(default)]
    pub absent: Vec<String>,
    /// A text that must be in its body.
    pub body: Option<String>,
}
