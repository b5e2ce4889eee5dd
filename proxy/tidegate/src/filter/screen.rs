//! How the tools for filters look on a terminal: names in a column, colours only where they are seen.

use std::io::{self, IsTerminal, Write};

/// A name and a value, the names in one column.
pub(crate) fn line(out: &mut impl Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(out, "{name:<10} {value}")
}

/// A line, or several, on standard output. Who has closed it wants to see nothing.
pub(crate) fn show(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// What happens now; on standard error, so that results can be piped.
pub(crate) fn say(message: &str) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// How text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tint {
    /// Less important.
    Dim,
    /// It went well.
    Good,
    /// Look at it.
    Odd,
    /// It failed.
    Bad,
}

/// Whether colours are shown: on a terminal, unless `NO_COLOR` is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(bool);

impl Paint {
    /// For standard output.
    pub(crate) fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(io::stdout().is_terminal() && !unwanted)
    }

    /// Without colours.
    #[cfg(test)]
    pub(crate) fn never() -> Self {
        Self(false)
    }

    /// The text in a colour.
    pub(crate) fn tint(self, tint: Tint, text: &str) -> String {
        let code = match tint {
            Tint::Dim => 2,
            Tint::Good => 32,
            Tint::Odd => 33,
            Tint::Bad => 31,
        };
        match self.0 && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}
