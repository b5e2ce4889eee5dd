//! Draws a flame graph: who called above whom was called, as wide as the time spent there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::stacks::Stacks;

/// A function within a stack, with all that it called.
#[derive(Default)]
struct Node<'a> {
    count: u64,
    callees: BTreeMap<&'a str, Node<'a>>,
}

/// The graph as SVG, which needs no script: names and shares show where the pointer rests.
pub(super) fn draw(stacks: &Stacks, title: &str) -> String {
    let mut root = Node::default();
    for (stack, count) in stacks.iter() {
        root.count += count;
        let mut node = &mut root;
        for name in stack.iter().take(DEEPEST) {
            node = node.callees.entry(name).or_default();
            node.count += count;
        }
    }
    let height = HEAD + ROW * (depth(&root) + 1);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"monospace\" font-size=\"11\">\n{STYLE}\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"4\" y=\"16\" font-size=\"13\">{}</text>\n",
        escaped(title)
    );
    let mut drawing = Drawing { text: &mut text, all: root.count.max(1) };
    drawing.node("all", &root, 0, 0);
    text.push_str("</svg>\n");
    text
}

struct Drawing<'a> {
    text: &'a mut String,
    all: u64,
}

impl Drawing<'_> {
    /// Draws a node and its callees; `before` are the samples to its left. Stacks are no deeper than [`DEEPEST`].
    fn node(&mut self, name: &str, node: &Node<'_>, row: usize, before: u64) {
        let at = |samples: u64| samples as f64 * WIDTH as f64 / self.all as f64;
        let (x, width) = (at(before), at(node.count));
        if width < NARROWEST {
            return;
        }
        let y = HEAD + ROW * row;
        let share = node.count as f64 * 100.0 / self.all as f64;
        let letters = (width / LETTER) as usize;
        let full = escaped(name);
        // Writing to a string cannot fail.
        _ = write!(
            self.text,
            "<g class=\"{}\"><title>{full}: {} samples, {share:.1} %</title>\
             <rect x=\"{x:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"{}\"/>",
            kind(name),
            node.count,
            (width - 0.5).max(NARROWEST),
            ROW - 1
        );
        if letters > 2 {
            let fits = name.chars().count() <= letters;
            let shown: String = name.chars().take(if fits { letters } else { letters - 2 }).collect();
            let dots = if fits { "" } else { "…" };
            _ = write!(
                self.text,
                "<text x=\"{:.1}\" y=\"{}\">{}{dots}</text>",
                x + 2.0,
                y + 11,
                escaped(&shown)
            );
        }
        self.text.push_str("</g>\n");
        let mut before = before;
        for (name, callee) in &node.callees {
            self.node(name, callee, row + 1, before);
            before += callee.count;
        }
    }
}

fn depth(node: &Node<'_>) -> usize {
    node.callees.values().map(|callee| depth(callee) + 1).max().unwrap_or(0)
}

/// What a function is a part of; it decides the colour.
fn kind(name: &str) -> &'static str {
    match name {
        _ if name.starts_with(super::stacks::GUEST) => "guest",
        _ if name.contains("tidegate") => "own",
        _ if name.contains("wasmtime") || name.contains("cranelift") => "host",
        _ => "other",
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

const STYLE: &str = "<style>.guest rect{fill:#c9a3e6}.own rect{fill:#f2a45c}.host rect{fill:#8fc7b5}.other rect{fill:#d9d4c8}\
text{fill:#222;pointer-events:none}g:hover rect{stroke:#222}</style>";

const WIDTH: usize = 1200;
const HEAD: usize = 26;
const ROW: usize = 16;

/// Width of a letter.
const LETTER: f64 = 6.7;

/// What is narrower is not drawn.
const NARROWEST: f64 = 0.4;

/// Rows at most; deeper stacks are cut.
const DEEPEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_as_wide_as_their_samples() {
        let stack = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut stacks = Stacks::default();
        stacks.add(stack(&["worker", "tidegate::run<&str>", "guest auth: check"]), 3);
        stacks.add(stack(&["worker", "tidegate::run<&str>"]), 1);
        let drawn = draw(&stacks, "a & b");
        for part in [
            "a &amp; b",
            "<g class=\"own\"><title>tidegate::run&lt;&amp;str&gt;: 4 samples, 100.0 %</title>",
            "<g class=\"guest\"><title>guest auth: check: 3 samples, 75.0 %</title><rect x=\"0.0\" y=\"74\" width=\"899.5\"",
        ] {
            assert!(drawn.contains(part), "{part} in\n{drawn}");
        }
        assert_eq!(drawn.matches("<g ").count(), drawn.matches("</g>").count());
        assert!(draw(&Stacks::default(), "").ends_with("</svg>\n"), "nothing was sampled");
    }
}
