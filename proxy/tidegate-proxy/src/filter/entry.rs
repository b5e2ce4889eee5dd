//! A plugin as a snapshot has it, and when a new snapshot's is still the same.

use std::sync::Arc;

use tidegate_config::plan::{Isolation, OnFailure, UpstreamIndex};

use crate::filter::version::Version;
use crate::shared::PluginCounters;
use crate::telemetry::recorder::Recorder;

/// A plugin and what its failures mean.
#[derive(Clone)]
pub(crate) struct Plugin {
    /// Name in the document.
    pub(crate) name: Arc<str>,
    /// None: it could not be loaded.
    pub(crate) plugin: Option<Arc<tidegate_wasm::Plugin>>,
    /// What a failure means for a request.
    pub(crate) on_failure: OnFailure,
    /// Which requests share an instance.
    pub(crate) isolation: Isolation,
    /// Instances of connections or requests at one time, of all workers.
    pub(crate) instances: usize,
    /// Upstreams that it may call, by name.
    pub(crate) callable: Vec<(String, UpstreamIndex)>,
    /// What the metrics show of it.
    pub(crate) counters: Arc<PluginCounters>,
    /// Its module under its name; none: it could not be loaded.
    pub(crate) version: Option<Arc<Version>>,
    /// One instance in the process, which must run without being asked for.
    pub(crate) background: bool,
    /// Records its requests.
    pub(crate) recorder: Option<Recorder>,
}

/// Whether a new snapshot's plugin is the one that a slot runs: then its instance lives on.
pub(crate) fn same(a: &Plugin, b: &Plugin) -> bool {
    let plugin = match (&a.plugin, &b.plugin) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    };
    let terms = |plugin: &Plugin| (plugin.on_failure, plugin.isolation, plugin.instances, plugin.background);
    let recorder = match (&a.recorder, &b.recorder) {
        (Some(a), Some(b)) => a.is_same(b),
        (None, None) => true,
        _ => false,
    };
    plugin && recorder && terms(a) == terms(b) && a.callable == b.callable
}
