//! Compiled code on disk, by digest of the module and compatibility of the engine.
//!
//! The one unsafe call of this crate is here: code from a file is run. It may be, because the folder
//! belongs to this user alone (checked when it is opened), so whoever can write there can already
//! run code as this user; damage is found by a digest before the code is looked at; and wasmtime
//! itself refuses code of another version, target or configuration.
#![expect(unsafe_code, reason = "Module::deserialize: see the head of this file")]

mod trim;

pub use trim::{CacheLimits, touch_cached, trim_cache};

use crate::LoadError;
use sha2::{Digest, Sha256};
use std::{
    fs,
    hash::{Hash, Hasher},
    io::{self, Write},
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Code that nothing has used in a month is gone, so is the oldest beyond the size.
const LIMITS: CacheLimits = CacheLimits { age: Duration::from_secs(30 * 24 * 3600), bytes: 1 << 30 };

const MAGIC: &[u8; 8] = b"tidegate";
const DIGEST_BYTES: usize = 32;

/// A folder of compiled modules.
pub(super) struct Cache {
    folder: PathBuf,
    compatibility: u64,
}

impl Cache {
    pub(super) fn open(folder: PathBuf, engine: &wasmtime::Engine) -> Result<Self, LoadError> {
        if let Err(problem) = private_folder(&folder) {
            return Err(LoadError::Cache { path: folder, problem });
        }
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        engine.precompile_compatibility_hash().hash(&mut hasher);
        trim_cache(&folder, LIMITS);
        Ok(Self { folder, compatibility: hasher.finish() })
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}-{:016x}.code", self.compatibility))
    }

    /// The compiled module; none when it is not there or damaged, it is then to be compiled again.
    pub(super) fn load(&self, engine: &wasmtime::Engine, digest: &str) -> Option<wasmtime::Module> {
        let path = self.path(digest);
        let file = fs::read(&path).ok()?;
        let rest = file.strip_prefix(MAGIC)?;
        let (stated, code) = rest.split_at_checked(DIGEST_BYTES)?;
        if Sha256::digest(code).as_slice() != stated {
            return None;
        }
        touch_cached(&path);
        // SAFETY: only this user can write to the folder, and the digest shows that the bytes are
        // those that `store` wrote, which came from `Module::serialize`.
        unsafe { wasmtime::Module::deserialize(engine, code) }.ok()
    }

    /// Keeps compiled code. A cache that cannot be written (disk full) only costs time at the
    /// next start, so nothing is reported.
    pub(super) fn store(&self, digest: &str, code: &[u8]) {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let temporary = self.folder.join(format!(".{digest}-{}-{number}", std::process::id()));
        if write(&temporary, code).and_then(|()| fs::rename(&temporary, self.path(digest))).is_err() {
            let _ = fs::remove_file(&temporary);
        }
        // A start looks at the folder as well; in between, not every new file needs to.
        if number % 16 == 15 {
            trim_cache(&self.folder, LIMITS);
        }
    }
}

fn write(path: &PathBuf, code: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(MAGIC)?;
    file.write_all(&Sha256::digest(code))?;
    file.write_all(code)?;
    file.sync_data()
}

/// Makes the folder, or checks that nobody else can write to the one there is.
fn private_folder(folder: &PathBuf) -> Result<(), String> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| format!("cannot be made: {error}"))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let found = fs::metadata(folder).map_err(|error| format!("cannot be read: {error}"))?;
        if found.mode() & 0o022 != 0 {
            return Err(format!("others may write to it (mode {:o}); it must be 700", found.mode() & 0o777));
        }
        let probe = folder.join(format!(".probe-{}", std::process::id()));
        let own = fs::File::create(&probe).and_then(|file| file.metadata()).map(|meta| meta.uid());
        let _ = fs::remove_file(&probe);
        match own {
            Ok(uid) if uid == found.uid() => {}
            Ok(uid) => {
                return Err(format!("it belongs to user {}, this process is user {uid}", found.uid()));
            }
            Err(error) => return Err(format!("cannot be written to: {error}")),
        }
    }
    Ok(())
}

/// A hash whose result is the same in every run, unlike the standard library's promise.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Engine, EngineOptions};
    use std::{path::Path, time::Duration};

    const GUEST: &str = r#"(module (memory (export "memory") 1)
        (func (export "malloc") (param i32) (result i32) i32.const 0)
        (func (export "proxy_abi_version_0_2_1")))"#;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("tidegate-cache-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn engine(folder: &Path) -> Result<Engine, LoadError> {
        let cache_dir = Some(folder.to_owned());
        Engine::new(EngineOptions { cache_dir, epoch_tick: Duration::from_millis(1) })
    }

    fn entry(folder: &Path) -> PathBuf {
        let mut files = fs::read_dir(folder).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none(), "one entry, no temporary files");
        file
    }

    #[test]
    fn compiled_code_is_kept_and_used() {
        let folder = folder("kept");
        let wasm = wat::parse_str(GUEST).unwrap();
        let first = engine(&folder).unwrap();
        let module = first.compile(&wasm).unwrap();
        let file = entry(&folder);
        let cache = first.cache().unwrap();
        assert!(cache.load(first.wasm(), module.digest()).is_some());
        assert_eq!(engine(&folder).unwrap().compile(&wasm).unwrap().digest(), module.digest());
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
            assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn damaged_code_is_compiled_again() {
        let folder = folder("damaged");
        let wasm = wat::parse_str(GUEST).unwrap();
        let engine = engine(&folder).unwrap();
        let digest = engine.compile(&wasm).unwrap().digest().to_owned();
        let file = entry(&folder);
        let good = fs::read(&file).unwrap();
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for bad in [&flipped[..], &good[..good.len() / 2], b"", b"tidegate", b"something else"] {
            fs::write(&file, bad).unwrap();
            assert!(engine.cache().unwrap().load(engine.wasm(), &digest).is_none());
            engine.compile(&wasm).unwrap();
            assert_eq!(fs::read(&file).unwrap().len(), good.len(), "written anew");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn a_folder_of_others_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder("open");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let error = engine(&folder).unwrap_err().to_string();
        assert!(error.contains("others may write to it (mode 777)"), "{error}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
