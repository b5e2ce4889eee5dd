//! Builds the plugins of a plan: module -> compiled code -> plugin -> a trial instance, so that a module that cannot be
//! configured is known before anything changes. What did not change is taken over, and its instances live on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};
use tidegate_config::plan::{self, ModuleSource, Plan};
use tidegate_wasm::{Instance, Limits, Module, Now, Plugin, PluginSpec};

use super::Workshop;
use crate::assets::{self, Digest, ModuleBytes};
use crate::files::Files;
use crate::status::PluginState;

/// The plugins of a plan, by key.
#[derive(Default)]
pub(crate) struct Plugins {
    ready: HashMap<String, Ready>,
    failed: BTreeMap<String, String>,
}

#[derive(Clone)]
struct Ready {
    /// Of everything that the plugin was built from.
    identity: Digest,
    /// Of the module.
    digest: Digest,
    module: Module,
    plugin: Arc<Plugin>,
}

impl Plugins {
    /// Takes over from `previous` what did not change and builds the rest. Blocks while modules compile.
    pub(crate) fn build(
        plan: &Plan,
        workshop: &Workshop,
        previous: Option<&Self>,
        files: &mut Files,
    ) -> Self {
        let mut bench = Bench::new(workshop, previous, files);
        let mut plugins = Self::default();
        for spec in &plan.plugins {
            match bench.build(spec, plan) {
                Ok(ready) => drop(plugins.ready.insert(spec.key.clone(), ready)),
                Err(why) => drop(plugins.failed.insert(spec.key.clone(), why)),
            }
        }
        plugins
    }

    /// The plugins that can run.
    pub(crate) fn ready(&self) -> HashMap<String, Arc<Plugin>> {
        self.ready.iter().map(|(key, ready)| (key.clone(), Arc::clone(&ready.plugin))).collect()
    }

    /// The plugins that cannot, and why.
    pub(crate) fn failed(&self) -> &BTreeMap<String, String> {
        &self.failed
    }

    /// Whether both hold the same plugins in the same state.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let ready = |(key, ready): (&String, &Ready)| {
            other.ready.get(key).is_some_and(|other| other.identity == ready.identity)
        };
        self.failed == other.failed && self.ready.len() == other.ready.len() && self.ready.iter().all(ready)
    }

    /// What the admin API shows.
    pub(crate) fn states(&self) -> BTreeMap<String, PluginState> {
        let ready = self
            .ready
            .iter()
            .map(|(key, ready)| (key.clone(), PluginState::Running { digest: ready.digest }));
        let failed =
            self.failed.iter().map(|(key, why)| (key.clone(), PluginState::Failed { why: why.clone() }));
        ready.chain(failed).collect()
    }
}

/// What one build needs; each module is read and compiled once.
struct Bench<'a> {
    workshop: &'a Workshop,
    previous: Option<&'a Plugins>,
    files: &'a mut Files,
    read: HashMap<(ModuleSource, Option<String>), Result<Arc<ModuleBytes>, String>>,
    compiled: HashMap<Digest, Result<Module, String>>,
}

impl<'a> Bench<'a> {
    fn new(workshop: &'a Workshop, previous: Option<&'a Plugins>, files: &'a mut Files) -> Self {
        let known = previous.into_iter().flat_map(|previous| previous.ready.values());
        let compiled = known.map(|ready| (ready.digest, Ok(ready.module.clone()))).collect();
        Self { workshop, previous, files, read: HashMap::new(), compiled }
    }

    fn build(&mut self, spec: &plan::Plugin, plan: &Plan) -> Result<Ready, String> {
        let source = self.source(spec)?;
        let callable: Vec<String> = spec
            .callable
            .iter()
            .filter_map(|&index| plan.upstreams.get(index))
            .map(|upstream| upstream.name.clone())
            .collect();
        let identity = identity(spec, &source.digest, &callable);
        let before = self.previous.and_then(|previous| previous.ready.get(&spec.key));
        if let Some(same) = before.filter(|before| before.identity == identity) {
            return Ok(same.clone());
        }
        let engine = &self.workshop.engine;
        let compile = || engine.compile(&source.bytes).map_err(|error| error.to_string());
        let module = self.compiled.entry(source.digest).or_insert_with(compile).clone()?;
        let plugin = start(spec, module.clone(), callable, self.workshop)?;
        Ok(Ready { identity, digest: source.digest, module, plugin })
    }

    fn source(&mut self, spec: &plan::Plugin) -> Result<Arc<ModuleBytes>, String> {
        let key = (spec.module.clone(), spec.sha256.clone());
        if let Some(known) = self.read.get(&key) {
            return known.clone();
        }
        let read = assets::module(&spec.module, spec.sha256.as_deref(), self.files).map(Arc::new);
        self.read.insert(key, read.clone());
        read
    }
}

/// Configures the plugin and starts an instance of it, as the workers will.
fn start(
    spec: &plan::Plugin,
    module: Module,
    callable: Vec<String>,
    workshop: &Workshop,
) -> Result<Arc<Plugin>, String> {
    let limits = Limits {
        call_time: spec.limits.call_time,
        request_time: spec.limits.request_time,
        memory: spec.limits.memory,
    };
    let parts = PluginSpec {
        name: spec.name.clone(),
        root_id: spec.root_id.clone(),
        module,
        config: spec.config.clone().into(),
        vm_config: spec.vm_config.clone().into(),
        environment: spec.environment.clone(),
        limits,
        callable,
    };
    let plugin = Plugin::build(&workshop.engine, parts, Arc::clone(&workshop.shared))
        .map_err(|error| error.to_string())?;
    let plugin = Arc::new(plugin);
    let now = Now {
        monotonic: workshop.started.elapsed(),
        wall: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
    };
    // The trial instance ends here: the workers start their own.
    drop(Instance::start(&plugin, now).map_err(|error| error.to_string())?);
    Ok(plugin)
}

/// Digest of everything that makes a plugin what it is; each part is preceded by its length.
fn identity(spec: &plan::Plugin, module: &Digest, callable: &[String]) -> Digest {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(module);
    add(spec.name.as_bytes());
    add(&spec.config);
    add(spec.root_id.as_bytes());
    add(&spec.vm_config);
    add(&spec.limits.call_time.as_nanos().to_le_bytes());
    add(&spec.limits.request_time.as_nanos().to_le_bytes());
    add(&(spec.limits.memory as u64).to_le_bytes());
    add(&(spec.environment.len() as u64).to_le_bytes());
    for (name, value) in &spec.environment {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    for name in callable {
        add(name.as_bytes());
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn spec() -> plan::Plugin {
        plan::Plugin {
            name: "a".to_owned(),
            key: "a".to_owned(),
            module: ModuleSource::Builtin("a".to_owned()),
            sha256: None,
            config: b"{}".to_vec(),
            root_id: String::new(),
            vm_config: Vec::new(),
            environment: Vec::new(),
            on_failure: plan::OnFailure {
                load: plan::Failure::Closed,
                trap: plan::Failure::Closed,
                timeout: plan::Failure::Closed,
            },
            limits: plan::PluginLimits {
                call_time: Duration::from_millis(20),
                request_time: Duration::from_millis(100),
                memory: 1 << 25,
            },
            callable: Vec::new(),
            background: false,
        }
    }

    #[test]
    fn whatever_the_guest_can_see_makes_another_plugin() {
        let plain = identity(&spec(), &[0; 32], &[]);
        let changed = |change: &dyn Fn(&mut plan::Plugin)| {
            let mut spec = spec();
            change(&mut spec);
            identity(&spec, &[0; 32], &[])
        };
        assert_ne!(plain, identity(&spec(), &[1; 32], &[]), "module");
        assert_ne!(plain, identity(&spec(), &[0; 32], &["u".to_owned()]), "callable upstreams");
        assert_ne!(plain, changed(&|spec| spec.config = b"{ }".to_vec()), "configuration");
        assert_ne!(plain, changed(&|spec| spec.root_id = "root".to_owned()), "root context");
        assert_ne!(plain, changed(&|spec| spec.vm_config = b"{ }".to_vec()), "configuration of the VM");
        assert_ne!(plain, changed(&|spec| spec.environment.push(("A".into(), "b".into()))), "environment");
        assert_ne!(plain, changed(&|spec| spec.limits.memory = 1), "memory limit");
        assert_ne!(plain, changed(&|spec| spec.limits.call_time = Duration::ZERO), "time of a call");
        assert_ne!(plain, changed(&|spec| spec.limits.request_time = Duration::ZERO), "time of a request");
    }

    #[test]
    fn what_the_guest_cannot_see_keeps_the_plugin() {
        let mut other = spec();
        other.on_failure.trap = plan::Failure::Open;
        other.module = ModuleSource::File("elsewhere.wasm".into());
        assert_eq!(identity(&spec(), &[0; 32], &[]), identity(&other, &[0; 32], &[]));
    }
}
