//! The ledger: which generations of the configuration and which versions of plugins are still held, and by what.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tidegate_wasm::Seen;

use crate::filter::version::Version;
use crate::shared::Generation;
use crate::snapshot::Snapshot;

/// A generation that something still uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerationUse {
    /// Its number.
    pub generation: u64,
    /// Workers with at least one request, connection or listener that holds it.
    pub workers: usize,
    /// Requests and forwarded connections that began with it and are not over.
    pub requests: u64,
    /// When it was published, since the Unix epoch.
    pub since: Duration,
}

/// A version of a plugin that something still uses.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleUse {
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of the module, in hexadecimal.
    pub sha256: String,
    /// When it came, since the Unix epoch.
    pub since: Duration,
    /// What was counted of it.
    pub seen: Seen,
}

impl ModuleUse {
    /// The beginning of the digest, as metrics show it.
    #[must_use]
    pub fn version(&self) -> &str {
        Version::short(&self.sha256)
    }
}

/// Everything that was published and is not gone.
#[derive(Default)]
pub(super) struct Ledger {
    generations: Vec<Weak<Generation>>,
    versions: Vec<Weak<Version>>,
}

impl Ledger {
    /// A snapshot is published as this generation.
    pub(super) fn publish(&mut self, generation: &Arc<Generation>, snapshot: &Snapshot) {
        self.generations.retain(|generation| generation.strong_count() > 0);
        self.generations.push(Arc::downgrade(generation));
        self.versions.retain(|version| version.strong_count() > 0);
        for version in snapshot.plugins.iter().filter_map(|plugin| plugin.version.as_ref()) {
            if self.versions.iter().all(|known| !std::ptr::eq(known.as_ptr(), Arc::as_ptr(version))) {
                self.versions.push(Arc::downgrade(version));
            }
        }
    }

    /// Those that are in use, oldest first.
    pub(super) fn generations(&self) -> Vec<GenerationUse> {
        let used = self.generations.iter().filter_map(Weak::upgrade);
        used.map(|generation| GenerationUse {
            generation: generation.number,
            // The one counted here is this function's own.
            workers: Arc::strong_count(&generation) - 1,
            requests: generation.requests.sum(|requests| requests),
            since: generation.since,
        })
        .filter(|used| used.workers > 0)
        .collect()
    }

    /// Those that are in use, oldest first. A version that went and came again while requests still held it is one.
    pub(super) fn modules(&self) -> Vec<ModuleUse> {
        let mut used: Vec<ModuleUse> = Vec::new();
        for version in self.versions.iter().filter_map(Weak::upgrade) {
            let same = |known: &&mut ModuleUse| version.is(&known.plugin, &known.sha256);
            match used.iter_mut().find(same) {
                Some(known) => version.read(&mut known.seen),
                None => {
                    let mut seen = Seen::default();
                    version.read(&mut seen);
                    let (plugin, sha256) = (version.plugin.to_string(), version.digest.clone());
                    used.push(ModuleUse { plugin, sha256, since: version.since, seen });
                }
            }
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_came_again_is_one_until_nothing_holds_it() {
        let versions = ["a", "b", "a"].map(|digest| Version::new("p", digest));
        let ledger = Ledger { versions: versions.iter().map(Arc::downgrade).collect(), ..Ledger::default() };
        let names = |ledger: &Ledger| -> Vec<String> {
            ledger.modules().into_iter().map(|module| module.sha256).collect()
        };
        assert_eq!(names(&ledger), ["a", "b"]);
        let [first, second, again] = versions;
        drop((first, second));
        assert_eq!(names(&ledger), ["a"]);
        drop(again);
        assert_eq!(names(&ledger), Vec::<String>::new());
    }
}
