//! The project's own commands, run as `cargo xtask NAME`. CI calls nothing else.
//!
//! Each command finds or installs what it needs, says what it does, and uses nothing beyond the Rust toolchain,
//! crates.io and Debian's packages.

mod demo;
mod examples;
mod filters;
mod first_filter;
mod guests;
mod package;
mod readme;
mod recipes;
mod release;
mod schema;
mod shell;
mod sizes;
mod suites;
mod test;
mod tidy;
mod tools;

use std::process::ExitCode;

/// What every command of this crate returns; the error is printed for the person who typed the command.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (name, rest) = match arguments.split_first() {
        Some((name, rest)) => (name.as_str(), rest),
        None => ("help", [].as_slice()),
    };
    match run(name, rest) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask {name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one command. `Ok(false)` means that it has told what failed.
fn run(name: &str, rest: &[String]) -> Outcome<bool> {
    if !matches!(name, "api" | "demo" | "suites") && !rest.is_empty() {
        return Err(format!("takes no arguments, but \"{}\" was given", rest.join(" ")).into());
    }
    match name {
        "api" => match rest {
            [] => tidy::api::write(false),
            [one] if one == "--release" => tidy::api::write(true),
            _ => Err(format!("takes --release or nothing, but \"{}\" was given", rest.join(" ")).into()),
        },
        "ci" => Ok(test::ci()),
        "demo" => demo::run(rest),
        "filters" => filters::build().map(|_| true),
        "first-filter" => first_filter::run(),
        "guests" => guests::build().map(|()| true),
        "package" => package::run(),
        "readme" => readme::run(),
        "recipes" => recipes::build(),
        "release" => release::run(),
        "schema" => schema::write(),
        "sizes" => sizes::check(),
        "suites" => suites::run(rest),
        "test" => Ok(test::test()),
        "tidy" => tidy::run(),
        "help" | "-h" | "--help" => {
            print!("{HELP}");
            Ok(true)
        }
        _ => Err(format!("no command of this name; the commands are:\n{HELP}").into()),
    }
}

const HELP: &str = "\
cargo xtask demo [--check]   build everything and run the demo; --check tries its lines and ends
cargo xtask test             every check: formatting, tidiness, lints, documentation, tests
cargo xtask ci               test, then what needs outside programs and the check of the demo
cargo xtask filters          build the Wasm filters into target/filters
cargo xtask first-filter     from `tidegate filter new` to what curl sees, in less than a minute
cargo xtask guests           build the guests in other languages into target/guests
cargo xtask readme           paste README's commands into fresh shells, and see what it says that comes of them
cargo xtask recipes          build the filters of the cookbook into target/filters
cargo xtask release          build the gateway twice, the second time by what the first did under load: target/dist/tidegate
cargo xtask sizes            build every filter and template, and hold the small ones below 150 KiB
cargo xtask tidy             import edges, file sizes, the list of dependencies, the published API
cargo xtask package          pack the published crates, and compile the SDK from what was packed
cargo xtask api [--release]  write sdk/*/api.txt, the published API; for a release sdk/*/released.txt too
cargo xtask schema           write docs/tidegate.schema.json
cargo xtask suites [NAME]    long suites and those that need outside programs; without a name: which there are
";
