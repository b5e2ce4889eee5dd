//! `plugins.NAME.record`: requests of a plugin that are kept, to be told to another version of it.

use crate::types::ByteSize;
use schemars::JsonSchema;
use serde::Deserialize;

/// Which requests of a plugin are recorded, and where.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Record")]
pub struct RecordingDocument {
    /// The file; one JSON object for each request.
    pub path: String,
    /// Which requests. Default: `failing`.
    pub requests: Option<RecordedRequests>,
    /// How many of them, in percent. Default: 100.
    #[schemars(range(min = 0, max = 100))]
    pub percent: Option<f64>,
    /// Size at which the file is renamed to `FILE.1` and begun anew. Default: `64MiB`.
    pub size: Option<ByteSize>,
    /// What is taken out before anything is written.
    pub redact: Option<RedactDocument>,
}

/// Which requests are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RecordedRequests {
    /// Those whose answer has a status of 500 or more, and those that the plugin broke off.
    Failing,
    /// All.
    All,
}

/// What is taken out of records.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Redact")]
pub struct RedactDocument {
    /// Names of fields whose values are taken out; `x-*` stands for all that begin with `x-`. Default:
    /// `authorization`, `proxy-authorization`, `cookie` and `set-cookie`.
    pub headers: Option<Vec<String>>,
    /// Whether bodies are taken out, but for their length. Default: `true`.
    pub bodies: Option<bool>,
}
