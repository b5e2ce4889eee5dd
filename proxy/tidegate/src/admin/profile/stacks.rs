//! What was sampled: stacks with how often each was met.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What the names of guests' functions begin with.
pub(super) const GUEST: &str = "guest ";

/// Stacks from the thread to the innermost function.
#[derive(Debug, Default)]
pub(super) struct Stacks(BTreeMap<Vec<String>, u64>);

impl Stacks {
    /// Adds samples of a stack.
    pub(super) fn add(&mut self, stack: Vec<String>, count: u64) {
        *self.0.entry(stack).or_default() += count;
    }

    /// All samples.
    pub(super) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Each with its count.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[String], u64)> {
        self.0.iter().map(|(stack, count)| (stack.as_slice(), *count))
    }

    /// A line for each, as tools for flame graphs read them.
    pub(super) fn folded(&self) -> String {
        let mut text = String::new();
        for (stack, count) in self.iter() {
            for (index, name) in stack.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ";" });
                // What separates frames and lines is in no name.
                text.extend(name.chars().map(|c| if matches!(c, ';' | '\n') { ',' } else { c }));
            }
            // Writing to a string cannot fail.
            _ = writeln!(text, " {count}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_folded() {
        let stack = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut stacks = Stacks::default();
        stacks.add(stack(&["main", "a", "b<[u8; 4]>"]), 2);
        stacks.add(stack(&["main", "a"]), 1);
        stacks.add(stack(&["main", "a"]), 3);
        assert_eq!(stacks.folded(), "main;a 4\nmain;a;b<[u8, 4]> 2\n");
        assert_eq!(stacks.total(), 6);
    }
}
