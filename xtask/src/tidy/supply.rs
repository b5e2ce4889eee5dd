//! What comes in from outside is what `deny.toml` lets in: licences, versions that must not be, several versions of one
//! crate, sources. `cargo xtask suites deny` asks cargo-deny itself, which takes minutes to compile; this is the part of it
//! that each check can afford.

mod licence;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::read;
use crate::{Outcome, filters, guests, shell};

const POLICY: &str = "deny.toml";

/// The workspaces, and whether several versions of a crate need a reason: guests are of several SDKs by intent.
const WORKSPACES: [(&str, bool); 3] =
    [("Cargo.toml", true), (filters::MANIFEST, true), (guests::MANIFEST, false)];

pub(super) fn check() -> Outcome<Vec<String>> {
    let policy = Policy::read(&read(&shell::root().join(POLICY))?);
    let mut problems = Vec::new();
    let mut doubled = BTreeSet::new();
    for (manifest, counts) in WORKSPACES {
        let crates = crates(manifest)?;
        problems
            .extend(crates.iter().filter_map(|one| Some(format!("{manifest}: {}", policy.problem(one)?))));
        if counts {
            doubled.extend(several(&crates));
        }
    }
    for name in doubled.iter().filter(|name| !policy.several.contains(*name)) {
        problems.push(format!("{name} comes in several versions: update who wants the old one, or add it to `skip` of {POLICY} with the reason"));
    }
    for name in policy.several.iter().filter(|name| !doubled.contains(*name)) {
        problems.push(format!("{POLICY} lets {name} in in several versions, but there is only one"));
    }
    Ok(problems)
}

/// A crate from outside.
struct Crate {
    name: String,
    version: String,
    licence: String,
    source: String,
}

/// What this system builds of a workspace.
fn crates(manifest: &str) -> Outcome<Vec<Crate>> {
    let mut command = shell::cargo();
    command.args(["metadata", "--locked", "--format-version=1", "--filter-platform"]);
    command.args(["x86_64-unknown-linux-gnu", "--manifest-path", manifest]);
    let text = shell::output(&mut command).ok_or_else(|| format!("`cargo metadata` of {manifest} failed"))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let foreign = packages.iter().filter(|package| package["source"].is_string());
    let read = |package: &Value| Crate {
        name: text(&package["name"]),
        version: text(&package["version"]),
        licence: text(&package["license"]),
        source: text(&package["source"]),
    };
    Ok(foreign.map(read).collect())
}

fn several(crates: &[Crate]) -> BTreeSet<String> {
    let mut versions = BTreeMap::<&str, u32>::new();
    for one in crates {
        *versions.entry(&one.name).or_default() += 1;
    }
    versions.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name.to_owned()).collect()
}

/// What `deny.toml` says, as far as it is read here.
#[derive(Default)]
struct Policy {
    licences: BTreeSet<String>,
    /// Crates that must not be: all versions of one, or those below the given one.
    banned: Vec<(String, Option<String>)>,
    /// Crates that may come in several versions.
    several: BTreeSet<String>,
}

impl Policy {
    fn read(text: &str) -> Self {
        let mut policy = Self::default();
        let mut list = "";
        for line in text.lines().map(str::trim) {
            match line.strip_suffix(" = [") {
                Some(name) => list = name,
                None if line == "]" => list = "",
                None => {}
            }
            let Some(word) = line.split('"').nth(1) else { continue };
            match list {
                "allow" => _ = policy.licences.insert(word.to_owned()),
                "skip" => _ = policy.several.insert(word.to_owned()),
                "deny" => policy.banned.push(match word.split_once("@<") {
                    Some((name, version)) => (name.to_owned(), Some(version.to_owned())),
                    None => (word.to_owned(), None),
                }),
                _ => {}
            }
        }
        policy
    }

    fn problem(&self, one: &Crate) -> Option<String> {
        let Crate { name, version, licence, source } = one;
        if source != SOURCE {
            return Some(format!("{name} comes from {source}, not from crates.io"));
        }
        if !licence::fits(licence, &|name| self.licences.contains(name)) {
            return Some(format!(
                "{name} {version} has the licence {licence:?}, which {POLICY} does not allow"
            ));
        }
        let (_, below) = self.banned.iter().find(|(banned, below)| {
            banned == name && below.as_ref().is_none_or(|below| is_below(version, below))
        })?;
        let below = below.as_ref().map_or_else(String::new, |below| format!(" below {below}"));
        Some(format!("{name} {version}: {POLICY} denies {name}{below}"))
    }
}

fn is_below(version: &str, other: &str) -> bool {
    let numbers = |version: &str| {
        let numbers = version.split(['-', '+']).next().unwrap_or_default().split('.');
        let mut numbers: Vec<u64> = numbers.map(|number| number.parse().unwrap_or_default()).collect();
        numbers.resize(3, 0);
        numbers
    };
    numbers(version) < numbers(other)
}

const SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
targets = [
    "x86_64-unknown-linux-gnu",
]
allow = [
    "MIT",
    "Apache-2.0 WITH LLVM-exception",
]
multiple-versions = "deny"
skip = [
    { crate = "syn", reason = "two of them" },
]
deny = [
    { crate = "openssl", reason = "no" },
    # why
    { crate = "h2@<0.4.18", reason = "a hole" },
]
unknown-git = "deny"
"#;

    fn found(name: &str, version: &str, licence: &str) -> Crate {
        Crate { name: name.into(), version: version.into(), licence: licence.into(), source: SOURCE.into() }
    }

    #[test]
    fn what_the_policy_denies_is_told() {
        let policy = Policy::read(TEXT);
        assert!(policy.several.contains("syn") && policy.several.len() == 1);
        // What stands behind a list is not in it.
        assert_eq!((policy.licences.len(), policy.banned.len()), (2, 2));
        let said = |one: &Crate| policy.problem(one).unwrap_or_default();
        assert_eq!(said(&found("h2", "0.4.18", "MIT")), "");
        assert_eq!(said(&found("h2", "0.5.0-rc.1", "MIT")), "");
        assert_eq!(said(&found("h2", "0.4.9", "MIT")), "h2 0.4.9: deny.toml denies h2 below 0.4.18");
        assert_eq!(said(&found("openssl", "9.0.0", "MIT")), "openssl 9.0.0: deny.toml denies openssl");
        assert_eq!(
            said(&found("a", "1.0.0", "GPL-3.0")),
            "a 1.0.0 has the licence \"GPL-3.0\", which deny.toml does not allow"
        );
        let git = Crate { source: "git+https://a.test".into(), ..found("a", "1.0.0", "MIT") };
        assert_eq!(said(&git), "a comes from git+https://a.test, not from crates.io");
    }

    #[test]
    fn several_versions_are_found() {
        let crates = [("a", "1.0.0"), ("b", "1.0.0"), ("a", "2.0.0")]
            .map(|(name, version)| found(name, version, "MIT"));
        assert_eq!(several(&crates).into_iter().collect::<Vec<_>>(), ["a"]);
    }
}
