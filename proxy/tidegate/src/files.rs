//! Reads files and remembers what each looked like just before it was read, so that a change between the reading and
//! the beginning of the watch is noticed, and the digest of what was in it, for changes that leave no other trace.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// Reads the files of one attempt to load a configuration.
#[derive(Debug, Default)]
pub(crate) struct Files {
    stamps: Stamps,
}

/// What the files of an attempt looked like.
pub(crate) type Stamps = BTreeMap<PathBuf, Seen>;

/// What a path looked like when it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// None where nothing was.
    pub(crate) stamp: Option<Stamp>,
    /// What was in the file; none for folders and for what could not be read.
    digest: Option<[u8; 32]>,
}

/// How closely files are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// By what the file system says of them.
    Stamps,
    /// By what is in them as well.
    Contents,
}

/// Tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Files {
    /// Reads a file of at most `limit` bytes.
    pub(crate) fn read(&mut self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.note(path);
        // Opening one waits for somebody who writes. Those of the process itself, as in `check /dev/stdin`, have one.
        if fs::metadata(path)?.file_type().is_fifo() && !path.starts_with("/dev") {
            return Err(io::Error::other("is a pipe, not a file"));
        }
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::other("is a folder, not a file"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(limit)).unwrap_or(0));
        // One byte more than allowed tells a file that is too long; pipes and /proc files do not tell their length.
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!("is larger than {limit} bytes")));
        }
        // What only one can read, as a pipe, is not read again.
        if metadata.is_file()
            && let Some(seen) = self.stamps.get_mut(path)
        {
            seen.digest.get_or_insert_with(|| Sha256::digest(&bytes).into());
        }
        Ok(bytes)
    }

    /// Reads a text file of at most `limit` bytes.
    pub(crate) fn read_text(&mut self, path: &Path, limit: u64) -> io::Result<String> {
        String::from_utf8(self.read(path, limit)?).map_err(|_| io::Error::other("is not UTF-8 text"))
    }

    /// Remembers a path without reading it, a folder for instance.
    pub(crate) fn note(&mut self, path: &Path) {
        self.stamps.entry(path.to_owned()).or_insert_with(|| Seen { stamp: stamp(path), digest: None });
    }

    /// What was read, each as it was before it was first read.
    pub(crate) fn into_stamps(self) -> Stamps {
        self.stamps
    }
}

impl Seen {
    /// Whether something else is in the file than was read. What cannot be read now is left to the next look.
    fn reads_differently(&self, path: &Path) -> bool {
        let Some(then) = self.digest else { return false };
        let mut now = Sha256::new();
        let read = File::open(path).and_then(|mut file| io::copy(&mut file, &mut now));
        read.is_ok() && then != <[u8; 32]>::from(now.finalize())
    }
}

impl Stamp {
    /// Whether both are the same file or folder, whatever became of its content.
    pub(crate) fn is_same_file(one: &Option<Self>, other: &Option<Self>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => (one.device, one.inode) == (other.device, other.inode),
            _ => false,
        }
    }
}

/// The present state of a path, symbolic links followed.
pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// Whether any of the files is different now.
pub(crate) fn differ(stamps: &Stamps, depth: Depth) -> bool {
    stamps.iter().any(|(path, then)| then.stamp != stamp(path))
        || depth == Depth::Contents && stamps.iter().any(|(path, then)| then.reads_differently(path))
}

/// As if what was written since had left no trace but itself.
#[cfg(test)]
pub(crate) fn look_alike(stamps: &mut Stamps) {
    stamps.iter_mut().for_each(|(path, seen)| seen.stamp = stamp(path));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_file_beyond_the_limit_is_refused() {
        let folder = Scratch::new("files-limit");
        let path = folder.write("a", "12345");
        assert_eq!(Files::default().read(&path, 5).expect("five bytes"), b"12345");
        let error = Files::default().read(&path, 4).expect_err("one too many");
        assert_eq!(error.to_string(), "is larger than 4 bytes");
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let folder = Scratch::new("files-pipe");
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("coreutils").success());
        let error = Files::default().read(&path, 5).expect_err("not a file");
        assert_eq!(error.to_string(), "is a pipe, not a file");
    }

    #[test]
    fn a_file_that_comes_or_changes_differs() {
        let folder = Scratch::new("files-differ");
        let path = folder.path().join("a");
        let mut files = Files::default();
        assert!(files.read(&path, 10).is_err());
        let stamps = files.into_stamps();
        assert!(!differ(&stamps, Depth::Stamps));
        folder.write("a", "x");
        assert!(differ(&stamps, Depth::Stamps));

        let mut files = Files::default();
        files.read(&path, 10).expect("there now");
        let stamps = files.into_stamps();
        assert!(!differ(&stamps, Depth::Stamps));
        folder.write("a", "longer");
        assert!(differ(&stamps, Depth::Stamps));
    }

    /// A file system that stamps once a second, or a writer who puts the stamps back.
    #[test]
    fn a_file_that_only_reads_differently_differs_by_its_content() {
        let folder = Scratch::new("files-content");
        let path = folder.write("a", "old");
        let mut files = Files::default();
        files.read(&path, 10).expect("there");
        files.note(folder.path());
        let mut stamps = files.into_stamps();
        assert!(!differ(&stamps, Depth::Contents));
        folder.write("a", "new");
        look_alike(&mut stamps);
        assert!(!differ(&stamps, Depth::Stamps));
        assert!(differ(&stamps, Depth::Contents));
    }
}
