//! What the gateway as a whole may use.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::types::Memory;

/// What the gateway as a whole may use.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Limits")]
pub struct LimitsDocument {
    /// Resident memory above which new requests are refused. Default: 95% of what the process may use.
    pub memory: Option<Memory>,
}
