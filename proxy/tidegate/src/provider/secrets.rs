//! Fills `${env:NAME}` and `${file:path}` from the process's environment and from files.

use std::cell::RefCell;
use std::env::VarError;
use std::path::Path;

use tidegate_config::Secrets;

use crate::files::Files;

/// Secrets of this machine; the files that were read are noted, so that they are watched.
pub(crate) struct FileSecrets<'a> {
    files: RefCell<&'a mut Files>,
}

impl<'a> FileSecrets<'a> {
    /// Reads through `files`.
    pub(crate) fn new(files: &'a mut Files) -> Self {
        Self { files: RefCell::new(files) }
    }
}

impl Secrets for FileSecrets<'_> {
    fn env(&self, name: &str) -> Result<String, String> {
        std::env::var(name).map_err(|error| match error {
            VarError::NotPresent => "the environment variable is not set".to_owned(),
            VarError::NotUnicode(_) => "the environment variable is not UTF-8 text".to_owned(),
        })
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        let read = self.files.borrow_mut().read_text(path, LARGEST_SECRET);
        read.map_err(|error| format!("cannot read {}: {error}", path.display()))
    }
}

/// Largest file that `${file:…}` may name.
const LARGEST_SECRET: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_file_is_read_and_noted() {
        let scratch = Scratch::new("secrets-file");
        let path = scratch.write("key", "k1\n");
        let mut files = Files::default();
        assert_eq!(FileSecrets::new(&mut files).file(&path).as_deref(), Ok("k1\n"));
        assert!(files.into_stamps().contains_key(&path));
    }

    #[test]
    fn a_missing_file_is_named_and_noted() {
        let scratch = Scratch::new("secrets-missing");
        let path = scratch.path().join("key");
        let mut files = Files::default();
        let why = FileSecrets::new(&mut files).file(&path).expect_err("not there");
        assert!(why.contains(&path.display().to_string()), "{why}");
        assert!(files.into_stamps().get(&path).is_some_and(|seen| seen.stamp.is_none()));
    }

    #[test]
    fn a_file_that_is_not_text_is_refused() {
        let scratch = Scratch::new("secrets-binary");
        let path = scratch.path().join("key");
        std::fs::write(&path, [0xff, 0xfe]).expect("a new file");
        let why = FileSecrets::new(&mut Files::default()).file(&path).expect_err("not text");
        assert!(why.contains("UTF-8"), "{why}");
    }

    #[test]
    fn a_variable_that_is_not_set_has_no_value() {
        let mut files = Files::default();
        let why = FileSecrets::new(&mut files).env("TIDEGATE_NO_SUCH_VARIABLE").expect_err("not set");
        assert!(why.contains("not set"), "{why}");
    }
}
