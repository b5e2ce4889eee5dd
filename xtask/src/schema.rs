//! Keeps the JSON Schema of the configuration file in the user guide the one that the gateway gives.

use crate::Outcome;
use crate::shell::{self, say};

const FILE: &str = "docs/tidegate.schema.json";

/// Writes the schema.
pub(crate) fn write() -> Outcome<bool> {
    let text = current()?;
    std::fs::write(shell::root().join(FILE), text)
        .map_err(|error| format!("cannot write {FILE}: {error}"))?;
    say(&format!("schema: {FILE} written"));
    Ok(true)
}

/// Whether the written schema is the gateway's.
pub(crate) fn check() -> Outcome<bool> {
    let written = std::fs::read_to_string(shell::root().join(FILE)).unwrap_or_default();
    let is_current = written == current()?;
    if !is_current {
        println!("schema: {FILE} is not what `tidegate schema` prints; run `cargo xtask schema`");
    }
    Ok(is_current)
}

fn current() -> Outcome<String> {
    let mut command = shell::cargo();
    command.args(["run", "--quiet", "--package", "tidegate", "--", "schema"]);
    let text = shell::output(&mut command).ok_or("`tidegate schema` failed")?;
    Ok(format!("{text}\n"))
}
