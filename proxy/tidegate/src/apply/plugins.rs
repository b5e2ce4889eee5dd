//! Builds the plugins of a plan: module -> compiled code -> plugin -> a trial instance, so that a module that cannot be
//! configured is known before anything changes. What did not change is taken over, and its instances live on.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tidegate_config::plan::{self, HeadersPause, Isolation, Plan, PluginTest};
use tidegate_proxy::plugin_spec;
use tidegate_wasm::{Instance, Module, Plugin};
use tracing::warn;

use super::Workshop;
use super::selftest;
use super::source::{Miss, Sources};
use crate::assets::Digest;
use crate::fetch::Wanted;
use crate::files::Files;
use crate::module::manifest::{Granted, Manifest};
use crate::status::{Behind, PluginState};

/// The plugins of a plan, by key.
#[derive(Default)]
pub(crate) struct Plugins {
    ready: HashMap<String, Ready>,
    failed: BTreeMap<String, String>,
    /// The module has not come yet, and there is no earlier version.
    loading: BTreeMap<String, Wanted>,
    /// An earlier version serves in place of the one that is wanted.
    behind: BTreeMap<String, Behind>,
    /// By key, what is odd about one that runs.
    warnings: Vec<(String, String)>,
    /// What each was to be built from.
    specs: HashMap<String, plan::Plugin>,
}

#[derive(Clone)]
struct Ready {
    /// Of everything that the plugin was built from.
    identity: Digest,
    /// Of the module.
    digest: Digest,
    module: Module,
    plugin: Arc<Plugin>,
    /// The tests that it has passed.
    tests: Vec<PluginTest>,
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
            let key = spec.key.clone();
            let earlier = previous.and_then(|previous| previous.ready.get(&key)).cloned();
            match (bench.build(spec, plan), earlier) {
                (Ok(ready), _) => drop(plugins.ready.insert(key.clone(), ready)),
                (Err(Miss::Away(wanted)), Some(earlier)) => {
                    plugins.ready.insert(key.clone(), earlier);
                    plugins.behind.insert(key.clone(), Behind::Loading(*wanted));
                }
                (Err(Miss::Away(wanted)), None) => drop(plugins.loading.insert(key.clone(), *wanted)),
                // A registry's new version must not keep changes of the document out.
                (Err(Miss::Failed(why)), Some(earlier)) if bench.came_by_itself(spec) => {
                    plugins.ready.insert(key.clone(), earlier);
                    plugins.behind.insert(key.clone(), Behind::Failed(why));
                }
                (Err(Miss::Failed(why)), _) => drop(plugins.failed.insert(key.clone(), why)),
            }
            plugins.specs.insert(key, without_indices(spec));
        }
        plugins.warnings = bench.warnings;
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

    /// The plugins whose module has not come yet.
    pub(crate) fn loading(&self) -> &BTreeMap<String, Wanted> {
        &self.loading
    }

    /// The plugins that run as an earlier version.
    pub(crate) fn behind(&self) -> &BTreeMap<String, Behind> {
        &self.behind
    }

    /// What is odd about plugins that run, by key.
    pub(crate) fn warnings(&self) -> &[(String, String)] {
        &self.warnings
    }

    /// The modules that are to be fetched.
    pub(crate) fn wanted(&self) -> HashSet<Wanted> {
        self.specs.values().filter_map(Wanted::of).collect()
    }

    /// Whether both hold the same plugins in the same state.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let ready = |(key, ready): (&String, &Ready)| {
            other.ready.get(key).is_some_and(|other| other.identity == ready.identity)
        };
        self.failed == other.failed
            && self.loading == other.loading
            && self.behind == other.behind
            && self.ready.len() == other.ready.len()
            && self.ready.iter().all(ready)
    }

    /// What the admin API shows.
    pub(crate) fn states(&self) -> BTreeMap<String, PluginState> {
        let running = |(key, ready): (&String, &Ready)| {
            let behind = self.behind.get(key).cloned();
            (key.clone(), PluginState::Running { digest: ready.digest, behind })
        };
        let failed =
            self.failed.iter().map(|(key, why)| (key.clone(), PluginState::Failed { why: why.clone() }));
        let loading =
            self.loading.iter().map(|(key, wanted)| (key.clone(), PluginState::Loading(wanted.clone())));
        self.ready.iter().map(running).chain(failed).chain(loading).collect()
    }
}

/// The spec with what does not depend on the order of other parts of the document.
fn without_indices(spec: &plan::Plugin) -> plan::Plugin {
    plan::Plugin { callable: Vec::new(), ..spec.clone() }
}

/// What one build needs; each module is compiled once.
struct Bench<'a> {
    workshop: &'a Workshop,
    previous: Option<&'a Plugins>,
    sources: Sources<'a>,
    compiled: HashMap<Digest, Result<Module, String>>,
    warnings: Vec<(String, String)>,
}

impl<'a> Bench<'a> {
    fn new(workshop: &'a Workshop, previous: Option<&'a Plugins>, files: &'a mut Files) -> Self {
        let known = previous.into_iter().flat_map(|previous| previous.ready.values());
        let compiled = known.map(|ready| (ready.digest, Ok(ready.module.clone()))).collect();
        let sources = Sources::new(&workshop.library, files);
        Self { workshop, previous, sources, compiled, warnings: Vec::new() }
    }

    fn build(&mut self, spec: &plan::Plugin, plan: &Plan) -> Result<Ready, Miss> {
        let source = self.sources.module(spec)?;
        let callable: Vec<String> = spec
            .callable
            .iter()
            .filter_map(|&index| plan.upstreams.get(index))
            .map(|upstream| upstream.name.clone())
            .collect();
        if let Some(manifest) = Manifest::read(&source.bytes)? {
            let odd =
                manifest.compare(&Granted { upstreams: &callable, capabilities: &spec.capabilities })?;
            self.warnings.extend(odd.into_iter().map(|why| (spec.key.clone(), why)));
        }
        let tests = &spec.loading.tests;
        let identity = identity(spec, &source.digest, &callable);
        let before = self.previous.and_then(|previous| previous.ready.get(&spec.key));
        if let Some(same) = before.filter(|before| before.identity == identity) {
            if same.tests != *tests {
                selftest::run(&same.plugin, tests, self.workshop.now())?;
            }
            return Ok(Ready { tests: tests.clone(), ..same.clone() });
        }
        let engine = &self.workshop.engine;
        let compile = || engine.compile(&source.bytes).map_err(|error| error.to_string());
        let module = self.compiled.entry(source.digest).or_insert_with(compile).clone()?;
        let plugin = start(plan, spec, module.clone(), self.workshop)?;
        isolate(spec, &plugin, &source.bytes, self.workshop);
        selftest::run(&plugin, tests, self.workshop.now())?;
        Ok(Ready { identity, digest: source.digest, module, plugin, tests: tests.clone() })
    }

    /// Whether it is not the document that asks for another version, but a module that came over the network.
    fn came_by_itself(&self, spec: &plan::Plugin) -> bool {
        let before = self.previous.and_then(|previous| previous.specs.get(&spec.key));
        Wanted::of(spec).is_some() && before.is_some_and(|before| *before == without_indices(spec))
    }
}

/// Configures the plugin and starts an instance of it, as the workers will.
fn start(
    plan: &Plan,
    spec: &plan::Plugin,
    module: Module,
    workshop: &Workshop,
) -> Result<Arc<Plugin>, String> {
    let parts = plugin_spec(plan, spec, module);
    let plugin = Plugin::build(&workshop.engine, parts, Arc::clone(&workshop.shared))
        .map_err(|error| error.to_string())?;
    let plugin = Arc::new(plugin);
    // The trial instance ends here: the workers start their own.
    drop(Instance::start(&plugin, workshop.now()).map_err(|error| error.to_string())?);
    Ok(plugin)
}

/// Takes the image that instances of connections or requests begin as. Without one they are slower, not wrong.
fn isolate(spec: &plan::Plugin, plugin: &Plugin, module: &[u8], workshop: &Workshop) {
    if spec.isolation != Isolation::Worker
        && let Err(error) = plugin.take_image(module, workshop.now())
    {
        warn!(plugin = %spec.key, %error, isolation = spec.isolation.word(), "each instance is started and configured");
    }
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
    // Whoever shares an instance, an image is needed or not.
    add(&[u8::from(spec.isolation != Isolation::Worker)]);
    add(&[u8::from(spec.on_headers_pause == HeadersPause::StopAll)]);
    // How many instances there may be is no matter of any of them. The rest are numbers, as below.
    add(format!("{:?}", plan::PluginLimits { instances: 0, ..spec.limits }).as_bytes());
    add(&(spec.environment.len() as u64).to_le_bytes());
    for (name, value) in &spec.environment {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    for name in callable {
        add(name.as_bytes());
    }
    // Its fields are names and words, which the debug form tells apart.
    add(format!("{:?}", spec.capabilities).as_bytes());
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tidegate_config::plan::ModuleSource;

    fn spec() -> plan::Plugin {
        plan::Plugin {
            name: "a".to_owned(),
            key: "a".to_owned(),
            module: ModuleSource::Builtin("a".to_owned()),
            sha256: None,
            loading: plan::Loading::default(),
            config: b"{}".to_vec(),
            root_id: String::new(),
            vm_id: String::new(),
            vm_config: Vec::new(),
            environment: Vec::new(),
            on_failure: plan::OnFailure {
                load: plan::Failure::Closed,
                trap: plan::Failure::Closed,
                timeout: plan::Failure::Closed,
                memory: plan::Failure::Closed,
            },
            isolation: Isolation::Worker,
            on_headers_pause: HeadersPause::ContinueBody,
            limits: plan::PluginLimits { instances: 10, ..plan::PluginLimits::default() },
            callable: Vec::new(),
            background: false,
            capabilities: plan::Capabilities::default(),
            record: None,
            canary: None,
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
        assert_ne!(plain, changed(&|spec| spec.limits.log_lines = 1), "log lines");
        assert_ne!(plain, changed(&|spec| spec.isolation = Isolation::Request), "isolation");
        let stops = HeadersPause::StopAll;
        assert_ne!(plain, changed(&|spec| spec.on_headers_pause = stops), "pauses");
        let read = plan::BodyAccess::Read;
        assert_ne!(plain, changed(&|spec| spec.capabilities.request_body = read), "capabilities");
        assert_ne!(plain, changed(&|spec| spec.limits.call_time = Duration::ZERO), "time of a call");
        assert_ne!(plain, changed(&|spec| spec.limits.request_time = Duration::ZERO), "time of a request");
    }

    #[test]
    fn what_the_guest_cannot_see_keeps_the_plugin() {
        let mut other = spec();
        other.on_failure.trap = plan::Failure::Open;
        other.limits.instances = 11;
        other.module = ModuleSource::File("elsewhere.wasm".into());
        assert_eq!(identity(&spec(), &[0; 32], &[]), identity(&other, &[0; 32], &[]));
    }
}
