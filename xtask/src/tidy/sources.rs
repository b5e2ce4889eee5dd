//! The form of source files: how long they may be, how modules are laid out, and that each says what it holds.

use std::path::{Path, PathBuf};

use super::{read, shown};
use crate::Outcome;

/// The most lines of a file that is not a test; from 400 on, look whether it should be split.
const MOST_LINES: usize = 600;

pub(super) fn check(files: &[PathBuf]) -> Outcome<Vec<String>> {
    let mut problems = Vec::new();
    for path in files {
        let text = read(path)?;
        let file = shown(path);
        let lines = text.lines().count();
        if lines > MOST_LINES && !is_test(path) {
            problems.push(format!(
                "{file} has {lines} lines, more than {MOST_LINES}; split it where a reader would"
            ));
        }
        if path.file_name().is_some_and(|name| name == "mod.rs") {
            problems.push(format!("{file}: a module is named by its file, foo.rs beside foo/, never mod.rs"));
        }
        if !text.trim_start().starts_with("//!") {
            problems.push(format!("{file} does not start with `//!`: what it holds and where it belongs"));
        }
    }
    Ok(problems)
}

/// Whether a file holds tests or benchmarks only.
pub(super) fn is_test(path: &Path) -> bool {
    let in_folder =
        path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "benches");
    in_folder || path.file_name().is_some_and(|name| name == "tests.rs")
}
