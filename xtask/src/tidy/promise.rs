//! What a published crate promised with its last release, `released.txt` beside it, and whether its API still keeps that:
//! what breaks filters that were written against it needs a version that says so.
//!
//! The listings are compared as sets of lines, each with the lines that it stands below. That finds what is gone, what is
//! different, and what others now have to write in addition; `cargo xtask suites semver` has the compiler's view of it.

use std::collections::BTreeSet;

use super::api::{HIDDEN, place};
use super::{read, shown};
use crate::Outcome;

/// What breaks in a crate of this version.
pub(super) fn check(name: &str, version: &str, listing: &str) -> Outcome<Vec<String>> {
    let path = place(name, "released.txt");
    let (released, promised) = read_release(&read(&path)?).ok_or_else(|| {
        format!("{}: its first line is not `version N.N.N`; run `cargo xtask api --release`", shown(&path))
    })?;
    let broken = broken(&promised, listing);
    if broken.is_empty() || may_break(released, number(version)?) {
        return Ok(Vec::new());
    }
    let wanted = next_breaking(released);
    let told = |line: &String| {
        format!(
            "sdk/{name}: {line}: filters written against {} break, so the crate's version must be {} or higher, and is \
             {version}; see \"The published API\" in CONTRIBUTING.md",
            shown_number(released),
            shown_number(wanted)
        )
    };
    Ok(broken.iter().map(told).collect())
}

/// Writes what is promised from this version on. What was promised before cannot be taken back by it.
pub(super) fn write(name: &str, version: &str, listing: &str) -> Outcome<()> {
    let path = place(name, "released.txt");
    let before = std::fs::read_to_string(&path).ok().and_then(|text| read_release(&text));
    if let Some((released, promised)) = before
        && !may_break(released, number(version)?)
        && let Some(broken) = broken(&promised, listing).first()
    {
        return Err(
            format!("{name} {version} breaks what it promised ({broken}); raise its version first").into()
        );
    }
    std::fs::write(&path, format!("version {version}\n{listing}"))
        .map_err(|error| format!("cannot write {}: {error}", shown(&path)).into())
}

type Number = [u64; 3];

fn read_release(text: &str) -> Option<(Number, String)> {
    let (first, listing) = text.split_once('\n')?;
    Some((number(first.strip_prefix("version ")?).ok()?, listing.to_owned()))
}

fn number(version: &str) -> Outcome<Number> {
    let plain = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<u64> = plain.split('.').filter_map(|part| part.parse().ok()).collect();
    parts.try_into().map_err(|_| format!("{version:?} is no version").into())
}

fn shown_number([major, minor, patch]: Number) -> String {
    format!("{major}.{minor}.{patch}")
}

/// The lowest version that cargo does not take for one that fits.
fn next_breaking([major, minor, patch]: Number) -> Number {
    match (major, minor) {
        (0, 0) => [0, 0, patch + 1],
        (0, _) => [0, minor + 1, 0],
        _ => [major + 1, 0, 0],
    }
}

fn may_break(released: Number, now: Number) -> bool {
    now >= next_breaking(released)
}

/// What somebody who wrote against the old listing cannot have any more, or has to add.
fn broken(old: &str, new: &str) -> Vec<String> {
    let (old, new) = (facts(old), facts(new));
    // Of what is gone as a whole the parts are not told as well.
    let is_part = |fact: &Fact| old.difference(&new).any(|whole| whole.path() == fact.above);
    let gone = old.difference(&new).filter(|fact| fact.line != HIDDEN && !is_part(fact));
    let gone = gone.map(|fact| format!("gone or different: {fact}"));
    let asked = new.difference(&old).filter(|fact| asks(fact, &old, &new));
    gone.chain(asked.map(|fact| format!("new: {fact}"))).collect()
}

/// A line, and the path of what it stands below.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Fact {
    above: String,
    line: String,
}

impl Fact {
    fn path(&self) -> String {
        format!("{}{}{BELOW}", self.above, self.line)
    }
}

impl std::fmt::Display for Fact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.above, self.line)
    }
}

/// What a listing says. In which file it says so matters for public modules only.
fn facts(listing: &str) -> BTreeSet<Fact> {
    let modules: BTreeSet<&str> = listing.lines().filter_map(|line| line.strip_prefix("pub mod ")).collect();
    let mut facts = BTreeSet::new();
    let mut module = String::new();
    let mut above: Vec<String> = Vec::new();
    for line in listing.lines() {
        if let Some(file) = line.strip_prefix("# ") {
            let name = file.split(['/', '.']).next().unwrap_or_default();
            module = if modules.contains(name) { format!("{name}{BELOW}") } else { String::new() };
            continue;
        }
        above.truncate((line.len() - line.trim_start().len()) / 4);
        let owner = format!("{module}{}", above.concat());
        of_line(line.trim(), &owner, &mut facts);
        above.push(format!("{}{BELOW}", split_marks(line.trim()).1));
    }
    facts
}

fn of_line(line: &str, owner: &str, facts: &mut BTreeSet<Fact>) {
    let (marks, item) = split_marks(line);
    let own = item.strip_suffix(DEFAULT);
    let item = own.unwrap_or(item);
    let below = format!("{owner}{item}{BELOW}");
    let mut fact =
        |above: &str, line: &str| facts.insert(Fact { above: above.to_owned(), line: line.to_owned() });
    fact(owner, item);
    if own.is_some() {
        fact(&below, OWN_BODY);
    }
    if (item.starts_with("pub struct ") || item.starts_with("pub enum "))
        && !marks.contains(&"non_exhaustive")
    {
        fact(&below, CLOSED);
    }
    for mark in marks {
        let derived = mark.strip_prefix("derive(").and_then(|rest| rest.strip_suffix(')'));
        for name in derived.into_iter().flat_map(|names| names.split(',')) {
            fact(&below, &format!("derive({})", name.trim()));
        }
    }
}

/// The attributes of an item without their brackets, and the item.
fn split_marks(mut line: &str) -> (Vec<&str>, &str) {
    let mut marks = Vec::new();
    while let Some((mark, rest)) = line.strip_prefix("#[").and_then(|rest| rest.split_once(']')) {
        marks.push(mark.trim());
        line = rest.trim_start();
    }
    (marks, line)
}

/// Whether something new is a burden for those who wrote against the old listing.
fn asks(fact: &Fact, old: &BTreeSet<Fact>, new: &BTreeSet<Fact>) -> bool {
    let has = |facts: &BTreeSet<Fact>, above: &str, line: &str| {
        facts.contains(&Fact { above: above.to_owned(), line: line.to_owned() })
    };
    if !old.iter().any(|one| one.path() == fact.above) || fact.line == CLOSED && has(old, &fact.above, CLOSED)
    {
        return false;
    }
    let owner = fact.above.trim_end_matches(BELOW).rsplit(BELOW).next().unwrap_or_default();
    if owner.starts_with("pub trait ") {
        return !has(new, &fact.path(), OWN_BODY);
    }
    let is_part = owner.starts_with("pub enum ") || owner.starts_with("pub struct ");
    let is_mark = fact.line == CLOSED || fact.line.starts_with("derive(");
    is_part && !is_mark && has(old, &fact.above, CLOSED) && !has(old, &fact.above, HIDDEN)
}

/// Between the parts of a path.
const BELOW: &str = " / ";

/// Others may make a value of it, or match all its variants: nothing may be added.
const CLOSED: &str = "all of it is shown";

/// A trait's method has a body, which others need not write.
const OWN_BODY: &str = "has a body of its own";

/// How the listing says so.
const DEFAULT: &str = " { … }";

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "# lib.rs\npub mod shown\npub use private::One\n# private.rs\n#[derive(Debug, Clone)] pub struct One\n    …\n\
        impl One\n    pub fn a(&self) -> u8\n# shown.rs\npub struct Open\n    pub a: u8\n#[non_exhaustive] pub enum More\n    A\n\
        pub enum All\n    A\n    B(u8)\npub trait Duty\n    fn must(&self)\n    fn may(&self) { … }\npub fn run(at: u8)\n";

    #[test]
    fn what_breaks_others_is_found() {
        for (what, with) in [
            ("    pub fn a(&self) -> u8\n", ""),
            ("-> u8", "-> u16"),
            ("pub use private::One\n", ""),
            ("derive(Debug, Clone)", "derive(Debug)"),
            ("pub struct Open\n    pub a: u8\n", "pub struct Open\n    pub a: u8\n    pub b: u8\n"),
            ("pub struct Open\n    pub a: u8\n", "pub struct Open\n    pub a: u8\n    …\n"),
            ("pub struct Open", "#[non_exhaustive] pub struct Open"),
            ("    B(u8)\n", "    B(u8)\n    C\n"),
            ("fn may(&self) { … }", "fn may(&self)"),
            ("    fn must(&self)\n", "    fn must(&self)\n    fn too(&self)\n"),
            ("pub fn run(at: u8)", "pub fn run(at: u8, to: u8)"),
            ("# shown.rs", "# private/other.rs"),
        ] {
            let new = OLD.replacen(what, with, 1);
            assert_ne!(new, OLD, "{what:?}");
            assert!(!broken(OLD, &new).is_empty(), "{what:?} became {with:?}");
        }
    }

    #[test]
    fn what_breaks_nobody_is_let_through() {
        for (what, with) in [
            ("    pub fn a(&self) -> u8\n", "    pub fn a(&self) -> u8\n    pub fn b(&self)\n"),
            ("derive(Debug, Clone)", "derive(Debug, Clone, PartialEq)"),
            ("pub struct One\n    …\n", "pub struct One\n    pub b: u8\n    …\n"),
            ("pub struct One\n    …\n", "pub struct One\n"),
            ("    A\npub enum All", "    A\n    B\npub enum All"),
            ("fn must(&self)", "fn must(&self) { … }"),
            ("    fn must(&self)\n", "    fn must(&self)\n    fn too(&self) { … }\n"),
            ("# private.rs", "# private/inside.rs"),
            ("pub fn run", "pub enum New\n    A\npub trait Other\n    fn must(&self)\npub fn run"),
        ] {
            let new = OLD.replacen(what, with, 1);
            assert_ne!(new, OLD, "{what:?}");
            assert_eq!(broken(OLD, &new), Vec::<String>::new(), "{what:?} became {with:?}");
        }
    }

    #[test]
    fn a_version_that_may_break_is_one_that_cargo_does_not_take_for_the_old_one() {
        for (released, now, may) in [
            ("0.1.0", "0.1.0", false),
            ("0.1.0", "0.1.9", false),
            ("0.1.3", "0.2.0", true),
            ("0.1.3", "1.0.0", true),
            ("1.2.0", "1.3.0", false),
            ("1.2.0", "2.0.0", true),
            ("0.0.1", "0.0.2", true),
        ] {
            let [released, now] = [released, now].map(|text| number(text).expect("a version"));
            assert_eq!(may_break(released, now), may, "{released:?} {now:?}");
        }
        assert!(number("1.2").is_err() && number("a.b.c").is_err());
    }
}
