//! Hosts: what a route and a listener have in common, and the table from a host to what is known for it.

use std::hash::Hash;

use rustc_hash::FxHashMap;
use tidegate_config::plan::HostPattern;

use crate::http::sanitize::MAX_HOST;

/// A set of hosts; the greater one is the more specific one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum HostKey {
    /// All.
    Any,
    /// Names that end in this, with its length first so that longer ones are greater.
    Wildcard(usize, Box<[u8]>),
    /// One name.
    Exact(Box<[u8]>),
}

impl HostKey {
    fn new(pattern: &HostPattern) -> Self {
        let bytes = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into_bytes();
        match pattern {
            HostPattern::Exact(name) => Self::Exact(bytes(name).into()),
            HostPattern::Wildcard(suffix) => Self::Wildcard(suffix.len(), bytes(suffix).into()),
        }
    }

    /// Whether a lower-case host without port is one of these. `*` stands for one or more labels.
    pub(super) fn has(&self, host: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Wildcard(_, suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            Self::Exact(name) => **name == *host,
        }
    }

    /// The hosts that are in both.
    fn and(&self, other: &Self) -> Option<Self> {
        let (narrow, wide) = if self >= other { (self, other) } else { (other, self) };
        let inside = match (narrow, wide) {
            (_, Self::Any) => true,
            (Self::Exact(name), wide) => wide.has(name),
            (Self::Wildcard(_, inner), Self::Wildcard(_, outer)) => inner.ends_with(outer),
            _ => false,
        };
        inside.then(|| narrow.clone())
    }
}

/// The hosts that a route serves on a listener; none where they have nothing in common.
pub(super) fn intersect(route: &[HostPattern], listener: &[HostPattern]) -> Vec<HostKey> {
    let keys = |patterns: &[HostPattern]| match patterns {
        [] => vec![HostKey::Any],
        some => some.iter().map(HostKey::new).collect(),
    };
    let (route, listener) = (keys(route), keys(listener));
    let mut common: Vec<HostKey> =
        route.iter().flat_map(|own| listener.iter().filter_map(|other| own.and(other))).collect();
    common.sort_unstable();
    common.dedup();
    common
}

/// Calls with the host in lower case, without port and final dot. Copies to the stack, and only what has upper case.
pub(super) fn with_normal<R>(authority: &[u8], call: impl FnOnce(&[u8]) -> R) -> R {
    let host = crate::http::sanitize::host(authority);
    if !host.iter().any(u8::is_ascii_uppercase) {
        return call(host);
    }
    let mut lower = [0; MAX_HOST];
    match lower.get_mut(..host.len()) {
        Some(lower) => {
            lower.copy_from_slice(host);
            lower.make_ascii_lowercase();
            call(lower)
        }
        // The sanitizer passes no such host; only rules for any host can match it.
        None => call(b""),
    }
}

/// From hosts to entries, asked from the most specific one on.
#[derive(Debug)]
pub(super) struct HostTable<T> {
    exact: FxHashMap<Box<[u8]>, T>,
    wildcard: FxHashMap<Box<[u8]>, T>,
    any: Option<T>,
}

impl<T> HostTable<T> {
    pub(super) fn new(entries: impl IntoIterator<Item = (HostKey, T)>) -> Self {
        let mut table = Self { exact: FxHashMap::default(), wildcard: FxHashMap::default(), any: None };
        for (key, entry) in entries {
            match key {
                HostKey::Exact(name) => drop(table.exact.insert(name, entry)),
                HostKey::Wildcard(_, suffix) => drop(table.wildcard.insert(suffix, entry)),
                HostKey::Any => table.any = Some(entry),
            }
        }
        table
    }

    /// The first answer of an entry for the host, which may have upper case and a port.
    pub(super) fn find<'a, R>(&'a self, authority: &[u8], ask: impl Fn(&'a T) -> Option<R>) -> Option<R> {
        if !self.exact.is_empty() || !self.wildcard.is_empty() {
            let named = with_normal(authority, |host| self.find_named(host, &ask));
            if named.is_some() {
                return named;
            }
        }
        self.any.as_ref().and_then(ask)
    }

    fn find_named<'a, R>(&'a self, host: &[u8], ask: &impl Fn(&'a T) -> Option<R>) -> Option<R> {
        if let Some(found) = self.exact.get(host).and_then(ask) {
            return Some(found);
        }
        if self.wildcard.is_empty() {
            return None;
        }
        // The longest suffix starts at the first dot; nothing before the dot is no label.
        memchr::memchr_iter(b'.', host)
            .filter(|&dot| dot > 0)
            .find_map(|dot| self.wildcard.get(&host[dot..]).and_then(ask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(list: &[&str]) -> Vec<HostPattern> {
        list.iter()
            .map(|text| match text.strip_prefix('*') {
                Some(suffix) => HostPattern::Wildcard(suffix.to_owned()),
                None => HostPattern::Exact((*text).to_owned()),
            })
            .collect()
    }

    fn text(key: &HostKey) -> String {
        match key {
            HostKey::Any => "any".to_owned(),
            HostKey::Wildcard(_, suffix) => format!("*{}", String::from_utf8_lossy(suffix)),
            HostKey::Exact(name) => String::from_utf8_lossy(name).into_owned(),
        }
    }

    #[test]
    fn routes_and_listeners_intersect() {
        for (route, listener, expected) in [
            (&[][..], &[][..], &["any"][..]),
            (&["a.b"], &[], &["a.b"]),
            (&[], &["a.b"], &["a.b"]),
            (&["a.b"], &["a.b"], &["a.b"]),
            (&["a.b"], &["c.d"], &[]),
            (&["*.b"], &["a.b"], &["a.b"]),
            (&["a.b"], &["*.b"], &["a.b"]),
            (&["b"], &["*.b"], &[]),
            (&["*.b"], &["b"], &[]),
            (&["*.a.b"], &["*.b"], &["*.a.b"]),
            (&["*.b"], &["*.a.b"], &["*.a.b"]),
            (&["*.a"], &["*.b"], &[]),
            (&["x.a.b"], &["*.b"], &["x.a.b"]),
            (&["xa.b"], &["*.a.b"], &[]),
            (
                &["very.specific.com", "*.specific.com", "other.com"],
                &["very.specific.com"],
                &["very.specific.com"],
            ),
            (
                &["non.matching.com", "wildcard.io", "*.wildcard.io", "foo.wildcard.io"],
                &["*.wildcard.io"],
                &["*.wildcard.io", "foo.wildcard.io"],
            ),
        ] {
            let keys = intersect(&patterns(route), &patterns(listener));
            let names: Vec<String> = keys.iter().map(text).collect();
            assert_eq!(names, expected, "{route:?} and {listener:?}");
        }
    }

    #[test]
    fn the_most_specific_host_is_asked_first() {
        let keys = ["a.b.c", "*.b.c", "*.c"];
        let mut entries: Vec<(HostKey, &str)> = keys
            .iter()
            .flat_map(|key| intersect(&patterns(&[key]), &[]).into_iter().map(move |own| (own, *key)))
            .collect();
        entries.push((HostKey::Any, "any"));
        let table = HostTable::new(entries);
        for (host, expected) in [
            ("a.b.c", "a.b.c"),
            ("A.B.c:80", "a.b.c"),
            ("a.b.c.", "a.b.c"),
            ("x.b.c", "*.b.c"),
            ("y.x.b.c", "*.b.c"),
            ("b.c", "*.c"),
            ("x.c", "*.c"),
            ("c", "any"),
            (".c", "any"),
            ("", "any"),
            ("[::1]:80", "any"),
        ] {
            assert_eq!(table.find(host.as_bytes(), |entry| Some(*entry)), Some(expected), "{host}");
        }
        let fallen = table.find(b"a.b.c", |entry| (*entry != "a.b.c" && *entry != "*.b.c").then_some(*entry));
        assert_eq!(fallen, Some("*.c"), "less specific hosts are asked in turn");
    }

    #[test]
    fn too_long_hosts_are_no_names() {
        let table = HostTable::new([(HostKey::Exact(b"a"[..].into()), 1), (HostKey::Any, 2)]);
        assert_eq!(table.find("A".repeat(300).as_bytes(), |entry| Some(*entry)), Some(2));
    }
}
