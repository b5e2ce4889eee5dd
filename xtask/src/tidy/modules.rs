//! Inside tidegate-proxy, lower modules do not import higher ones: the order in ARCHITECTURE.md as a table.
//!
//! The check reads the text: paths that start with `crate::`, or with as many `super::` as lead to the crate's root.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::sources::is_test;
use super::{read, shown};
use crate::Outcome;

/// Each module and those directly below it. What is below those is allowed as well.
const BELOW: &[(&str, &[&str])] = &[
    ("gateway", &["worker"]),
    ("worker", &["listen", "conn", "snapshot", "local"]),
    ("listen", &["conn", "local"]),
    ("conn", &["exchange"]),
    ("exchange", &["snapshot", "local", "route", "filter", "upstream"]),
    ("local", &["snapshot", "filter", "upstream"]),
    ("snapshot", &["route", "filter", "upstream"]),
    ("filter", &["upstream"]),
    ("route", &[]),
    ("upstream", &[]),
    ("http", &[]),
    ("telemetry", &[]),
];

/// What every module may import, from the higher to the lower.
const COMMON: &[&str] = &["http", "telemetry", "shared", "drain", "time", "transport"];

/// Every path in the crate's files that leads upward.
pub(super) fn check(source: &Path, files: &[PathBuf]) -> Outcome<Vec<String>> {
    let mut problems = Vec::new();
    for path in files {
        let Ok(inside) = path.strip_prefix(source) else { continue };
        let Some(module) = Module::of(inside) else { continue };
        if is_test(path) {
            continue;
        }
        for (index, line) in read(path)?.lines().enumerate() {
            for other in module.imports(line) {
                if !may_import(&module.top, &other) {
                    let place = format!("{}:{}", shown(path), index + 1);
                    problems.push(format!("{place}: {} imports {other}, which is not below it", module.top));
                }
            }
        }
    }
    Ok(problems)
}

/// A file of the crate, by its place among the modules.
struct Module {
    /// The module directly below the crate's root.
    top: String,
    /// How many `super::` lead to the root.
    depth: usize,
}

impl Module {
    /// `None` for the root itself, which shows what the others hold.
    fn of(path: &Path) -> Option<Module> {
        let mut names: Vec<String> =
            path.with_extension("").iter().map(|name| name.to_string_lossy().into_owned()).collect();
        if names.last().is_some_and(|name| name == "lib") {
            names.pop();
        }
        let depth = names.len();
        names.into_iter().next().map(|top| Module { top, depth })
    }

    /// The top modules that a line names, other than its own.
    fn imports(&self, line: &str) -> BTreeSet<String> {
        let line = line.split("//").next().unwrap_or_default();
        let to_root = "super::".repeat(self.depth);
        let mut found = BTreeSet::new();
        for start in ["crate::", to_root.as_str()] {
            for (at, _) in line.match_indices(start) {
                let begins = !line[..at]
                    .ends_with(|before: char| before == ':' || before == '_' || before.is_alphanumeric());
                let rest = &line[at + start.len()..];
                if begins && !rest.starts_with("super::") {
                    found.extend(first_names(rest));
                }
            }
        }
        found.remove(&self.top);
        found
    }
}

/// The modules at the start of a path, or at the start of each path in braces.
fn first_names(rest: &str) -> Vec<String> {
    let name = |text: &str| -> Option<String> {
        let end = text.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(text.len());
        // An item of the root, such as a type shown in lib.rs, is no module.
        (text.starts_with(|c: char| c.is_lowercase()) && end > 0).then(|| text[..end].to_owned())
    };
    let Some(group) = rest.strip_prefix('{') else { return name(rest).into_iter().collect() };
    let mut names = Vec::new();
    let (mut level, mut start) = (0, 0);
    for (at, character) in group.char_indices() {
        match character {
            '{' => level += 1,
            '}' if level > 0 => level -= 1,
            ',' | '}' if level == 0 => {
                names.extend(name(group[start..at].trim_start()));
                start = at + 1;
                if character == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    names
}

/// Whether `module` stands above `other`.
fn may_import(module: &str, other: &str) -> bool {
    let place = |name: &str| COMMON.iter().position(|common| *common == name);
    match (place(module), place(other)) {
        (None, Some(_)) => true,
        (Some(here), Some(there)) => there > here,
        (Some(_), None) => false,
        (None, None) => {
            let below =
                BELOW.iter().find(|(name, _)| *name == module).map_or([].as_slice(), |(_, below)| below);
            below.iter().any(|next| *next == other || may_import(next, other))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Module, may_import};

    #[test]
    fn lower_modules_do_not_import_higher_ones() {
        for (module, other) in [
            ("gateway", "upstream"),
            ("exchange", "local"),
            ("filter", "upstream"),
            ("upstream", "http"),
            ("http", "time"),
        ] {
            assert!(may_import(module, other), "{module} -> {other}");
            assert!(!may_import(other, module), "{other} -> {module}");
        }
        assert!(!may_import("route", "upstream"));
        assert!(!may_import("upstream", "route"));
    }

    #[test]
    fn every_way_to_write_a_path_is_seen() {
        let module = Module::of(Path::new("upstream/pool.rs")).expect("a module");
        let cases: [(&str, &[&str]); 7] = [
            ("use crate::conn::stream::Stream;", &["conn"]),
            ("use crate::{http::{Body, Fail}, time, upstream::call};", &["http", "time"]),
            ("    let x = super::super::worker::spawn();", &["worker"]),
            ("use super::cluster::Cluster;", &[]),
            ("// crate::worker is above", &[]),
            ("pub(crate) fn a() {}", &[]),
            ("use crate::Snapshot;", &[]),
        ];
        for (line, expected) in cases {
            let found: Vec<String> = module.imports(line).into_iter().collect();
            assert_eq!(found, expected, "{line}");
        }
    }
}
