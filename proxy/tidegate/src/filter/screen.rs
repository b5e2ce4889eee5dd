//! How the tools for filters look on a terminal: names in a column.

use std::io::{self, Write};

/// A name and a value, the names in one column.
pub(crate) fn line(out: &mut impl Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(out, "{name:<10} {value}")
}

/// What happens now; on standard error, so that results can be piped.
pub(crate) fn say(message: &str) {
    eprintln!("{message}");
}
