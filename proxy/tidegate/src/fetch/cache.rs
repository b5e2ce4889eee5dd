//! Fetched modules on disk, by digest, and which module a reference of a registry meant last. A gateway that starts
//! while the registry is away takes them from here.
//!
//! Files are written under another name first, so that a reader, in this process or another one, sees whole files
//! only. What is read is checked against its digest; what is damaged is removed. The folder belongs to this user alone:
//! who could write to it could say what a tag means.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_wasm::{CacheLimits, trim_cache};
use tracing::warn;

use crate::assets::{self, Digest, digest, hex};

/// A folder of modules; or none, then nothing is kept.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: Option<PathBuf>,
}

/// What a reference meant when it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) module: Digest,
    /// Digest of the manifest, as registries write it.
    pub(crate) manifest: String,
}

#[derive(Serialize, Deserialize)]
struct Record {
    reference: String,
    module: String,
    manifest: String,
}

impl Cache {
    /// Modules in a folder, which is made if it is not there. A folder that is not safe is not used, with a warning.
    pub(crate) fn open(folder: Option<PathBuf>) -> Self {
        let folder = folder.filter(|folder| match private(folder) {
            Ok(()) => true,
            Err(why) => {
                warn!(folder = %folder.display(), "fetched modules are not kept: {why}");
                false
            }
        });
        let cache = Self { folder };
        cache.trim();
        cache
    }

    /// The module with this digest.
    pub(crate) fn module(&self, wanted: &Digest) -> Option<Vec<u8>> {
        let path = self.module_path(wanted)?;
        let bytes = fs::read(&path).ok()?;
        if digest(&bytes) != *wanted {
            warn!(path = %path.display(), "a fetched module is damaged, it is fetched again");
            let _ = fs::remove_file(&path);
            return None;
        }
        tidegate_wasm::touch_cached(&path);
        Some(bytes)
    }

    /// Keeps a module. One that cannot be kept only costs time at the next start.
    pub(crate) fn keep(&self, module: &[u8], digest: &Digest) {
        let Some(path) = self.module_path(digest) else { return };
        self.write(&path, module);
        self.trim();
    }

    /// What a reference meant last.
    pub(crate) fn resolved(&self, reference: &str) -> Option<Resolved> {
        let path = self.record_path(reference)?;
        let record: Record = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
        tidegate_wasm::touch_cached(&path);
        let module = assets::parse_hex(&record.module)?;
        (record.reference == reference).then_some(Resolved { module, manifest: record.manifest })
    }

    /// Remembers what a reference means.
    pub(crate) fn remember(&self, reference: &str, resolved: &Resolved) {
        let Some(path) = self.record_path(reference) else { return };
        let record = Record {
            reference: reference.to_owned(),
            module: hex(&resolved.module),
            manifest: resolved.manifest.clone(),
        };
        if let Ok(text) = serde_json::to_vec(&record) {
            self.write(&path, &text);
        }
    }

    fn module_path(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{}.wasm", hex(digest))))
    }

    fn record_path(&self, reference: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{}.json", hex(&digest(reference.as_bytes())))))
    }

    fn write(&self, path: &Path, bytes: &[u8]) {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let Some(folder) = &self.folder else { return };
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let fresh = folder.join(format!(".{}-{number}", std::process::id()));
        if let Err(error) = write(&fresh, bytes).and_then(|()| fs::rename(&fresh, path)) {
            warn!(path = %path.display(), %error, "a fetched module cannot be kept");
            let _ = fs::remove_file(&fresh);
        }
    }

    fn trim(&self) {
        if let Some(folder) = &self.folder {
            trim_cache(folder, LIMITS);
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// Makes the folder, or checks that nobody else can write to the one there is.
fn private(folder: &Path) -> Result<(), String> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder).map_err(|error| format!("it cannot be made: {error}"))?;
    let found = fs::metadata(folder).map_err(|error| format!("it cannot be read: {error}"))?;
    if found.mode() & 0o022 != 0 {
        return Err(format!("others may write to it (mode {:o}); it must be 700", found.mode() & 0o777));
    }
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    let own = fs::File::create(&probe).and_then(|file| file.metadata()).map(|metadata| metadata.uid());
    let _ = fs::remove_file(&probe);
    match own {
        Ok(own) if own == found.uid() => Ok(()),
        Ok(own) => Err(format!("it belongs to user {}, this process is user {own}", found.uid())),
        Err(error) => Err(format!("it cannot be written to: {error}")),
    }
}

/// A module that nothing has asked for in a month is gone; so are the oldest ones beyond the size.
const LIMITS: CacheLimits = CacheLimits { age: Duration::from_secs(30 * 24 * 3600), bytes: 512 << 20 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn modules_and_references_are_kept_over_a_restart() {
        let scratch = Scratch::new("cache-kept");
        let folder = || Some(scratch.path().join("modules"));
        let name = digest(b"module");
        let resolved = Resolved { module: name, manifest: "sha256:1".to_owned() };
        let cache = Cache::open(folder());
        assert_eq!((cache.module(&name), cache.resolved("oci://a/b:1")), (None, None));
        cache.keep(b"module", &name);
        cache.remember("oci://a/b:1", &resolved);
        let again = Cache::open(folder());
        assert_eq!(again.module(&name).as_deref(), Some(&b"module"[..]));
        assert_eq!(again.resolved("oci://a/b:1"), Some(resolved));
        assert_eq!(again.resolved("oci://a/b:2"), None);
    }

    #[test]
    fn damage_is_noticed() {
        let scratch = Scratch::new("cache-damaged");
        let cache = Cache::open(Some(scratch.path().join("modules")));
        let name = digest(b"module");
        cache.keep(b"module", &name);
        cache.remember("r", &Resolved { module: name, manifest: String::new() });
        for entry in fs::read_dir(scratch.path().join("modules")).expect("it was made") {
            fs::write(entry.expect("readable").path(), "mod").expect("its own file");
        }
        assert_eq!(cache.module(&name), None);
        assert_eq!(cache.resolved("r"), None);
        cache.keep(b"module", &name);
        assert!(cache.module(&name).is_some(), "it is kept anew");
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_not_used() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new("cache-open");
        let folder = scratch.path().join("modules");
        fs::create_dir(&folder).expect("a new folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("its own folder");
        let cache = Cache::open(Some(folder.clone()));
        cache.keep(b"module", &digest(b"module"));
        assert_eq!(fs::read_dir(folder).expect("it is there").count(), 0);
    }

    #[test]
    fn many_writers_leave_whole_files() {
        let scratch = Scratch::new("cache-writers");
        let (one, two) = (vec![1; 100_000], vec![2; 100_000]);
        let cache = Cache::open(Some(scratch.path().join("modules")));
        std::thread::scope(|scope| {
            for module in [&one, &two, &one, &two] {
                let cache = &cache;
                scope.spawn(move || {
                    for _ in 0..20 {
                        cache.keep(module, &digest(module));
                        assert_eq!(cache.module(&digest(module)).as_ref(), Some(module));
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(scratch.path().join("modules")).expect("it was made").count(), 2);
    }
}
