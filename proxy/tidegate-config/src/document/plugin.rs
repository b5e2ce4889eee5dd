//! `plugins`: Wasm modules, what they are configured with and what they may use.

use super::{CanaryDocument, FetchDocument, PluginTestDocument, RecordingDocument, SignatureDocument};
use crate::types::{ByteSize, Timeout};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A Wasm module with its configuration.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Plugin")]
pub struct PluginDocument {
    /// A file, which is watched, `builtin:NAME`, `https://…` or `oci://…`.
    pub module: String,
    /// Digest that the module must have, in hexadecimal.
    pub sha256: Option<String>,
    /// How a module from `https://` or `oci://` is fetched.
    pub fetch: Option<FetchDocument>,
    /// Who must have signed the module. Left out: nobody.
    pub signature: Option<SignatureDocument>,
    /// Requests that a new version must treat as told before it is used.
    #[serde(default)]
    pub tests: Vec<PluginTestDocument>,
    /// Handed to the module as JSON; text is handed over as it is.
    #[serde(default)]
    pub config: Option<serde_json::Value>,
    /// Which of the module's root contexts is meant, where it registers several. Default: the one without a name.
    #[serde(default)]
    pub root_id: String,
    /// Plugins with the same one share their data by key, and a plugin of that name shares it with them. Default: its own.
    #[serde(default)]
    pub vm_id: String,
    /// What the module reads when its VM starts, like `config`.
    #[serde(default)]
    pub vm_config: Option<serde_json::Value>,
    /// Environment variables that the module sees.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// How many requests share an instance. Default: `worker`.
    pub isolation: Option<Isolation>,
    /// One instance in the process that works without requests: by ticks, queues and calls. Default: `false`.
    pub background: Option<bool>,
    /// What becomes of a body while the plugin holds the headers before it. Default: `continueBody`.
    pub on_headers_pause: Option<HeadersPause>,
    /// What happens to requests when the plugin cannot do its work. Default: `closed`.
    pub on_failure: Option<FailurePolicy>,
    /// What the module may use.
    pub limits: Option<PluginLimitsDocument>,
    /// What the module may reach. Default: nothing.
    pub capabilities: Option<Capabilities>,
    /// Requests that are kept in a file, for `tidegate filter replay`. Left out: none.
    pub record: Option<RecordingDocument>,
    /// Another version for a share of the requests. Left out: none.
    pub canary: Option<CanaryDocument>,
}

/// How many requests share an instance of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Isolation {
    /// All of a worker.
    Worker,
    /// All of a connection.
    Connection,
    /// None.
    Request,
}

/// What becomes of a body whose headers a plugin has paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HeadersPause {
    /// It goes on to the plugin, which may let all go by its callback for bodies.
    ContinueBody,
    /// Body and trailers wait until the plugin continues.
    StopAll,
}

/// One mode for all failures, or one for each kind.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FailurePolicy {
    /// The same for all kinds.
    All(FailureMode),
    /// By kind.
    ByKind(FailureModes),
}

/// What a failure means for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FailureMode {
    /// The request is refused.
    Closed,
    /// The request goes on without the plugin.
    Open,
}

/// Failure modes by kind of failure.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FailureModes {
    /// The module has never come up. Default: `closed`.
    pub load: Option<FailureMode>,
    /// The module broke off. Default: `closed`.
    pub trap: Option<FailureMode>,
    /// The module used up its time. Default: `closed`.
    pub timeout: Option<FailureMode>,
    /// The module broke off because it may not have more memory. Default: as `trap`.
    pub memory: Option<FailureMode>,
}

/// Limits of a module.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "PluginLimits")]
pub struct PluginLimitsDocument {
    /// One call into the module. Default: `20ms`.
    pub call_time: Option<Timeout>,
    /// All calls of one request together. Default: `100ms`.
    pub request_time: Option<Timeout>,
    /// Memory of an instance. Default: `32MiB`.
    pub memory: Option<ByteSize>,
    /// Instances at one time in the whole gateway, where `isolation` is not `worker`. Default: 1000.
    #[schemars(range(min = 1, max = 4096))]
    pub instances: Option<u32>,
    /// Calls of host functions in one call into the module. Default: no limit.
    #[schemars(range(min = 1))]
    pub call_host_calls: Option<u64>,
    /// Calls of host functions in all calls of one request together. Default: no limit.
    #[schemars(range(min = 1))]
    pub request_host_calls: Option<u64>,
    /// Bytes copied into the module and out of it for one request. Default: no limit.
    pub copied_bytes: Option<ByteSize>,
    /// HTTP and gRPC calls of an instance that are not over. Default: 1024.
    #[schemars(range(min = 0, max = 65536))]
    pub open_calls: Option<u32>,
    /// Lines that an instance may log in a second. Default: 1000.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub log_lines: Option<u32>,
    /// Bytes of one body that the module may hold back. Default: `1MiB`.
    pub held_body: Option<ByteSize>,
    /// A worker's instance with more memory than this is replaced. Default: three quarters of `memory`.
    pub rebuild_above: Option<ByteSize>,
}

/// What a module may reach and do. What is not named here is as the defaults say.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Capabilities {
    /// Names of upstreams that the module may call. Default: none.
    #[serde(default)]
    pub upstreams: Vec<String>,
    /// Host functions that the module may call (`proxy_log`, `proxy_get_*`). Default: all.
    pub functions: Option<Vec<String>>,
    /// Fields of requests, pseudo fields (`:path`) and trailers included.
    pub request_headers: Option<FieldAccessDocument>,
    /// Fields of responses, likewise.
    pub response_headers: Option<FieldAccessDocument>,
    /// Bodies of requests. Default: `write`.
    pub request_body: Option<BodyAccessDocument>,
    /// Bodies of responses. Default: `write`.
    pub response_body: Option<BodyAccessDocument>,
    /// Names of upstreams to which the module may send requests. Default: all.
    pub forward_to: Option<Vec<String>>,
    /// Names by which the module may choose a request's route: `ROUTE`, `ROUTE/RULE` or `RULE`. Default: all.
    pub route_to: Option<Vec<String>>,
}

/// Names of fields; `x-*` stands for all that begin with `x-`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "FieldAccess")]
pub struct FieldAccessDocument {
    /// Those that the module sees. Default: all.
    pub read: Option<Vec<String>>,
    /// Those that it may add, change and remove. Default: all.
    pub write: Option<Vec<String>>,
}

/// What a module may do with a body.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "BodyAccess")]
pub enum BodyAccessDocument {
    /// It is not called for bodies.
    None,
    /// It may read them.
    Read,
    /// It may read and change them.
    Write,
}
