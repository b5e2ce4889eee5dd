//! `--config` of the tools for filters: JSON, or a file of whatever the filter reads.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// What is written inline, as the gateway's configuration would have it.
///
/// # Errors
/// When it is neither the name of a file nor JSON: mostly a file that is not there.
pub(super) fn inline(written: &str) -> Result<Value> {
    serde_json::from_str(written).with_context(|| {
        format!("--config is neither a file nor JSON: {written:?}; for instance '{{\"key\": 1}}'")
    })
}

/// The bytes that the filter is given; none for nothing.
///
/// # Errors
/// As [`inline`], and when the file cannot be read.
pub(super) fn bytes(written: &str) -> Result<Vec<u8>> {
    // Also a pipe, as `<(…)` of a shell makes one.
    if Path::new(written).exists() {
        return fs::read(written).with_context(|| format!("cannot read {written}"));
    }
    if written.trim().is_empty() {
        return Ok(Vec::new());
    }
    // A text is handed over without its quotation marks, as the gateway does.
    Ok(match inline(written)? {
        Value::String(text) => text.into_bytes(),
        _ => written.as_bytes().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_json_or_a_file() {
        for (written, read) in
            [("", &b""[..]), (" ", b""), ("{ \"a\": 1 }", b"{ \"a\": 1 }"), ("\"a\"", b"a")]
        {
            assert_eq!(bytes(written).expect("a configuration"), read, "{written:?}");
        }
        assert!(bytes(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).is_ok_and(|text| text.len() > 10));
        assert_eq!(bytes("/dev/null").expect("no file, but there"), b"");
        let why = bytes(env!("CARGO_MANIFEST_DIR")).expect_err("a folder").to_string();
        assert!(why.starts_with("cannot read "), "{why}");
        let why = bytes("confg.json").expect_err("no such file").to_string();
        assert!(why.contains("neither a file nor JSON: \"confg.json\""), "{why}");
    }
}
