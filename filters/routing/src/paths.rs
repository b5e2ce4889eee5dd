//! Rewrites and redirects: a pattern, and what takes its place.

use regex_lite::Regex;
use tidegate_sdk::ConfigError;

use crate::source::{beginning, whole, without_query};

/// A path that becomes another.
#[derive(Debug)]
pub(crate) struct Replace {
    pattern: Regex,
    /// What paths that fit begin with, if that is known.
    pub(crate) beginning: Option<String>,
    to: String,
    keep_query: bool,
}

impl Replace {
    pub(crate) fn new(pattern: &str, to: &str, keep_query: bool, path: &str) -> Result<Self, ConfigError> {
        let whole = whole(pattern, &format!("{path}.path"))?;
        check_groups(&whole, to, &format!("{path}.to"))?;
        Ok(Replace {
            pattern: whole,
            beginning: beginning(pattern).map(str::to_owned),
            to: to.to_owned(),
            keep_query,
        })
    }

    /// What becomes of a path with its query, if the pattern fits.
    pub(crate) fn apply(&self, path: &str) -> Option<String> {
        let plain = without_query(path);
        let found = self.pattern.captures(plain)?;
        let mut to = String::with_capacity(path.len() + self.to.len());
        found.expand(&self.to, &mut to);
        // A path of two slashes would be another host's.
        if to.starts_with("//") {
            to.replace_range(..to.len() - to.trim_start_matches('/').len(), "/");
        }
        if self.keep_query {
            let query = path.get(plain.len() + 1..).unwrap_or_default();
            if !query.is_empty() {
                to.push(if to.contains('?') { '&' } else { '?' });
                to.push_str(query);
            }
        }
        Some(to)
    }
}

/// Whether each group that is named in a replacement is one of the pattern's: the others would stand for nothing.
fn check_groups(pattern: &Regex, to: &str, path: &str) -> Result<(), ConfigError> {
    let mut rest = to;
    while let Some((_, behind)) = rest.split_once('$') {
        if let Some(behind) = behind.strip_prefix('$') {
            rest = behind;
            continue;
        }
        let (group, after) = match behind.strip_prefix('{') {
            Some(braced) => match braced.split_once('}') {
                Some(parts) => parts,
                None => return Err(ConfigError::at(path, "has ${ without }")),
            },
            None => {
                let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                behind.split_at(behind.bytes().take_while(|byte| word(*byte)).count())
            }
        };
        let known = match group.parse::<usize>() {
            Ok(number) => number < pattern.captures_len(),
            Err(_) => pattern.capture_names().flatten().any(|name| name == group),
        };
        if !known {
            let problem = format!("the pattern has no group \"{group}\"; write $$ for a dollar sign");
            return Err(ConfigError::at(path, problem));
        }
        rest = after;
    }
    Ok(())
}

/// A redirect.
#[derive(Debug)]
pub(crate) struct Redirect {
    pub(crate) status: u16,
    pub(crate) replace: Replace,
}

impl Redirect {
    pub(crate) fn new(redirect: &crate::config::Redirect, path: &str) -> Result<Self, ConfigError> {
        let to = &redirect.to;
        if ![301, 302, 303, 307, 308].contains(&redirect.status) {
            let problem = format!("{} is no redirect: 301, 302, 303, 307 or 308", redirect.status);
            return Err(ConfigError::at(format!("{path}.status"), problem));
        }
        let host = ["http://", "https://"].iter().find_map(|scheme| to.strip_prefix(scheme));
        let host = host.map(|rest| rest.split_once(['/', '?']).map_or(rest, |(host, _)| host));
        match host {
            // Else whoever writes the path could choose the host.
            Some(host) if host.is_empty() || host.contains('$') => {
                return Err(ConfigError::at(
                    format!("{path}.to"),
                    "needs a host in which nothing is captured",
                ));
            }
            None if !to.starts_with('/') => {
                let problem = format!("\"{to}\" is neither a path nor a URL of http or https");
                return Err(ConfigError::at(format!("{path}.to"), problem));
            }
            _ => {}
        }
        let replace = Replace::new(&redirect.path, to, redirect.keep_query, path)?;
        Ok(Redirect { status: redirect.status, replace })
    }

    pub(crate) fn apply(&self, path: &str) -> Option<String> {
        self.replace.apply(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(pattern: &str, to: &str, path: &str) -> Option<String> {
        Replace::new(pattern, to, true, "").unwrap().apply(path)
    }

    #[test]
    fn groups_take_the_place_of_what_they_name() {
        assert_eq!(replaced("/old/(.*)", "/new/$1", "/old/a/b?c=d").unwrap(), "/new/a/b?c=d");
        assert_eq!(replaced("/(?<y>[0-9]+)-(\\w+)", "/${2}/${y}x?a=1", "/12-b?c").unwrap(), "/b/12x?a=1&c");
        assert_eq!(replaced("/a", "/$$1", "/a").unwrap(), "/$1");
        assert_eq!(replaced("/a|/b", "/c", "/ab"), None, "the whole path must fit");
        assert_eq!(replaced("/x(.*)", "$1", "/x//evil.example").unwrap(), "/evil.example");
    }

    #[test]
    fn groups_that_there_are_not_are_refused() {
        for to in ["/$1", "/${x}", "/$2x", "/${1", "/$"] {
            assert!(Replace::new("/a", to, true, "").is_err(), "{to}");
        }
    }
}
