//! Which requests an entry is about.

use tidegate_sdk::{ConfigError, Interest, Request, units};

use crate::config;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Matcher {
    path: Option<config::Path>,
    methods: Option<Vec<String>>,
    /// Names, and the values that they must have, if a certain one.
    headers: Vec<(String, Option<String>)>,
}

impl Matcher {
    pub(crate) fn new(wanted: Option<&config::Match>, path: &str) -> Result<Self, ConfigError> {
        let Some(wanted) = wanted else { return Ok(Matcher::default()) };
        if let Some(config::Path::Exact(text) | config::Path::Prefix(text)) = &wanted.path {
            if !text.starts_with('/') {
                let problem = format!("\"{text}\" does not begin with a slash");
                return Err(ConfigError::at(format!("{path}.path"), problem));
            }
        }
        if wanted.methods.as_ref().is_some_and(Vec::is_empty) {
            return Err(ConfigError::at(format!("{path}.methods"), "is empty, so no request would fit"));
        }
        let mut headers = Vec::new();
        for (name, value) in &wanted.headers {
            let name = header_name(name, &format!("{path}.headers"))?;
            headers.push((name, (value != "*").then(|| value.clone())));
        }
        Ok(Matcher { path: wanted.path.clone(), methods: wanted.methods.clone(), headers })
    }

    /// What all requests that fit have in common, or one of it; nothing where they have nothing.
    pub(crate) fn interest(&self) -> Option<Vec<Interest<'_>>> {
        match (&self.path, self.headers.first(), &self.methods) {
            (Some(config::Path::Exact(path)), ..) => Some(vec![Interest::Path(path)]),
            (Some(config::Path::Prefix(path)), ..) => {
                let whole = path.trim_end_matches('/');
                Some(vec![Interest::PathPrefix(if whole.is_empty() { "/" } else { whole })])
            }
            (None, Some((name, _)), _) => Some(vec![Interest::Header(name)]),
            (None, None, Some(methods)) => {
                Some(methods.iter().map(|method| Interest::Method(method)).collect())
            }
            (None, None, None) => None,
        }
    }

    pub(crate) fn fits<S>(&self, request: &Request<S>) -> bool {
        let method = || request.method();
        self.methods.as_ref().is_none_or(|methods| methods.contains(&method()))
            && self.path.as_ref().is_none_or(|path| {
                request.headers().get(":path").is_some_and(|value| fits_path(path, &value))
            })
            && self.headers.iter().all(|(name, wanted)| match (request.headers().get(name), wanted) {
                (Some(value), Some(wanted)) => value == wanted.as_str(),
                (value, _) => value.is_some(),
            })
    }
}

fn fits_path(wanted: &config::Path, path: &[u8]) -> bool {
    let ends = |rest: &[u8]| matches!(rest.first(), None | Some(b'?'));
    match wanted {
        config::Path::Exact(wanted) => path.strip_prefix(wanted.as_bytes()).is_some_and(ends),
        config::Path::Prefix(wanted) => {
            let whole = wanted.trim_end_matches('/').as_bytes();
            path.strip_prefix(whole).is_some_and(|rest| ends(rest) || rest.starts_with(b"/"))
        }
    }
}

/// A header's name in lower case.
pub(crate) fn header_name(name: &str, path: &str) -> Result<String, ConfigError> {
    units::header_name(name).map_err(|problem| ConfigError::at(path, problem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_whole_segments() {
        let prefix =
            |wanted: &str, path: &str| fits_path(&config::Path::Prefix(wanted.to_owned()), path.as_bytes());
        assert!(prefix("/", "/x") && prefix("/a", "/a") && prefix("/a", "/a/b?c") && prefix("/a/", "/a?b"));
        assert!(!prefix("/a", "/ab") && !prefix("/a", "/"));
        let exact = |path: &str| fits_path(&config::Path::Exact("/a".to_owned()), path.as_bytes());
        assert!(exact("/a?b=/c") && exact("/a") && !exact("/a/") && !exact("/ab"));
    }
}
