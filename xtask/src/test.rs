//! Every check of the project, one after the other, counted: formatting, tidiness, lints, documentation, tests.
//!
//! A check that fails does not keep the next from running, so one run shows everything.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::shell::{self, say};
use crate::suites::Ran;
use crate::{
    Outcome, demo, examples, filters, first_filter, guests, package, readme, recipes, schema, sizes, suites,
    tidy, tools,
};

/// What was counted so far.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: u64,
    /// Names of the steps that failed.
    failures: Vec<String>,
    /// Names of the steps that this machine cannot run, with the reason.
    not_run: Vec<String>,
}

/// `cargo xtask test`: every check but the demo's.
pub(crate) fn test() -> bool {
    let mut tally = Tally::default();
    checks(&mut tally);
    tally.report()
}

/// `cargo xtask ci`: every check, then those with outside programs and the demo's own.
pub(crate) fn ci() -> bool {
    let mut tally = Tally::default();
    checks(&mut tally);
    for (name, suite) in suites::IN_CI {
        tally.suite(name, suite);
    }
    tally.step("a first filter in a minute", first_filter::run);
    tally.step("README, pasted", readme::run);
    tally.step("sizes of filters", sizes::check);
    tally.step("demo --check", demo::check);
    tally.report()
}

fn checks(tally: &mut Tally) {
    tally.step("tools", || tools::ensure().and_then(|()| tools::ensure_servers()).map(|()| true));
    tally.step("formatting", || {
        let workspace = shell::passes(shell::cargo().args(["fmt", "--all", "--check"]))?;
        let filters = shell::passes(in_filters("fmt").args(["--all", "--check"]))?;
        let mut guests = shell::cargo();
        let guests =
            shell::passes(guests.args(["fmt", "--all", "--check", "--manifest-path", guests::MANIFEST]))?;
        Ok(workspace && filters && guests)
    });
    tally.step("tidy", tidy::run);
    tally.step("filters to Wasm", || filters::build().map(|_| true));
    tally.step("recipes to Wasm", recipes::build);
    tally.step("guests in other languages", || guests::build().map(|()| true));
    tally.step("clippy", || {
        shell::passes(shell::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
    tally.step("clippy of the filters", || {
        shell::passes(in_filters("clippy").args(["--workspace", "--all-targets", "--", "-D", "warnings"]))
    });
    tally.step("documentation", || {
        let mut command = shell::cargo();
        shell::passes(command.args(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings"))
    });
    tally.tests("tests", shell::cargo().args(["test", "--workspace", "--no-fail-fast"]));
    tally.tests("tests of the filters", in_filters("test").args(["--workspace", "--no-fail-fast"]));
    tally.step("packages", package::run);
    tally.step("examples", examples::check);
    tally.step("schema", schema::check);
}

/// A cargo command on the filters' workspace, natively.
fn in_filters(command: &str) -> Command {
    let mut cargo = shell::cargo();
    cargo.args([command, "--manifest-path", filters::MANIFEST]);
    cargo
}

impl Tally {
    /// Runs a check that counts as one.
    fn step(&mut self, name: &str, check: impl FnOnce() -> Outcome<bool>) {
        let started = begin(name);
        let passed = check().unwrap_or_else(|error| {
            eprintln!("xtask: {name}: {error}");
            false
        });
        match passed {
            true => self.passed += 1,
            false => self.fail(name, 1),
        }
        end(name, passed, started.elapsed());
    }

    /// Runs a suite that counts as one where it can be run.
    fn suite(&mut self, name: &str, suite: impl FnOnce() -> Outcome<Ran>) {
        let mut not = None;
        self.step(name, || match suite()? {
            Ran::Passed(passed) => Ok(passed),
            Ran::Not(why) => {
                say(&format!("NOT RUN: {name}: {why}"));
                not = Some(format!("{name} ({why})"));
                Ok(true)
            }
        });
        if let Some(not) = not {
            self.passed -= 1;
            self.not_run.push(not);
        }
    }

    /// Runs tests and adds what they count.
    fn tests(&mut self, name: &str, command: &mut Command) {
        let started = begin(name);
        let (passed, failed) = run_tests(command).unwrap_or_else(|error| {
            eprintln!("xtask: {name}: {error}");
            (0, 1)
        });
        self.passed += passed;
        if failed > 0 {
            self.fail(name, failed);
        }
        end(name, failed == 0, started.elapsed());
    }

    fn fail(&mut self, name: &str, count: u64) {
        self.failed += count;
        self.failures.push(name.to_owned());
    }

    /// Prints the sum as the last line.
    fn report(&self) -> bool {
        if !self.failures.is_empty() {
            println!("failed: {}", self.failures.join(", "));
        }
        for not in &self.not_run {
            println!("not run: {not}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        self.failed == 0
    }
}

fn begin(name: &str) -> Instant {
    say(&format!("{name} …"));
    Instant::now()
}

fn end(name: &str, passed: bool, took: Duration) {
    let outcome = if passed { "ok" } else { "FAILED" };
    say(&format!("{name}: {outcome} ({:.1} s)", took.as_secs_f64()));
}

/// Runs `cargo test`, shows all but the lines of tests that pass, and returns how many passed and failed.
fn run_tests(command: &mut Command) -> Outcome<(u64, u64)> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("no output to read")?;
    let (mut passed, mut failed) = (0, 0);
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if let Some((good, bad)) = counts(&line) {
            passed += good;
            failed += bad;
        }
        if !is_quiet(&line) {
            println!("{line}");
        }
    }
    let succeeded = child.wait()?.success();
    // Nothing failed, and yet it did not succeed: it did not compile, or a test took the process with it.
    if !succeeded && failed == 0 {
        failed = 1;
    }
    Ok((passed, failed))
}

/// Reads `test result: ok. 3 passed; 1 failed; …`.
fn counts(line: &str) -> Option<(u64, u64)> {
    let (_, rest) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut numbers = rest.split("; ").map(|part| part.split_once(' '));
    match (numbers.next()??, numbers.next()??) {
        ((passed, "passed"), (failed, "failed")) => Some((passed.parse().ok()?, failed.parse().ok()?)),
        _ => None,
    }
}

fn is_quiet(line: &str) -> bool {
    let is_start = line.starts_with("running ") && line.trim_end().ends_with(['t', 's']);
    line.is_empty() || is_start || (line.starts_with("test ") && line.ends_with("... ok"))
}

#[cfg(test)]
mod tests {
    use super::{counts, is_quiet};

    #[test]
    fn the_counts_of_a_test_binary_are_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(counts(line), Some((12, 3)));
        assert_eq!(counts("test result: ok. 1 passed; 0 failed; 0 ignored"), Some((1, 0)));
        assert_eq!(counts("test a::b ... ok"), None);
        assert_eq!(counts("test result: "), None);
    }

    #[test]
    fn only_what_passes_is_left_out_of_the_output() {
        assert!(is_quiet("test a::b ... ok"));
        assert!(is_quiet("running 12 tests"));
        assert!(!is_quiet("test a::b ... FAILED"));
        assert!(!is_quiet("assertion failed"));
    }
}
