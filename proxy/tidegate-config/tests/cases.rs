//! Golden files: each `cases/NAME.yaml` with the problems that `cases/NAME.problems` expects, one on a line. With
//! `UPDATE_CASES=1` in the environment the expected problems are written instead.

#![allow(clippy::panic, reason = "a test fails by a panic")]

use std::fs;
use std::path::{Path, PathBuf};
use tidegate_config::{Secrets, SourceText, load};

struct Known;

impl Secrets for Known {
    fn env(&self, name: &str) -> Result<String, String> {
        if name == "KNOWN" { Ok("known-value".to_owned()) } else { Err("it is not set".to_owned()) }
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        Err(format!("{} is not there", path.display()))
    }
}

/// What loading says about a file: its problems, or the warnings of a document that is taken.
fn problems(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a readable case");
    let name = path.file_name().expect("a file name").to_string_lossy().into_owned();
    let lines: Vec<String> = match load(&[SourceText { name, text }], Path::new("/base"), &Known) {
        Ok(loaded) => loaded.warnings.iter().map(ToString::to_string).collect(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    };
    lines.into_iter().map(|line| line + "\n").collect()
}

#[test]
fn all_cases_have_the_expected_problems() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a folder of cases")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 30, "only {} cases", cases.len());
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut wrong = String::new();
    for case in cases {
        let (found, expectation) = (problems(&case), case.with_extension("problems"));
        if update {
            fs::write(&expectation, &found).expect("a writable folder of cases");
        }
        let expected = fs::read_to_string(&expectation).unwrap_or_default();
        if found != expected {
            wrong.push_str(&format!("== {}\nexpected:\n{expected}found:\n{found}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
