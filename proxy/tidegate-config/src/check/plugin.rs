//! `plugins`, and the further entries that filters with a configuration of their own make.

mod capability;
mod limits;

use super::Check;
use super::loading::{canary_module, loading};
use super::names::Kind;
use super::recording::{one_file_each, recording};
use super::release;
use super::upstream::Upstreams;
use crate::document::{
    CanaryDocument, Document, FailureMode, FailurePolicy, HeadersPause, Isolation, PluginDocument,
    PluginLimitsDocument,
};
use crate::node::Path;
use crate::plan::{self, Canary, Failure, Loading, OnFailure, Plugin, PluginIndex, PluginLimits};
use crate::problem::Fault;
use crate::types::check_name;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The plugins of the plan, found by name.
#[derive(Debug, Default)]
pub(super) struct Plugins {
    list: Vec<Plugin>,
    by_name: HashMap<String, PluginIndex>,
    keys: HashSet<String>,
}

impl Plugins {
    /// The plugin of a name; reports a name that nothing has.
    pub(super) fn find(&self, check: &mut Check<'_>, path: &Path<'_>, name: &str) -> Option<PluginIndex> {
        let found = self.by_name.get(name).copied();
        if found.is_none() {
            check.dangling(path, Kind::Plugin, name);
        }
        let plugin = found.and_then(|found| self.list.get(found));
        if plugin.is_some_and(|plugin| plugin.background) {
            let fault = Fault::new(format!("the plugin {name:?} works in the background: nothing passes it"));
            check.fault(path, fault.hint("leave its background out, or define it a second time without"));
        }
        found
    }

    /// A plugin's limits as narrowed by what is written at one of its uses.
    pub(super) fn narrowed(
        &self,
        check: &mut Check<'_>,
        path: &Path<'_>,
        plugin: PluginIndex,
        written: &PluginLimitsDocument,
    ) -> Option<PluginLimits> {
        self.list
            .get(plugin)
            .map(|plugin| limits::narrow(check, path, written, (&plugin.name, plugin.limits)))
    }

    /// The same plugin with another configuration or other limits, used at `owner`.
    pub(super) fn changed(
        &mut self,
        plugin: PluginIndex,
        owner: &str,
        (config, limits): (Option<&serde_json::Value>, Option<PluginLimits>),
    ) -> PluginIndex {
        if config.is_none() && limits.is_none() {
            return plugin;
        }
        let original = &self.list[plugin];
        let first = format!("{}@{owner}", original.name);
        let mut key = first.clone();
        let mut count = 1;
        while self.keys.contains(&key) {
            count += 1;
            key = format!("{first}#{count}");
        }
        self.keys.insert(key.clone());
        let mut plugin = Plugin { key, ..original.clone() };
        if config.is_some() {
            plugin.config = config_bytes(config);
        }
        plugin.limits = limits.unwrap_or(plugin.limits);
        let canary = plugin.canary.as_deref().and_then(|canary| self.list.get(canary.plugin)).cloned();
        let index = self.list.len();
        if let (Some(mut other), Some(canary)) = (canary, &mut plugin.canary) {
            other.key = canary_key(&plugin.key);
            if config.is_some() {
                other.config.clone_from(&plugin.config);
            }
            other.limits = limits.unwrap_or(other.limits);
            canary.plugin = index + 1;
            self.list.push(plugin);
            self.list.push(other);
        } else {
            self.list.push(plugin);
        }
        index
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Plugin] {
        &self.list
    }

    pub(super) fn into_inner(self) -> Vec<Plugin> {
        self.list
    }
}

pub(super) fn plugins(check: &mut Check<'_>, document: &Document, upstreams: &Upstreams) -> Plugins {
    let mut plugins = Plugins::default();
    let root = Path::ROOT;
    let section = root.key("plugins");
    for (name, written) in &document.plugins {
        let path = section.key(name);
        check.take(&path, check_name(name));
        let plugin = plugin(check, &path, name, (written, upstreams));
        plugins.by_name.insert(name.clone(), plugins.list.len());
        plugins.keys.insert(name.clone());
        plugins.list.push(plugin);
    }
    one_file_each(check, &section, &plugins.list);
    for (name, written) in &document.plugins {
        if let Some(canary) = &written.canary
            && let Some(&index) = plugins.by_name.get(name)
        {
            plugins.keys.insert(canary_key(name));
            add_canary(check, &section.key(name), (written, canary), (&mut plugins.list, index));
        }
    }
    plugins
}

/// Adds the other version of a plugin, which has all of its settings but for those that are written.
fn add_canary(
    check: &mut Check<'_>,
    path: &Path<'_>,
    (written, canary): (&PluginDocument, &CanaryDocument),
    (list, index): (&mut Vec<Plugin>, PluginIndex),
) {
    let place = path.key("canary");
    let sha256 = canary.sha256.as_ref();
    let sha256 = sha256.and_then(|digest| self::sha256(check, &place.key("sha256"), digest));
    let (module, fetch) = canary_module(check, path, (written, canary));
    let sticky = canary.sticky_by.as_ref();
    let sticky = sticky.and_then(|sticky| release::sticky(check, &place.key("stickyBy"), sticky));
    let course = release::canary_course(check, &place, canary);
    if written.background == Some(true) {
        let fault = Fault::new("the plugin works in the background: there is no request to be shared out");
        check.fault(&place, fault.hint("leave its background or the canary out"));
    }
    let plugin = list.len();
    let Some(own) = list.get_mut(index) else { return };
    let loading = Loading { fetch, ..own.loading.clone() };
    let mut other = Plugin { key: canary_key(&own.key), module, loading, sha256, ..own.clone() };
    if canary.config.is_some() {
        other.config = config_bytes(canary.config.as_ref());
    }
    own.canary = Some(Box::new(Canary { plugin, sticky, course }));
    list.push(other);
}

fn canary_key(of: &str) -> String {
    format!("{of}@canary")
}

fn plugin(
    check: &mut Check<'_>,
    path: &Path<'_>,
    name: &str,
    (written, upstreams): (&PluginDocument, &Upstreams),
) -> Plugin {
    let mut callable = Vec::new();
    let capabilities = path.key("capabilities");
    let section = capabilities.key("upstreams");
    for (index, name) in written.capabilities.iter().flat_map(|all| &all.upstreams).enumerate() {
        let found = upstreams.find(check, &section.index(index), name);
        callable.extend(found.filter(|found| !callable.contains(found)));
    }
    let (module, loading) = loading(check, path, written);
    Plugin {
        name: name.to_owned(),
        key: name.to_owned(),
        module,
        loading,
        sha256: written.sha256.as_ref().and_then(|digest| sha256(check, &path.key("sha256"), digest)),
        config: config_bytes(written.config.as_ref()),
        root_id: written.root_id.clone(),
        vm_id: written.vm_id.clone(),
        vm_config: config_bytes(written.vm_config.as_ref()),
        environment: environment(check, &path.key("environment"), &written.environment),
        on_failure: on_failure(written.on_failure.as_ref()),
        isolation: isolation(written.isolation),
        on_headers_pause: match written.on_headers_pause {
            None | Some(HeadersPause::ContinueBody) => plan::HeadersPause::ContinueBody,
            Some(HeadersPause::StopAll) => plan::HeadersPause::StopAll,
        },
        limits: limits::limits(check, &path.key("limits"), written.limits.as_ref()),
        callable,
        background: written.background == Some(true),
        capabilities: capability::check(check, &capabilities, written.capabilities.as_ref(), upstreams),
        record: recording(check, &path.key("record"), written),
        canary: None,
    }
}

fn sha256(check: &mut Check<'_>, path: &Path<'_>, digest: &str) -> Option<String> {
    if digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Some(digest.to_ascii_lowercase());
    }
    let fault = Fault::new(format!("{digest:?} is not a SHA-256 digest"));
    check.fault(path, fault.hint("64 hexadecimal digits, as sha256sum prints them"));
    None
}

/// Text is handed over as it is, everything else as compact JSON, nothing as nothing.
fn config_bytes(config: Option<&serde_json::Value>) -> Vec<u8> {
    match config {
        None | Some(serde_json::Value::Null) => Vec::new(),
        Some(serde_json::Value::String(text)) => text.clone().into_bytes(),
        Some(other) => other.to_string().into_bytes(),
    }
}

fn environment(
    check: &mut Check<'_>,
    path: &Path<'_>,
    written: &BTreeMap<String, String>,
) -> Vec<(String, String)> {
    for (name, value) in written {
        let place = path.key(name);
        if name.is_empty() || name.contains(['=', '\0']) {
            let fault = Fault::new(format!("{name:?} is not a name of an environment variable"));
            check.fault(&place, fault.hint("neither empty nor with = in it"));
        }
        if value.contains('\0') {
            check.fault(&place, Fault::new("the value has the character '\\0'"));
        }
    }
    written.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn on_failure(written: Option<&FailurePolicy>) -> OnFailure {
    let failure = |mode: Option<FailureMode>| match mode {
        Some(FailureMode::Open) => Failure::Open,
        Some(FailureMode::Closed) | None => Failure::Closed,
    };
    let by_kind = |load, trap, timeout, memory| OnFailure { load, trap, timeout, memory };
    match written {
        None => by_kind(Failure::Closed, Failure::Closed, Failure::Closed, Failure::Closed),
        Some(FailurePolicy::All(mode)) => {
            let all = failure(Some(*mode));
            by_kind(all, all, all, all)
        }
        Some(FailurePolicy::ByKind(modes)) => by_kind(
            failure(modes.load),
            failure(modes.trap),
            failure(modes.timeout),
            // Running out of memory is a trap, unless something else is said of it.
            failure(modes.memory.or(modes.trap)),
        ),
    }
}

fn isolation(written: Option<Isolation>) -> plan::Isolation {
    match written {
        None | Some(Isolation::Worker) => plan::Isolation::Worker,
        Some(Isolation::Connection) => plan::Isolation::Connection,
        Some(Isolation::Request) => plan::Isolation::Request,
    }
}
