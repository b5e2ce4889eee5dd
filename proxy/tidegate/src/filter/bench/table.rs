//! The figures as a table, each with its difference to the last time.

use std::io::{self, Write};

use super::course::TICK;
use super::{Figures, Measured, START};
use crate::filter::screen::{Paint, Tint};

/// Writes the table.
pub(super) fn write(
    out: &mut impl Write,
    now: &Measured,
    before: Option<&Measured>,
    paint: Paint,
) -> io::Result<()> {
    let head = ["callback", "instructions", "", "ns", "", "host calls", "bytes copied"];
    writeln!(out, "{}", paint.tint(Tint::Dim, &row(&head.map(str::to_owned))))?;
    let total = sum(now);
    let total_before = before.map(sum);
    for figures in now.callbacks.iter().filter(|figures| figures.instructions > 0).chain([&total]) {
        let old = match figures.name == total.name {
            true => total_before.as_ref(),
            false => before.and_then(|before| before.callbacks.iter().find(|old| old.name == figures.name)),
        };
        let (instructions, nanoseconds) = (figures.instructions as f64, figures.nanoseconds);
        let columns = [
            figures.name.clone(),
            figures.instructions.to_string(),
            old.map_or(String::new(), |old| change(old.instructions as f64, instructions)),
            format!("{nanoseconds:.0}"),
            old.map_or(String::new(), |old| change(old.nanoseconds, nanoseconds)),
            figures.calls.to_string(),
            figures.copied.to_string(),
        ];
        let more = old.is_some_and(|old| figures.instructions > old.instructions);
        let less = old.is_some_and(|old| figures.instructions < old.instructions);
        let text = row(&columns);
        let text = if more {
            paint.tint(Tint::Odd, &text)
        } else if less {
            paint.tint(Tint::Good, &text)
        } else {
            text
        };
        writeln!(out, "{text}")?;
    }
    Ok(())
}

/// All callbacks of one request or connection.
fn sum(measured: &Measured) -> Figures {
    let mut sum = Figures { name: measured.whole.clone(), ..Figures::default() };
    let own = |figures: &&Figures| ![START, TICK].contains(&figures.name.as_str());
    for figures in measured.callbacks.iter().filter(own) {
        sum.instructions += figures.instructions;
        sum.nanoseconds += figures.nanoseconds;
        sum.calls += figures.calls;
        sum.copied += figures.copied;
    }
    sum
}

fn row(columns: &[String; 7]) -> String {
    let [name, instructions, more, nanoseconds, longer, calls, copied] = columns;
    let row = format!(
        "{name:<18}{instructions:>13} {more:<10}{nanoseconds:>9} {longer:<10}{calls:>10}{copied:>14}"
    );
    row.trim_end().to_owned()
}

/// `+3.2 %`; nothing where there is no difference.
fn change(before: f64, after: f64) -> String {
    if before <= 0.0 {
        return "(new)".to_owned();
    }
    let percent = (after / before - 1.0) * 100.0;
    if percent == 0.0 {
        return "(same)".to_owned();
    }
    format!("({percent:+.1} %)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_shown_by_callback() {
        let measured = |instructions| Measured {
            callbacks: vec![Figures {
                name: "log, done".to_owned(),
                instructions,
                nanoseconds: 10.0,
                calls: 1,
                copied: 2,
            }],
            ..Measured::default()
        };
        let shown = |before: Option<&Measured>| {
            let mut out = Vec::new();
            write(&mut out, &measured(110), before, Paint::never()).expect("a Vec takes everything");
            String::from_utf8(out).expect("text")
        };
        assert!(shown(Some(&measured(100))).contains("110 (+10.0 %)"), "{}", shown(None));
        assert!(shown(Some(&measured(110))).contains("110 (same)"));
        assert!(shown(Some(&Measured::default())).contains("110  "));
        assert!(!shown(None).contains('('));
    }
}
