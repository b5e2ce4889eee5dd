//! Keeps folders of cached files small: what nothing has used for long goes, and the oldest beyond a size.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// How much a folder may hold.
#[derive(Debug, Clone, Copy)]
pub struct CacheLimits {
    /// Files that were not used for longer are removed.
    pub age: Duration,
    /// Bytes of all files together; the ones that were used least recently are removed.
    pub bytes: u64,
}

/// Files that are still being written are left alone for this long.
const BEING_WRITTEN: Duration = Duration::from_secs(3600);

/// Notes that a file was used now.
pub fn touch_cached(path: &Path) {
    // Whoever may not write to it only makes it seem older.
    let _ = File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
}

/// Removes what is too old or too much, in this folder but not below. Files with a name that begins with a dot are on
/// their way and count only once they are left behind. Other processes may do the same at the same time.
pub fn trim_cache(folder: &Path, limits: CacheLimits) {
    // A folder that cannot be read cannot be written either.
    let _ = trim(folder, limits, SystemTime::now());
}

fn trim(folder: &Path, limits: CacheLimits, now: SystemTime) -> io::Result<()> {
    let mut kept: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Another process may have removed it.
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_file() {
            continue;
        }
        let used = metadata.modified().unwrap_or(now);
        let age = now.duration_since(used).unwrap_or_default();
        let on_its_way = entry.file_name().as_encoded_bytes().starts_with(b".");
        if age > if on_its_way { BEING_WRITTEN } else { limits.age } {
            let _ = fs::remove_file(entry.path());
        } else if !on_its_way {
            kept.push((used, metadata.len(), entry.path()));
        }
    }
    kept.sort_unstable_by_key(|file| std::cmp::Reverse(file.0));
    let mut sum = 0u64;
    for (_, size, path) in kept {
        sum = sum.saturating_add(size);
        if sum > limits.bytes {
            let _ = fs::remove_file(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_and_the_too_many_go() {
        let folder = std::env::temp_dir().join(format!("tidegate-trim-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("folder")).unwrap();
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 3600);
        let write = |name: &str, days: u32| {
            let path = folder.join(name);
            fs::write(&path, [0; 100]).unwrap();
            File::open(&path).unwrap().set_modified(now - day * days).unwrap();
        };
        for (name, days) in [("new", 0), ("older", 2), ("oldest", 3), ("gone", 40), (".left", 1), (".now", 0)]
        {
            write(name, days);
        }
        trim(&folder, CacheLimits { age: day * 30, bytes: 250 }, now).unwrap();
        let mut names: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, [".now", "folder", "new", "older"]);
        touch_cached(&folder.join("older"));
        trim(&folder, CacheLimits { age: day, bytes: 1000 }, SystemTime::now()).unwrap();
        assert!(folder.join("older").exists(), "it was used just now");
        fs::remove_dir_all(&folder).unwrap();
    }
}
