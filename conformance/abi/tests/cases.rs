//! Runs all cases, and compares `docs/abi.md` with them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use tidegate_abi_cases::{Case, read, run, table};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

fn cases() -> Vec<Case> {
    let mut files: Vec<PathBuf> = folder().read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "txt"));
    files.sort();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    files.iter().flat_map(|path| read(&name(path), &std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn every_row_holds() {
    let cases = cases();
    assert!(!cases.is_empty());
    let wanted = std::env::var("CASE").unwrap_or_default();
    let chosen: Vec<&Case> = cases.iter().filter(|case| case.place.starts_with(&wanted)).collect();
    let mut failures = Vec::new();
    for case in &chosen {
        if let Err(problem) = run(case) {
            failures.push(format!("{} {}: {}\n    {problem}", case.place, case.subject, case.statement));
        }
    }
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), chosen.len(), failures.join("\n"));
}

#[test]
fn the_table_in_the_documents_is_of_these_cases() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/abi.md");
    let made = table(&cases());
    if std::env::var_os("UPDATE_ABI").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "docs/abi.md is out of date; UPDATE_ABI=1 cargo test -p tidegate-abi-cases writes it"
    );
}
