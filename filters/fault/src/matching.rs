//! What the paths of requests must be like that an entry is about.

use tidegate_request_parts::Paths;
use tidegate_sdk::{ConfigError, Interest};

use crate::config::Path;

/// Which requests an entry is about.
pub(crate) type Matcher = tidegate_request_parts::Matcher<Path>;

impl Paths for Path {
    type Document = Path;

    fn build(document: &Path, path: &str) -> Result<Self, ConfigError> {
        let (Path::Exact(text) | Path::Prefix(text)) = document;
        if !text.starts_with('/') {
            let problem = format!("\"{text}\" does not begin with a slash");
            return Err(ConfigError::at(path, problem));
        }
        Ok(document.clone())
    }

    fn fits(&self, path: &[u8]) -> bool {
        match self {
            Path::Exact(wanted) => path == wanted.as_bytes(),
            Path::Prefix(wanted) => {
                let whole = wanted.trim_end_matches('/').as_bytes();
                path.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            }
        }
    }

    fn interest(&self) -> Option<Interest<'_>> {
        Some(match self {
            Path::Exact(path) => Interest::Path(path),
            Path::Prefix(path) => {
                let whole = path.trim_end_matches('/');
                Interest::PathPrefix(if whole.is_empty() { "/" } else { whole })
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_whole_segments() {
        let prefix = |wanted: &str, path: &str| Path::Prefix(wanted.to_owned()).fits(path.as_bytes());
        assert!(prefix("/", "/x") && prefix("/a", "/a") && prefix("/a", "/a/b") && prefix("/a/", "/a"));
        assert!(!prefix("/a", "/ab") && !prefix("/a", "/"));
        let exact = |path: &str| Path::Exact("/a".to_owned()).fits(path.as_bytes());
        assert!(exact("/a") && !exact("/a/") && !exact("/ab"));
    }
}
