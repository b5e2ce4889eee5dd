//! Which requests of a plugin are recorded.

use std::path::PathBuf;

/// Which requests of a plugin are recorded, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The file.
    pub path: PathBuf,
    /// All requests, not only those that fail.
    pub all: bool,
    /// How many of them, in a million.
    pub share: u32,
    /// Bytes after which the file is begun anew.
    pub size: u64,
    /// Names, in lower case, of fields whose values are taken out; one that ends in `*` stands for all that begin so.
    pub headers: Vec<String>,
    /// Bodies are taken out.
    pub bodies: bool,
}

impl Recording {
    /// Whether the values of a field are taken out.
    #[must_use]
    pub fn is_secret(&self, name: &str) -> bool {
        self.headers.iter().any(|secret| match secret.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == secret,
        })
    }
}
