//! The modules that the configuration wants from the network: which are at hand, which are on their way, when the next
//! attempt is due. An attempt that fails is made again, later and later, for as long as the module is wanted.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidegate_config::plan::{ModuleSource, Pull};
use tokio::sync::Notify;
use tokio::task::{LocalSet, spawn_local};
use tracing::{debug, info, warn};

use super::cache::Cache;
use super::{Found, Wanted, attempt};
use crate::assets::{self, ModuleBytes};

/// Lives as long as the process.
pub(crate) struct Library {
    cache: Arc<Cache>,
    shelf: Mutex<Shelf>,
    /// Something is due earlier than it was.
    due: Notify,
    /// A module came that nobody has seen.
    news: Notify,
}

#[derive(Default)]
struct Shelf {
    entries: HashMap<Wanted, Entry>,
    counts: Counts,
}

/// Attempts since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) fetched: u64,
    /// The registry had nothing new.
    pub(crate) unchanged: u64,
    pub(crate) failed: u64,
}

#[derive(Default)]
struct Entry {
    found: Option<Found>,
    /// Why the last attempt failed.
    trouble: Option<String>,
    /// Attempts that failed one after the other.
    failures: u32,
    /// When the next attempt is to be made; none: never, or one is being made.
    due: Option<Instant>,
    busy: bool,
    /// A reload has asked while an attempt was being made, which may have looked before.
    asked: bool,
}

/// Whether a module is at hand.
pub(crate) enum Shelved {
    /// It is.
    Here(Arc<ModuleBytes>),
    /// Not yet.
    Away,
}

impl Library {
    /// Nothing is wanted yet; modules are kept in this folder.
    pub(crate) fn open(folder: Option<PathBuf>) -> Self {
        Self {
            cache: Arc::new(Cache::open(folder)),
            shelf: Mutex::default(),
            due: Notify::new(),
            news: Notify::new(),
        }
    }

    /// The module, if it is at hand; from now on it is wanted.
    pub(crate) fn find(&self, wanted: &Wanted) -> Shelved {
        let mut shelf = self.shelf();
        let entry = shelf.entries.entry(wanted.clone()).or_insert_with(|| {
            self.due.notify_one();
            self.first(wanted)
        });
        match &entry.found {
            Some(found) => Shelved::Here(Arc::clone(&found.module)),
            None => Shelved::Away,
        }
    }

    /// Why the last attempt failed, if it did.
    pub(crate) fn trouble(&self, wanted: &Wanted) -> Option<String> {
        self.shelf().entries.get(wanted)?.trouble.clone()
    }

    /// How attempts went.
    pub(crate) fn counts(&self) -> Counts {
        self.shelf().counts
    }

    /// What is wanted from now on; everything else is forgotten.
    pub(crate) fn retain(&self, wanted: &HashSet<Wanted>) {
        self.shelf().entries.retain(|known, _| wanted.contains(known));
    }

    /// Makes everything due that a reload asks for: modules that are missing, and tags that may have moved.
    pub(crate) fn recheck(&self) {
        let now = Instant::now();
        for (wanted, entry) in &mut self.shelf().entries {
            let moves = wanted.fetch.pull == Pull::Always;
            if entry.found.is_some() && !moves {
                continue;
            }
            if entry.busy {
                entry.asked = true;
            } else {
                (entry.failures, entry.due) = (0, Some(now));
            }
        }
        self.due.notify_one();
    }

    /// Waits for a module that nobody has seen yet. May be dropped and called again.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// Fetches what is due, now and later, without end. To be run as a task of the control thread.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.begin();
            let next = self.shelf().entries.values().filter_map(|entry| entry.due).min();
            let next = next.unwrap_or_else(|| Instant::now() + IDLE);
            tokio::select! {
                () = self.due.notified() => {}
                () = tokio::time::sleep_until(next.into()) => {}
            }
        }
    }

    /// Makes one attempt for all that is missing, and waits for them, but not longer than this. Blocks.
    pub(crate) fn fetch_missing(self: &Arc<Self>, patience: Duration) {
        let missing = || self.shelf().entries.values().any(|entry| entry.found.is_none());
        if !missing() {
            return;
        }
        let library = Arc::clone(self);
        // The caller may be inside of a runtime, which must not be entered again.
        let fetching = std::thread::Builder::new().name("tidegate-fetch".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            let attempts = async {
                let begun = library.begin();
                for ended in begun {
                    // An attempt tells how it went by itself.
                    let _ = ended.await;
                }
            };
            let within = async { tokio::time::timeout(patience, attempts).await };
            // Attempts that go on are dropped with the runtime, and made again by the control thread.
            let _ = LocalSet::new().block_on(&runtime, within);
            runtime.shutdown_background();
        });
        if let Ok(fetching) = fetching {
            let _ = fetching.join();
        }
        self.release();
    }

    /// Begins the attempts that are due.
    fn begin(self: &Arc<Self>) -> Vec<tokio::task::JoinHandle<()>> {
        let now = Instant::now();
        let mut begun = Vec::new();
        for (wanted, entry) in &mut self.shelf().entries {
            if entry.busy || entry.due.is_none_or(|due| due > now) {
                continue;
            }
            (entry.busy, entry.due) = (true, None);
            let known = entry.found.as_ref().and_then(|found| found.manifest.clone());
            let (library, wanted) = (Arc::clone(self), Rc::new(wanted.clone()));
            begun.push(spawn_local(async move {
                let result = attempt(&wanted, known.as_deref(), &library.cache).await;
                library.end(&wanted, result);
            }));
        }
        begun
    }

    /// Attempts that were dropped on their way are due again.
    fn release(&self) {
        for entry in self.shelf().entries.values_mut().filter(|entry| entry.busy) {
            (entry.busy, entry.due) = (false, Some(Instant::now()));
        }
    }

    fn end(&self, wanted: &Wanted, result: Result<Option<Found>, String>) {
        let mut shelf = self.shelf();
        let Shelf { entries, counts } = &mut *shelf;
        // It is not wanted any more.
        let Some(entry) = entries.get_mut(wanted) else { return };
        entry.busy = false;
        let again = (wanted.fetch.pull == Pull::Always).then(|| Instant::now() + wanted.fetch.refresh);
        match result {
            Ok(found) => {
                match &found {
                    Some(_) => counts.fetched += 1,
                    None => counts.unchanged += 1,
                }
                (entry.trouble, entry.failures, entry.due) = (None, 0, again);
                if let Some(found) = found {
                    let digest = found.module.digest;
                    let is_new = entry.found.as_ref().is_none_or(|before| before.module.digest != digest);
                    entry.found = Some(found);
                    if is_new {
                        info!(module = %wanted, sha256 = assets::hex(&digest), "module fetched");
                        self.news.notify_one();
                    }
                }
            }
            Err(why) => {
                counts.failed += 1;
                let wait = back_off(entry.failures);
                entry.failures = entry.failures.saturating_add(1);
                entry.due = Some(Instant::now() + wait);
                let seconds = wait.as_secs_f32();
                if entry.trouble.as_ref() == Some(&why) {
                    debug!(module = %wanted, "module not fetched, again in {seconds:.1} s: {why}");
                } else {
                    warn!(module = %wanted, "module not fetched, again in {seconds:.1} s: {why}");
                }
                entry.trouble = Some(why);
            }
        }
        if std::mem::take(&mut entry.asked) {
            (entry.failures, entry.due) = (0, Some(Instant::now()));
        }
        drop(shelf);
        self.due.notify_one();
    }

    /// What is known of a module that was not wanted before.
    fn first(&self, wanted: &Wanted) -> Entry {
        let found = match &wanted.source {
            ModuleSource::Oci(_) => self.cache.resolved(&wanted.to_string()).and_then(|resolved| {
                let bytes = self.cache.module(&resolved.module)?;
                let module = assets::checked(bytes.into(), wanted.sha256.as_deref()).ok()?;
                Some(Found { module: Arc::new(module), manifest: Some(resolved.manifest) })
            }),
            _ => wanted.sha256.as_deref().and_then(assets::parse_hex).and_then(|digest| {
                let module = ModuleBytes { bytes: self.cache.module(&digest)?.into(), digest };
                Some(Found { module: Arc::new(module), manifest: None })
            }),
        };
        let ask = found.is_none() || wanted.fetch.pull == Pull::Always;
        Entry { found, due: ask.then(Instant::now), ..Entry::default() }
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait after so many failures, with up to a quarter more: gateways that lost a registry together should
/// not come back to it together.
fn back_off(failures: u32) -> Duration {
    let wait = FIRST_WAIT.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT);
    let chance = RandomState::new().hash_one(failures) % 256;
    wait + wait.mul_f64(chance as f64 / 1024.0)
}

/// After the first failure; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Between two attempts at most, but for what chance adds.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How often to look without a reason.
const IDLE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_minute() {
        for (failures, least) in [(0, 1), (1, 2), (3, 8), (6, 60), (1000, 60)] {
            let wait = back_off(failures);
            let least = Duration::from_secs(least);
            assert!(wait >= least && wait <= least + least / 4, "{failures}: {wait:?}");
        }
    }
}
