//! Each direct dependency stands in docs/dependencies.md with one line on why, and is used by a crate.

use std::collections::BTreeSet;

use super::{Package, read};
use crate::{Outcome, filters, shell};

const LIST: &str = "docs/dependencies.md";

pub(super) fn check(packages: &[Package]) -> Outcome<Vec<String>> {
    let root = shell::root();
    let manifest = declared(&read(&root.join("Cargo.toml"))?);
    let of_filters = declared(&read(&root.join(filters::MANIFEST))?);
    let listed = listed(&read(&root.join(LIST))?);

    let mut problems = Vec::new();
    let own = |name: &str| name.starts_with("tidegate");
    let all: BTreeSet<&String> = manifest.union(&of_filters).filter(|name| !own(name)).collect();
    for name in all.iter().filter(|name| !listed.contains(**name)) {
        problems.push(format!("{LIST} does not say why {name} is needed"));
    }
    for name in listed.iter().filter(|name| !all.contains(name)) {
        problems.push(format!("{LIST} lists {name}, which no manifest has"));
    }
    let used: BTreeSet<&str> =
        packages.iter().flat_map(|package| &package.dependencies).map(|other| other.name.as_str()).collect();
    for name in manifest.iter().filter(|name| !used.contains(name.as_str()) && !own(name)) {
        problems.push(format!("Cargo.toml declares {name}, which no crate uses"));
    }
    Ok(problems)
}

/// The names below `[workspace.dependencies]`.
fn declared(manifest: &str) -> BTreeSet<String> {
    let lines = manifest.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    let section = lines.take_while(|line| !line.starts_with('['));
    let name = |line: &str| Some(line.split_once('=')?.0.trim().to_owned());
    section.filter(|line| !line.starts_with('#')).filter_map(name).collect()
}

/// The names in the first column of the list's tables.
fn listed(text: &str) -> BTreeSet<String> {
    let name = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    text.lines().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::{declared, listed};

    #[test]
    fn names_are_read_from_manifest_and_list() {
        let manifest = "[workspace]\nx = 1\n[workspace.dependencies]\n# why\na = \"1\"\n\nb-c = { version = \"2\" }\n[profile.dev]\nd = 1\n";
        assert_eq!(declared(manifest).into_iter().collect::<Vec<_>>(), ["a", "b-c"]);
        let list = "| crate | why |\n|---|---|\n| `a` | because |\n| `b-c` | so |\n";
        assert_eq!(listed(list).into_iter().collect::<Vec<_>>(), ["a", "b-c"]);
    }
}
