//! A version of a plugin: one module under one name. It is held by snapshots that have it, by its instances and so by the
//! requests inside them, and is gone with the last of these; the ledger tells what is left of it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tidegate_wasm::{Meter, Seen};

use crate::time::{Clock, monotonic};

/// The most workers that there can be.
const WORKERS: usize = 1024;

/// Digits of a digest that tell versions apart.
const DIGITS: usize = 12;

/// One module under one plugin's name.
pub(crate) struct Version {
    pub(crate) plugin: Arc<str>,
    /// SHA-256 of the module.
    pub(crate) digest: String,
    /// When it came, since the Unix epoch.
    pub(crate) since: Duration,
    /// By worker.
    meters: Vec<OnceLock<Arc<Meter>>>,
}

impl Version {
    /// A version that has just come.
    pub(crate) fn new(plugin: &str, digest: &str) -> Arc<Self> {
        Arc::new(Self {
            plugin: plugin.into(),
            digest: digest.to_owned(),
            since: Clock::new().wall(),
            meters: (0..WORKERS).map(|_| OnceLock::new()).collect(),
        })
    }

    /// Whether it is this one.
    pub(crate) fn is(&self, plugin: &str, digest: &str) -> bool {
        &*self.plugin == plugin && self.digest == digest
    }

    /// What a worker's instances are counted with.
    pub(crate) fn meter(&self, worker: usize) -> Option<Arc<Meter>> {
        Some(self.meters.get(worker)?.get_or_init(|| Arc::new(Meter::new(monotonic))).clone())
    }

    /// What all workers have counted.
    pub(crate) fn read(&self, seen: &mut Seen) {
        self.meters.iter().filter_map(OnceLock::get).for_each(|meter| meter.read(seen));
    }

    /// As metrics and logs show it.
    pub(crate) fn name(&self) -> &str {
        Self::short(&self.digest)
    }

    /// The beginning of a digest, as metrics show it.
    pub(crate) fn short(digest: &str) -> &str {
        digest.get(..DIGITS).unwrap_or(digest)
    }
}
