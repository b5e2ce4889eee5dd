//! Paths: the table from a canonical path to the rules that may have it, for one set of hosts.

use std::borrow::Cow;
use std::sync::Arc;

use http::request::Parts;
use regex::bytes::Regex;
use rustc_hash::FxHashMap;
use tidegate_config::plan::PathPattern;

use super::matching::{Conditions, PathRank, Summary, anchored};
use super::table::{Fault, Found};
use crate::http::sanitize::canonical;

/// A path's pattern, in canonical form.
#[derive(Debug, Clone)]
pub(super) enum CompiledPath {
    /// The whole path.
    Exact(String),
    /// Whole segments at the beginning; without a final slash, so that `/` is empty.
    Prefix(String),
    /// Over the whole path.
    Regex(Regex),
}

impl CompiledPath {
    pub(super) fn build(pattern: &PathPattern) -> Result<Self, Fault> {
        Ok(match pattern {
            PathPattern::Exact(path) => Self::Exact(canonical_pattern(path)?),
            PathPattern::Prefix(path) => {
                Self::Prefix(canonical_pattern(path)?.trim_end_matches('/').to_owned())
            }
            PathPattern::Regex(pattern) => Self::Regex(anchored(pattern)?),
        })
    }

    /// How specific the pattern is.
    pub(super) fn rank(&self) -> PathRank {
        match self {
            Self::Exact(path) => PathRank::Exact(path.len()),
            Self::Prefix(prefix) => PathRank::Prefix(prefix.len()),
            Self::Regex(regex) => PathRank::Regex(regex.as_str().len()),
        }
    }

    /// Whether a canonical path is of the pattern.
    pub(super) fn fits(&self, path: &str) -> bool {
        match self {
            Self::Exact(own) => own == path,
            Self::Prefix(own) => {
                path.strip_prefix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(regex) => regex.is_match(path.as_bytes()),
        }
    }
}

fn canonical_pattern(path: &str) -> Result<String, Fault> {
    canonical(path).map(Cow::into_owned).map_err(|fault| Fault::Path(path.to_owned(), fault))
}

/// A rule that may be the one, with what else it asks for.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// What is found; the prefix's length comes from the table.
    pub(super) found: Found,
    /// None: no conditions beside host and path.
    pub(super) conditions: Option<Arc<Conditions>>,
}

impl Candidate {
    fn holds(&self, head: &Parts) -> bool {
        self.conditions.as_ref().is_none_or(|conditions| conditions.hold(head))
    }
}

/// What goes into a table.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) summary: Summary,
    pub(super) path: CompiledPath,
    pub(super) candidate: Candidate,
}

/// All rules of one set of hosts.
#[derive(Debug)]
pub(super) struct PathTable {
    exact: FxHashMap<Box<str>, Bucket>,
    patterns: Vec<(Regex, Candidate)>,
    prefixes: FxHashMap<Box<str>, Bucket>,
    lengths: Lengths,
    root: Option<Bucket>,
}

impl PathTable {
    pub(super) fn new(mut entries: Vec<Entry>) -> Self {
        // The greatest first: within a path, the first one whose conditions hold has won.
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.summary));
        let mut table = Self {
            exact: FxHashMap::default(),
            patterns: Vec::new(),
            prefixes: FxHashMap::default(),
            lengths: Lengths::default(),
            root: None,
        };
        for Entry { path, candidate, .. } in entries {
            match path {
                CompiledPath::Exact(path) => insert(&mut table.exact, path, candidate),
                CompiledPath::Regex(regex) => table.patterns.push((regex, candidate)),
                CompiledPath::Prefix(prefix) if prefix.is_empty() => match &mut table.root {
                    Some(bucket) => bucket.rest.push(candidate),
                    None => table.root = Some(Bucket::new(candidate)),
                },
                CompiledPath::Prefix(prefix) => {
                    table.lengths.insert(prefix.len());
                    insert(&mut table.prefixes, prefix, candidate);
                }
            }
        }
        table
    }

    /// The most specific rule that has the path and whose conditions hold.
    pub(super) fn find(&self, path: &str, head: &Parts) -> Option<Found> {
        if !self.exact.is_empty()
            && let Some(found) = self.exact.get(path).and_then(|bucket| bucket.find(path.len(), head))
        {
            return Some(found);
        }
        let pattern =
            self.patterns.iter().find(|(regex, own)| regex.is_match(path.as_bytes()) && own.holds(head));
        if let Some((_, candidate)) = pattern {
            return Some(Found { matched_prefix_len: path.len(), ..candidate.found });
        }
        if !self.prefixes.is_empty()
            && let Some(found) = self.find_prefix(path, head)
        {
            return Some(found);
        }
        self.root.as_ref().and_then(|bucket| bucket.find(0, head))
    }

    /// Asks for prefixes from the longest to the shortest, at segment borders where some prefix has that length.
    fn find_prefix(&self, path: &str, head: &Parts) -> Option<Found> {
        let bytes = path.as_bytes();
        let mut end = bytes.len().min(self.lengths.longest);
        while end >= self.lengths.shortest {
            let border = bytes.get(end).is_none_or(|&next| next == b'/');
            if border && self.lengths.has(end) {
                let bucket = path.get(..end).and_then(|prefix| self.prefixes.get(prefix));
                if let Some(found) = bucket.and_then(|bucket| bucket.find(end, head)) {
                    return Some(found);
                }
            }
            end -= 1;
        }
        None
    }
}

/// Rules that share a path, the most specific first; mostly there is one.
#[derive(Debug)]
struct Bucket {
    first: Candidate,
    rest: Vec<Candidate>,
}

impl Bucket {
    fn new(first: Candidate) -> Self {
        Self { first, rest: Vec::new() }
    }

    fn find(&self, matched_prefix_len: usize, head: &Parts) -> Option<Found> {
        let candidate = if self.first.holds(head) {
            Some(&self.first)
        } else {
            self.rest.iter().find(|own| own.holds(head))
        };
        candidate.map(|candidate| Found { matched_prefix_len, ..candidate.found })
    }
}

fn insert(map: &mut FxHashMap<Box<str>, Bucket>, path: String, candidate: Candidate) {
    match map.entry(path.into_boxed_str()) {
        std::collections::hash_map::Entry::Occupied(mut entry) => entry.get_mut().rest.push(candidate),
        std::collections::hash_map::Entry::Vacant(entry) => drop(entry.insert(Bucket::new(candidate))),
    }
}

/// The lengths that prefixes have, so that a long path is not hashed at each of its segments.
#[derive(Debug)]
struct Lengths {
    short: [u64; 4],
    shortest: usize,
    longest: usize,
}

impl Default for Lengths {
    fn default() -> Self {
        Self { short: [0; 4], shortest: usize::MAX, longest: 0 }
    }
}

impl Lengths {
    fn insert(&mut self, length: usize) {
        if let Some(word) = self.short.get_mut(length / 64) {
            *word |= 1 << (length % 64);
        }
        self.shortest = self.shortest.min(length);
        self.longest = self.longest.max(length);
    }

    /// Whether some prefix may have the length; lengths from 256 on are not told apart.
    fn has(&self, length: usize) -> bool {
        self.short.get(length / 64).is_none_or(|word| word & (1 << (length % 64)) != 0)
    }
}
