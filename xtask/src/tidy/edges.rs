//! Which crate may import which: the picture in ARCHITECTURE.md as a table.

use super::Package;

/// What one crate may import of the project's own crates.
struct Rule {
    name: &'static str,
    may_import: &'static [&'static str],
    /// In addition, for tests only.
    in_tests: &'static [&'static str],
    /// Other crates that it must not import, because it does no I/O.
    never: &'static [&'static str],
}

const fn rule(name: &'static str, may_import: &'static [&'static str]) -> Rule {
    Rule { name, may_import, in_tests: &[], never: &[] }
}

const GATEWAY: &[&str] = &["tidegate-abi", "tidegate-config", "tidegate-proxy", "tidegate-wasm"];

const RULES: &[Rule] = &[
    Rule { never: IO, ..rule("tidegate-abi", &[]) },
    Rule { never: IO, ..rule("tidegate-limiter", &[]) },
    Rule { never: IO, ..rule("tidegate-password", &[]) },
    Rule { never: IO, ..rule("tidegate-sdk", &["tidegate-abi", "tidegate-limiter", "tidegate-sdk-macros"]) },
    Rule { never: IO, ..rule("tidegate-sdk-macros", &[]) },
    Rule { never: IO, ..rule("tidegate-sdk-test", &["tidegate-abi", "tidegate-limiter", "tidegate-sdk"]) },
    Rule { never: IO_AND_WASM, ..rule("tidegate-config", &[]) },
    Rule { never: IO, ..rule("tidegate-wasm", &["tidegate-abi", "tidegate-limiter", "tidegate-password"]) },
    Rule { in_tests: &["tidegate-testkit"], ..rule("tidegate-proxy", &["tidegate-config", "tidegate-wasm"]) },
    Rule {
        in_tests: &["tidegate-testkit"],
        ..rule("tidegate", &["tidegate-config", "tidegate-proxy", "tidegate-toolchain", "tidegate-wasm"])
    },
    rule("tidegate-filter-host", &["tidegate-abi", "tidegate-sdk", "tidegate-sdk-test", "tidegate-wasm"]),
    rule("tidegate-testkit", GATEWAY),
    Rule { in_tests: GATEWAY, ..rule("tidegate-wire", &["tidegate-testkit"]) },
    rule("tidegate-suites", &["tidegate-testkit"]),
    rule("tidegate-fuzz", &["tidegate-wasm"]),
    rule("tidegate-micro", &["tidegate-config", "tidegate-proxy", "tidegate-wasm"]),
    rule("tidegate-abi-cases", &["tidegate-abi", "tidegate-wasm"]),
    rule("tidegate-toolchain", &[]),
    rule("xtask", &["tidegate-toolchain"]),
];

/// Crates that open sockets, read files or start threads.
const IO: &[&str] =
    &["h2", "hyper", "hyper-util", "mio", "notify", "reqwest", "rustls", "socket2", "tokio", "tokio-rustls"];

const IO_AND_WASM: &[&str] = &[
    "h2",
    "http-body",
    "hyper",
    "hyper-util",
    "mio",
    "notify",
    "proxy-wasm",
    "reqwest",
    "rustls",
    "socket2",
    "tokio",
    "tokio-rustls",
    "wasmtime",
];

/// Every forbidden import edge, and every crate that the table does not know.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    let own = |name: &str| packages.iter().any(|package| package.name == name);
    let mut problems = Vec::new();
    for package in packages {
        let name = &package.name;
        let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
            problems.push(format!(
                "crate {name} is not in the table of xtask/src/tidy/edges.rs; say what it may import"
            ));
            continue;
        };
        for dependency in &package.dependencies {
            let other = dependency.name.as_str();
            let in_tests = dependency.is_dev && rule.in_tests.contains(&other);
            if own(other) && !rule.may_import.contains(&other) && !in_tests {
                let allowed =
                    if rule.may_import.is_empty() { "none".to_owned() } else { rule.may_import.join(", ") };
                problems.push(format!(
                    "{name} imports {other}; of the project's crates it may import: {allowed}"
                ));
            }
            if !dependency.is_dev && rule.never.contains(&other) {
                problems.push(format!("{name} imports {other}, but does no I/O"));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::{Dependency, Package};

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let dependency = |&(name, is_dev): &(&str, bool)| Dependency { name: name.to_owned(), is_dev };
        let dependencies = dependencies.iter().map(dependency).collect();
        Package { name: name.to_owned(), version: String::new(), dependencies }
    }

    #[test]
    fn only_the_edges_of_the_picture_pass() {
        let cases = [
            (
                package(
                    "tidegate",
                    &[("tidegate-proxy", false), ("tidegate-testkit", true), ("tokio", false)],
                ),
                0,
            ),
            (package("tidegate", &[("tidegate-testkit", false)]), 1),
            (package("tidegate-wasm", &[("tidegate-proxy", false), ("tokio", false), ("hyper", true)]), 2),
            (package("tidegate-abi", &[("tidegate-proxy", true)]), 1),
            (package("tidegate-new", &[]), 1),
        ];
        for (subject, expected) in cases {
            let label = subject.name.clone();
            let others = ["tidegate-proxy", "tidegate-testkit"].map(|name| package(name, &[]));
            let packages: Vec<Package> = others.into_iter().chain([subject]).collect();
            let problems = check(&packages);
            assert_eq!(problems.len(), expected, "{label}: {problems:?}");
        }
    }
}
