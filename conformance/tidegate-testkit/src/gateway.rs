//! A gateway in the test's process: its own workers, real sockets, ports that the system chooses.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidegate_config::plan::{self, ModuleSource, Plan};
use tidegate_config::{Secrets, SourceText};
use tidegate_proxy::{
    Assets, ConnectionUse, ConnectionsWanted, Form, Gateway, GatewayOptions, GenerationUse, Loads, ModuleUse,
    Page, ReleaseOrder, ReleaseUse, Server, Snapshot, Stats, plugin_spec,
};
use tidegate_wasm::{Engine, EngineOptions, Instance, MetricValue, Module, Now, Plugin, Shared};

use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::client::PATIENCE;

/// Puts values into the places of a text that are called `${name}`.
pub fn fill(text: &str, values: &[(&str, &dyn Display)]) -> String {
    let put = |text: String, (name, value): &(&str, &dyn Display)| {
        text.replace(&format!("${{{name}}}"), &value.to_string())
    };
    values.iter().fold(text.to_owned(), put)
}

/// A running gateway. It stops when it is dropped.
pub struct TestGateway {
    gateway: Gateway,
    engine: Engine,
    shared: Arc<Shared>,
    started: Instant,
    state: Mutex<State>,
    /// What the control thread does for servers, on a thread of its own.
    watching: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// What a configuration is made of besides its text.
#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    live: Option<Arc<Snapshot>>,
    plugins: Plugins,
}

/// By key: module bytes and everything else that makes a plugin what it is, and the plugin.
type Plugins = HashMap<String, (Vec<u8>, plan::Plugin, Arc<Plugin>)>;

impl std::fmt::Debug for TestGateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestGateway").finish_non_exhaustive()
    }
}

impl TestGateway {
    /// Starts a gateway with this configuration; it has as many workers as that says, one by default.
    ///
    /// # Panics
    /// If the configuration is wrong or cannot be served.
    pub fn start(yaml: &str) -> Self {
        Self::start_with(yaml, &[])
    }

    /// The same with files that the configuration names: certificates and keys in PEM, modules as Wasm or WAT. A
    /// plugin that fails to load is left to its `onFailure`.
    ///
    /// # Panics
    /// If the configuration is wrong or cannot be served.
    pub fn start_with(yaml: &str, files: &[(&str, &[u8])]) -> Self {
        Self::start_graceful(yaml, files, Duration::from_secs(1))
    }

    /// The same, with so much time for clients that may be gone or not ([`GatewayOptions::grace`]).
    ///
    /// # Panics
    /// If the configuration is wrong or cannot be served.
    pub fn start_graceful(yaml: &str, files: &[(&str, &[u8])], grace: Duration) -> Self {
        let plan = load(yaml).unwrap_or_else(|error| panic!("{error}"));
        // Ticks are much shorter than any limit that a test sets.
        let epoch_tick = Duration::from_millis(1);
        // Many gateways run the same filters: one of them compiles each, which takes seconds.
        let cache_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-modules");
        let engine = Engine::new(EngineOptions { cache_dir: Some(cache_dir), epoch_tick });
        let engine = engine.expect("the target folder is the user's own");
        engine.measure_threads(tidegate_proxy::thread_time);
        let workers = plan.workers.unwrap_or(NonZeroUsize::MIN);
        let options = GatewayOptions { workers, engine: engine.clone(), epoch_tick, give_back: || (), grace };
        let gateway = Gateway::start(options).expect("workers start");
        let (end, watching) = watch(gateway.clone());
        let gateway = Self {
            gateway,
            watching: Some((end, watching)),
            engine,
            shared: Arc::default(),
            started: Instant::now(),
            state: Mutex::default(),
        };
        for (name, bytes) in files {
            gateway.put_file(name, bytes);
        }
        gateway.apply(plan, true).unwrap_or_else(|error| panic!("{error}"));
        gateway
    }

    /// Writes a file that configurations name; seen by the next reload.
    pub fn put_file(&self, name: &str, bytes: &[u8]) {
        self.state().files.insert(name.to_owned(), bytes.to_vec());
    }

    /// Replaces the configuration and waits until all workers serve it. A plugin that fails refuses all of it.
    ///
    /// # Errors
    /// What is wrong with it; the old one stays.
    pub fn try_reload(&self, yaml: &str) -> Result<u64, String> {
        self.apply(load(yaml)?, false)
    }

    /// [`TestGateway::try_reload`] of a configuration that is right.
    ///
    /// # Panics
    /// If it is not.
    pub fn reload(&self, yaml: &str) -> u64 {
        self.try_reload(yaml).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The first address of a listener.
    ///
    /// # Panics
    /// If there is no such listener.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let addresses = self.gateway.addresses(listener);
        *addresses.first().unwrap_or_else(|| panic!("no listener {listener}"))
    }

    /// The data plane's metrics as Prometheus reads them.
    pub fn metrics(&self) -> String {
        self.metrics_as(Form::Prometheus)
    }

    /// The same in another form.
    pub fn metrics_as(&self, form: Form) -> String {
        let mut page = Page::new(form);
        self.gateway.metrics(&mut page);
        page.into_text()
    }

    /// What is counted, as the dashboard is told.
    pub fn stats(&self) -> Stats {
        self.gateway.stats(&Loads::default())
    }

    /// Pushes the data plane's metrics where the configuration says.
    ///
    /// # Panics
    /// If it does not.
    pub fn push_metrics(&self) {
        let mut page = Page::new(Form::Points);
        self.gateway.metrics(&mut page);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let live = self.state().live.clone().expect("it serves something");
        live.metrics_push().expect("it has a collector").push(page, now - self.started.elapsed(), now);
    }

    /// The sum of a metric's series, or of those that contain `label`.
    pub fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.metrics();
        let lines = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The value of a counter or gauge that a plugin counts, by the name that the plugin gave it, labels included.
    pub fn guest_metric(&self, plugin: &str, name: &str) -> i64 {
        let metrics = self.shared.metrics();
        let found = metrics.iter().find(|metric| metric.plugin == plugin && metric.name == name);
        match found.map(|metric| &metric.value) {
            Some(MetricValue::Counter(value)) => i64::try_from(*value).unwrap_or(i64::MAX),
            Some(MetricValue::Gauge(value)) => *value,
            Some(MetricValue::Histogram { .. }) | None => 0,
        }
    }

    /// Makes these the servers of an upstream and waits until all workers have taken that.
    ///
    /// # Panics
    /// If there is no such upstream.
    pub fn put_servers(&self, upstream: &str, servers: &[Server]) {
        let change = self.gateway.put_servers(upstream, servers).unwrap_or_else(|error| panic!("{error}"));
        block_on(self.gateway.has_taken(change));
    }

    /// The gateway itself, for what it shows to the control thread.
    pub fn control(&self) -> &Gateway {
        &self.gateway
    }

    /// All connections of clients.
    pub fn connections(&self) -> Vec<ConnectionUse> {
        let wanted = ConnectionsWanted { limit: usize::MAX, ..ConnectionsWanted::default() };
        block_on(self.gateway.connections(&wanted))
    }

    /// Generations that something still uses.
    pub fn generations(&self) -> Vec<GenerationUse> {
        self.gateway.generations()
    }

    /// Versions of plugins that something still uses.
    pub fn modules(&self) -> Vec<ModuleUse> {
        self.gateway.modules()
    }

    /// Looks at the releases, at a time that the test chooses.
    pub fn judge_releases(&self, now: Duration) {
        self.gateway.judge_releases(now);
    }

    /// Does something with a release.
    ///
    /// # Errors
    /// Why it cannot be done.
    pub fn steer_release(&self, id: &str, order: ReleaseOrder, now: Duration) -> Result<(), String> {
        self.gateway.steer_release(id, order, now).map_err(|error| error.to_string())
    }

    /// All releases.
    pub fn releases(&self) -> Vec<ReleaseUse> {
        self.gateway.releases()
    }

    /// The only release.
    ///
    /// # Panics
    /// If there is none or another one.
    pub fn release(&self) -> ReleaseUse {
        let mut all = self.gateway.releases();
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    /// Closes the listeners, lets what is in flight end, and says whether all of it did in time.
    pub fn drain(&self, deadline: Duration) -> bool {
        block_on(self.gateway.drain(deadline))
    }

    /// Waits until something is true of the gateway.
    ///
    /// # Panics
    /// If it does not come true before the test's patience ends.
    pub fn wait(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "waited in vain for {what}: {:?}", self.generations());
            std::thread::park_timeout(Duration::from_millis(2));
        }
    }

    fn apply(&self, plan: Plan, first: bool) -> Result<u64, String> {
        let (plugins, snapshot);
        {
            let mut state = self.state();
            plugins = self.plugins(&plan, &mut state, first)?;
            let files =
                state.files.iter().map(|(name, bytes)| (Path::new(BASE).join(name), Arc::from(&**bytes)));
            let addresses = plan.upstreams.iter().flat_map(|upstream| &upstream.servers).map(|server| {
                let address = server.address.parse::<SocketAddr>();
                address
                    .map(|address| (server.address.clone(), vec![address]))
                    .map_err(|_| format!("tests have addresses only, not {}", server.address))
            });
            let assets = Assets {
                files: files.collect(),
                plugins: plugins
                    .iter()
                    .map(|(key, (_, _, plugin))| (key.clone(), Arc::clone(plugin)))
                    .collect(),
                addresses: addresses.collect::<Result<_, _>>()?,
                records: None,
            };
            let built = Snapshot::build(plan, &assets, state.live.as_ref());
            snapshot = Arc::new(built.map_err(|error| error.to_string())?);
        }
        let generation = self.gateway.publish(Arc::clone(&snapshot)).map_err(|error| error.to_string())?;
        let mut state = self.state();
        state.plugins = plugins;
        state.live = Some(snapshot);
        drop(state);
        block_on(self.gateway.live(generation));
        Ok(generation)
    }

    fn plugins(&self, plan: &Plan, state: &mut State, first: bool) -> Result<Plugins, String> {
        let mut plugins = HashMap::new();
        for spec in &plan.plugins {
            let ModuleSource::File(path) = &spec.module else {
                return Err(format!("tests have no built-in filters ({})", spec.name));
            };
            let name = path.strip_prefix(BASE).unwrap_or(path).to_string_lossy().into_owned();
            let bytes = state.files.get(&name).ok_or(format!("no file {name}"))?.clone();
            if let Some(known) = state.plugins.get(&spec.key)
                && known.0 == bytes
                && known.1 == *spec
            {
                plugins.insert(spec.key.clone(), known.clone());
                continue;
            }
            // Compiling takes most of the time of a reload that changes a configuration only.
            let known = state.plugins.get(&spec.key);
            let module = known
                .filter(|(old, terms, _)| *old == bytes && terms.capabilities == spec.capabilities)
                .map(|(.., plugin)| plugin.module().clone());
            match self.plugin(spec, &bytes, module, plan) {
                Ok(plugin) => {
                    plugins.insert(spec.key.clone(), (bytes, spec.clone(), Arc::new(plugin)));
                }
                Err(_) if first || plan.is_canary(&spec.key) => {}
                Err(error) => return Err(format!("plugin {}: {error}", spec.key)),
            }
        }
        Ok(plugins)
    }

    fn plugin(
        &self,
        spec: &plan::Plugin,
        bytes: &[u8],
        module: Option<Module>,
        plan: &Plan,
    ) -> Result<Plugin, String> {
        let text = |error: &dyn Display| error.to_string();
        let wasm = wat::parse_bytes(bytes).map_err(|error| text(&error))?;
        let module = match module {
            Some(module) => module,
            None => self.engine.compile(&wasm).map_err(|error| text(&error))?,
        };
        let parts = plugin_spec(plan, spec, module);
        let plugin =
            Plugin::build(&self.engine, parts, Arc::clone(&self.shared)).map_err(|error| text(&error))?;
        let plugin = Arc::new(plugin);
        let now = Now::new(
            self.started.elapsed(),
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        );
        // As the gateway's own start does: a plugin that cannot start never replaces one that can.
        drop(Instance::start(&plugin, now).map_err(|error| text(&error))?);
        if spec.isolation != plan::Isolation::Worker {
            // Where there can be no image, instances are started one by one, and a metric says so.
            drop(plugin.take_image(&wasm, now));
        }
        Arc::into_inner(plugin).ok_or_else(|| "the trial instance kept the plugin".to_owned())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        if let Some((end, watching)) = self.watching.take() {
            drop(end);
            watching.join().ok();
        }
        self.gateway.stop();
    }
}

/// Checks and compares servers until the sender is dropped.
fn watch(gateway: Gateway) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let (end, ended) = oneshot::channel();
    let watching = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime needs a few descriptors only");
        LocalSet::new().block_on(&runtime, async {
            tokio::select! {
                () = gateway.watch_servers() => {}
                _ = ended => {}
            }
        });
    });
    (end, watching)
}

struct NoSecrets;

impl Secrets for NoSecrets {
    fn env(&self, name: &str) -> Result<String, String> {
        Err(format!("tests have no environment ({name})"))
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        Err(format!("tests have no secret files ({})", path.display()))
    }
}

fn load(yaml: &str) -> Result<Plan, String> {
    let source = SourceText { name: "test.yaml".to_owned(), text: yaml.to_owned() };
    let loaded = tidegate_config::load(&[source], Path::new(BASE), &NoSecrets);
    loaded.map(|loaded| loaded.plan).map_err(|problems| problems.to_string())
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime needs a few descriptors only").block_on(future)
}

/// Where the files of a test seem to be.
const BASE: &str = "/test";
