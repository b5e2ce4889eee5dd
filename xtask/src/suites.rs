//! `cargo xtask suites [NAME [ARGUMENT…]]`: long suites and those that need outside programs, which are installed below
//! `target/tools`, and nowhere else.

mod admin_api;
mod dashboard;
mod deny;
mod envoy;
mod limits;
mod prometheus;
mod python;
mod registry;
mod reloads;
mod semver;

use crate::Outcome;

/// A suite by name.
struct Suite {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Outcome<bool>,
}

/// What became of a suite in CI.
pub(crate) enum Ran {
    /// It ran; `false`: something failed.
    Passed(bool),
    /// It did not, for this reason.
    Not(String),
}

const SUITES: &[Suite] = &[
    Suite {
        name: "admin-api",
        about: "the admin API asked by Schemathesis, from PyPI, against openapi.json; arguments are its own",
        run: admin_api::run,
    },
    Suite {
        name: "dashboard",
        about: "the dashboard in Chromium: numbers under load, the graph, a fault in red, problems, explain, a tap; pictures of all views",
        run: dashboard::run,
    },
    Suite {
        name: "deny",
        about: "cargo-deny, from crates.io, with deny.toml: licences, bans, sources, and advisories where they are in reach; [WHAT…]",
        run: deny::run,
    },
    Suite {
        name: "envoy",
        about: "the same requests through the same module in Envoy and in Tidegate, compared; [--only TEXT] [--verbose]",
        run: envoy::run,
    },
    Suite {
        name: "limits",
        about: "what limits admit at the highest rate that h2load gives, by one gateway and by two with one Redis; [--tidegate PROGRAM]",
        run: limits::run,
    },
    Suite {
        name: "prometheus",
        about: "a real Prometheus scrapes the gateway, checks names and alerts, and answers the dashboards' queries",
        run: prometheus::run,
    },
    Suite {
        name: "registry",
        about: "modules pushed to Debian's docker-registry and pulled from it",
        run: registry::run,
    },
    Suite {
        name: "reloads",
        about: "new versions of a module under load, memory flat, nothing held; [HOW MANY], else 10000",
        run: reloads::run,
    },
    Suite {
        name: "semver",
        about: "the SDK's API by cargo-semver-checks, from crates.io, against the last release; [COMMIT]",
        run: semver::run,
    },
];

/// Runs the suite that is named first; names them all when none is.
pub(crate) fn run(arguments: &[String]) -> Outcome<bool> {
    let Some((name, rest)) = arguments.split_first() else {
        for suite in SUITES {
            println!("{:10} {}", suite.name, suite.about);
        }
        return Ok(true);
    };
    match SUITES.iter().find(|suite| suite.name == name) {
        Some(suite) => (suite.run)(rest),
        None => {
            let names: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
            Err(format!("no suite of the name {name:?}; there are: {}", names.join(", ")).into())
        }
    }
}

/// A suite where CI can run it.
type WhereItCan = fn() -> Outcome<Ran>;

/// What CI runs of them, by name.
pub(crate) const IN_CI: [(&str, WhereItCan); 3] = [
    ("the admin API by Schemathesis", admin_api::where_it_can),
    ("the dashboard in Chromium", dashboard::where_it_can),
    ("side by side with Envoy", envoy::where_it_can),
];
