//! SPDX expressions of licences, and the slash between alternatives of old manifests.

/// Whether somebody who accepts these licences may use what has this one.
pub(super) fn fits(expression: &str, accepted: &dyn Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    alternatives(&mut words, accepted).is_some_and(|fits| fits && words.peek().is_none())
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

/// None: it is not understood.
fn alternatives(words: &mut Words<'_>, accepted: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut fits = all(words, accepted)?;
    while words.next_if_eq(&"OR").is_some() {
        fits |= all(words, accepted)?;
    }
    Some(fits)
}

fn all(words: &mut Words<'_>, accepted: &dyn Fn(&str) -> bool) -> Option<bool> {
    let mut fits = one(words, accepted)?;
    while words.next_if_eq(&"AND").is_some() {
        fits &= one(words, accepted)?;
    }
    Some(fits)
}

fn one(words: &mut Words<'_>, accepted: &dyn Fn(&str) -> bool) -> Option<bool> {
    let word = words.next()?;
    if word == "(" {
        let fits = alternatives(words, accepted)?;
        return (words.next()? == ")").then_some(fits);
    }
    match words.next_if_eq(&"WITH") {
        Some(_) => Some(accepted(&format!("{word} WITH {}", words.next()?))),
        None => Some(accepted(word)),
    }
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn expressions_are_weighed() {
        let accepted = |name: &str| ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].contains(&name);
        for (expression, fit) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("", false),
            ("MIT OR GPL-3.0", true),
            ("GPL-3.0/MIT", true),
            ("MIT AND GPL-3.0", false),
            ("ISC AND (GPL-3.0 OR MIT)", true),
            ("(ISC AND GPL-3.0) OR MIT", true),
            ("GPL-3.0 OR MIT AND BSD-3-Clause", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0", false),
            ("(MIT", false),
            ("MIT GPL-3.0", false),
        ] {
            assert_eq!(fits(expression, &accepted), fit, "{expression}");
        }
    }
}
