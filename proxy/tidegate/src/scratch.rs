//! A folder of its own for a test, removed with its owner.

use std::fs;
use std::path::{Path, PathBuf};

/// An empty folder that lives as long as this value.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Creates it; `name` must be unique among the tests.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-test-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the folder for temporary files can be written");
        Self(path.canonicalize().expect("just created"))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("the folder can be written");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing depends on it; the system clears its temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
