//! A plugin: a module with its configuration and limits, shared by all workers.

use crate::{
    BodyAccess, Capabilities, Engine, Image, ImageError, Limits, LoadError, Module, Now, Shared,
    shared::Space,
};
use bytes::Bytes;
use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};
use tidegate_abi::LogLevel;

/// What a plugin is made of.
#[derive(Debug, Clone)]
pub struct PluginSpec {
    /// Its name; shared data, queues and metrics belong to it.
    pub name: String,
    /// Which of the module's root contexts; mostly empty.
    pub root_id: String,
    /// Plugins with the same one share their data by key; empty: it is the plugin's own, by its name.
    pub vm_id: String,
    /// The code.
    pub module: Module,
    /// What the guest reads in its configure callback.
    pub config: Bytes,
    /// What the guest reads when its VM starts.
    pub vm_config: Bytes,
    /// Environment variables that the guest sees.
    pub environment: Vec<(String, String)>,
    /// What it may use.
    pub limits: Limits,
    /// Names of the upstreams that it may call.
    pub callable: Vec<String>,
    /// What else it may do.
    pub capabilities: Capabilities,
    /// What becomes of a body whose head it pauses.
    pub on_headers_pause: HeadersPause,
}

/// What becomes of a body while the guest, by the action 1, holds the head before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HeadersPause {
    /// It goes on to the guest, which may let all go by its callback for the body.
    #[default]
    ContinueBody,
    /// It waits until the guest has resumed.
    StopAll,
}

/// A module with its configuration. Instances are started from it.
pub struct Plugin {
    pub(crate) engine: Engine,
    pub(crate) spec: PluginSpec,
    pub(crate) space: Space,
    pub(crate) call_ticks: u64,
    pub(crate) request_ticks: u64,
    pub(crate) start_ticks: u64,
    /// A number that is no level: the engine's.
    level: AtomicU32,
    image: OnceLock<Image>,
    wants: Wants,
}

/// Which callbacks the module has.
#[derive(Debug, Clone, Copy)]
struct Wants {
    request_headers: bool,
    request_body: bool,
    request_trailers: bool,
    response_headers: bool,
    response_body: bool,
    response_trailers: bool,
    log: bool,
    ends_by_itself: bool,
}

/// Callbacks that come whatever a request is doing.
const BY_ITSELF: [&str; 7] = [
    "proxy_on_tick",
    "proxy_on_queue_ready",
    "proxy_on_http_call_response",
    "proxy_on_grpc_receive",
    "proxy_on_grpc_close",
    "proxy_on_foreign_function",
    "proxy_on_redis_call_response",
];

impl Plugin {
    /// Puts a plugin together; nothing of the guest runs yet.
    ///
    /// # Errors
    /// When the module needs more memory than the plugin may have.
    pub fn build(engine: &Engine, mut spec: PluginSpec, shared: Arc<Shared>) -> Result<Self, LoadError> {
        if let Some(functions) = &spec.capabilities.functions {
            spec.module = engine.restrict(&spec.module, functions)?;
        }
        let (needed, limit) = (spec.module.memory_bytes(), spec.limits.memory);
        if usize::try_from(needed).map_or(true, |needed| needed > limit) {
            return Err(LoadError::MemoryLimit { needed, limit });
        }
        let wants = |callback| spec.module.has_export(callback);
        let bodies = |access| access != BodyAccess::None;
        let wants = Wants {
            request_headers: wants("proxy_on_request_headers"),
            request_body: wants("proxy_on_request_body") && bodies(spec.capabilities.request_body),
            request_trailers: wants("proxy_on_request_trailers"),
            response_headers: wants("proxy_on_response_headers"),
            response_body: wants("proxy_on_response_body") && bodies(spec.capabilities.response_body),
            response_trailers: wants("proxy_on_response_trailers"),
            log: wants("proxy_on_log"),
            ends_by_itself: spec.module.traits().ends_streams && BY_ITSELF.iter().any(|name| wants(name)),
        };
        let start_ticks = engine.ticks_for(spec.limits.call_time.max(crate::limits::START_TIME));
        engine.expect_calls_of(start_ticks);
        Ok(Self {
            engine: engine.clone(),
            space: Space::open(shared, &spec.name, &spec.vm_id),
            call_ticks: engine.ticks_for(spec.limits.call_time),
            request_ticks: engine.ticks_for(spec.limits.request_time),
            start_ticks,
            level: AtomicU32::new(u32::MAX),
            image: OnceLock::new(),
            wants,
            spec,
        })
    }

    /// Takes the image that isolated instances begin as: an instance is started and configured for
    /// it. `wasm` is what the module was compiled from. May take as long as compiling it, so not to
    /// be called on a worker. A plugin has one image for ever; a second call does nothing.
    ///
    /// # Errors
    /// When no image can be taken: isolated instances are then started and configured one by one.
    pub fn take_image(&self, wasm: &[u8], now: Now) -> Result<(), ImageError> {
        if self.image.get().is_none() {
            let image = Image::take(self, wasm, now)?;
            // Of two that were taken at the same time one stays.
            let _ = self.image.set(image);
        }
        Ok(())
    }

    /// What isolated instances begin as; none: each is started and configured.
    #[must_use]
    pub fn image(&self) -> Option<&Image> {
        self.image.get()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its code.
    #[must_use]
    pub fn module(&self) -> &Module {
        &self.spec.module
    }

    /// The engine that it was built for.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// What it is made of.
    #[must_use]
    pub fn spec(&self) -> &PluginSpec {
        &self.spec
    }

    /// Least level of log lines that come out; at first the engine's.
    #[must_use]
    pub fn log_level(&self) -> LogLevel {
        LogLevel::from_number(self.level.load(Ordering::Relaxed)).unwrap_or_else(|| self.engine.log_level())
    }

    /// Sets the least level of log lines, at once and for all instances.
    pub fn set_log_level(&self, level: LogLevel) {
        self.level.store(level.number(), Ordering::Relaxed);
    }

    /// Whether the module has a callback for request headers.
    #[must_use]
    pub fn wants_request_headers(&self) -> bool {
        self.wants.request_headers
    }

    /// Whether the module has a callback for request bodies.
    #[must_use]
    pub fn wants_request_body(&self) -> bool {
        self.wants.request_body
    }

    /// Whether the module has a callback for request trailers.
    #[must_use]
    pub fn wants_request_trailers(&self) -> bool {
        self.wants.request_trailers
    }

    /// Whether the module has a callback for response headers.
    #[must_use]
    pub fn wants_response_headers(&self) -> bool {
        self.wants.response_headers
    }

    /// Whether the module has a callback for response bodies.
    #[must_use]
    pub fn wants_response_body(&self) -> bool {
        self.wants.response_body
    }

    /// Whether the module has a callback for response trailers.
    #[must_use]
    pub fn wants_response_trailers(&self) -> bool {
        self.wants.response_trailers
    }

    /// Whether the module has a callback for requests or responses.
    #[must_use]
    pub fn serves_requests(&self) -> bool {
        let wants = self.wants;
        wants.request_headers
            || wants.request_body
            || wants.request_trailers
            || wants.response_headers
            || wants.response_body
            || wants.response_trailers
    }

    /// Whether the module has a callback for connections of bytes.
    #[must_use]
    pub fn serves_connections(&self) -> bool {
        let callbacks = [
            "proxy_on_new_connection",
            "proxy_on_downstream_data",
            "proxy_on_upstream_data",
            "proxy_on_downstream_connection_close",
            "proxy_on_upstream_connection_close",
        ];
        callbacks.iter().any(|callback| self.spec.module.has_export(callback))
    }

    /// Whether the module has a callback for the end of a request.
    #[must_use]
    pub fn wants_log(&self) -> bool {
        self.wants.log
    }

    /// Whether the module can answer a request, or break it off, in callbacks that are no part of that request's walk.
    #[must_use]
    pub fn ends_by_itself(&self) -> bool {
        self.wants.ends_by_itself
    }

    /// Whether the module can read or write properties; only then a stream needs [`crate::Facts`].
    #[must_use]
    pub fn uses_properties(&self) -> bool {
        self.spec.module.traits().uses_properties
    }

    /// Whether the module can change bodies at all; if not, their length stays as announced.
    #[must_use]
    pub fn writes_bodies(&self) -> bool {
        let capabilities = &self.spec.capabilities;
        let may = [capabilities.request_body, capabilities.response_body].contains(&BodyAccess::Write);
        may && self.spec.module.traits().writes_bodies
    }

    /// Whether the module can put bytes into a response's body when it is not shown any of it.
    #[must_use]
    pub fn injects(&self) -> bool {
        self.spec.module.traits().injects
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.spec.name)
            .field("module", &self.spec.module)
            .finish_non_exhaustive()
    }
}
