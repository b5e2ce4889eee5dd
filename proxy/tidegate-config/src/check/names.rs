//! The names that the sources define, broken parts included: a reference to a broken part is not one problem more.

use crate::node::{Node, Value};
use std::cell::Cell;
use std::collections::HashSet;

/// What can be referred to by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Listener,
    Plugin,
    Route,
    Upstream,
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Plugin => "plugin",
            Self::Route => "route",
            Self::Upstream => "upstream",
        }
    }
}

/// All names of a tree.
#[derive(Debug, Default)]
pub(crate) struct Names {
    listeners: HashSet<String>,
    plugins: HashSet<String>,
    routes: HashSet<String>,
    upstreams: HashSet<String>,
    /// Comparisons of names that are still made for hints: thousands of wrong names must not take minutes.
    comparisons: Cell<usize>,
}

const COMPARISONS: usize = 200_000;

impl Names {
    /// Collects the names before anything is taken out of the tree.
    pub(crate) fn collect(root: &Node) -> Self {
        let keys = |section: &str| match root.get(section).map(|node| &node.value) {
            Some(Value::Map(entries)) => entries.iter().map(|entry| entry.key.clone()).collect(),
            _ => HashSet::new(),
        };
        let items = |section: &str| match root.get(section).map(|node| &node.value) {
            Some(Value::List(items)) => items.iter().filter_map(|item| text(item.get("name")?)).collect(),
            _ => HashSet::new(),
        };
        let (listeners, routes) = (items("listeners"), items("routes"));
        let (plugins, upstreams) = (keys("plugins"), keys("upstreams"));
        Self { listeners, plugins, routes, upstreams, comparisons: Cell::new(COMPARISONS) }
    }

    fn of(&self, kind: Kind) -> &HashSet<String> {
        match kind {
            Kind::Listener => &self.listeners,
            Kind::Plugin => &self.plugins,
            Kind::Route => &self.routes,
            Kind::Upstream => &self.upstreams,
        }
    }

    pub(crate) fn has(&self, kind: Kind, name: &str) -> bool {
        self.of(kind).contains(name)
    }

    pub(crate) fn is_empty(&self, kind: Kind) -> bool {
        self.of(kind).is_empty()
    }

    /// Names that a wrong name can be compared with, in a fixed order.
    pub(crate) fn candidates(&self, kind: Kind) -> Vec<&str> {
        let names = self.of(kind);
        let left = self.comparisons.get();
        if names.len() > left {
            return Vec::new();
        }
        self.comparisons.set(left - names.len());
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

fn text(node: &Node) -> Option<String> {
    match &node.value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}
