//! What plugins are built with: the Wasm engine with its cache of compiled code, fetched modules, and what plugins
//! share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use tidegate_proxy::RecordSink;
use tidegate_wasm::{Engine, EngineOptions, LoadError, Now, Shared};
use tracing::warn;

use crate::discover::ServerNames;
use crate::fetch::Library;

/// Lives as long as the process.
pub(crate) struct Workshop {
    pub(crate) engine: Engine,
    /// Modules that come over the network.
    pub(crate) library: Arc<Library>,
    /// Addresses of servers that are given by name.
    pub(crate) names: ServerNames,
    /// Shared data, queues and metrics of all plugins.
    pub(crate) shared: Arc<Shared>,
    /// Where the guests' monotonic time begins.
    pub(crate) started: Instant,
    /// Where all requests of plugins are recorded, whatever the document says.
    pub(crate) records: Option<RecordSink>,
}

impl Workshop {
    /// An engine that keeps compiled code where the user's caches are.
    pub(crate) fn open() -> Result<Self> {
        Self::with_cache(cache_folder())
    }

    /// An engine that keeps compiled code in this folder, and fetched modules below it.
    pub(crate) fn with_cache(folder: Option<PathBuf>) -> Result<Self> {
        let library = Arc::new(Library::open(folder.as_ref().map(|folder| folder.join("modules"))));
        let engine = |cache_dir| Engine::new(EngineOptions { cache_dir, epoch_tick: EPOCH_TICK });
        let engine = match engine(folder) {
            Err(error @ LoadError::Cache { .. }) => {
                warn!(%error, "compiled modules are not kept");
                engine(None)
            }
            opened => opened,
        };
        let engine = engine.context("the Wasm engine cannot start")?;
        engine.measure_threads(tidegate_proxy::thread_time);
        engine.ask_log_level(tidegate_proxy::guest_log_level);
        // A system without the file has no name that guests could read.
        if let Ok(name) = std::fs::read_to_string("/proc/sys/kernel/hostname") {
            engine.name_node(name.trim().to_owned());
        }
        Ok(Self {
            engine,
            library,
            names: ServerNames::default(),
            shared: Arc::default(),
            started: Instant::now(),
            records: None,
        })
    }

    /// The guests' time.
    pub(crate) fn now(&self) -> Now {
        Now::new(self.started.elapsed(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// Runs `work` while the engine's time passes.
    pub(crate) fn with_time<T>(&self, work: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Acquire) {
                    thread::park_timeout(EPOCH_TICK);
                    self.engine.tick();
                }
            });
            // The scope waits for the thread, so it must be told on every way out.
            let _end = OnDrop(|| over.store(true, Ordering::Release));
            work()
        })
    }
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// `$TIDEGATE_CACHE`, else `tidegate` in `$XDG_CACHE_HOME` or `~/.cache`; none of them set: nothing is kept.
fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("TIDEGATE_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|caches| caches.join("tidegate")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/tidegate")))
}

/// How often the time limits of guests are looked at: a quarter of the shortest limit that is the default. Each tick
/// wakes a thread.
pub(crate) const EPOCH_TICK: Duration = Duration::from_millis(5);
