//! Documents that were damaged in every way: the loader answers, whatever it reads.

use std::path::Path;
use tidegate_config::{Secrets, SourceText, load};

struct Nothing;

impl Secrets for Nothing {
    fn env(&self, _: &str) -> Result<String, String> {
        Ok(String::new())
    }

    fn file(&self, _: &Path) -> Result<String, String> {
        Err("no files here".to_owned())
    }
}

const WHOLE: &str = include_str!("whole.yaml");

/// Loads a text; problems must stay printable.
fn answer(text: String) -> bool {
    let source = SourceText { name: "broken.yaml".to_owned(), text };
    match load(&[source], Path::new("/base"), &Nothing) {
        Ok(_) => true,
        Err(problems) => {
            assert!(!problems.is_empty() && !problems.to_string().is_empty());
            false
        }
    }
}

#[test]
fn a_text_that_ends_early() {
    for end in (0..WHOLE.len()).step_by(7) {
        answer(WHOLE[..end].to_owned());
    }
}

#[test]
fn a_line_that_is_missing() {
    let lines: Vec<&str> = WHOLE.lines().collect();
    for missing in 0..lines.len() {
        let rest: Vec<&str> =
            lines.iter().enumerate().filter(|(at, _)| *at != missing).map(|(_, line)| *line).collect();
        answer(rest.join("\n"));
    }
}

#[test]
fn a_value_that_is_something_else() {
    let nasty = [
        "",
        "~",
        "[]",
        "{}",
        "-1",
        "1e400",
        "99999999999999999999",
        "\"\\0\"",
        "[[[]]]",
        "${",
        "*x",
        "!a b",
        "true",
    ];
    for (at, line) in WHOLE.lines().enumerate() {
        let Some((key, _)) = line.split_once(": ") else { continue };
        for value in nasty {
            let changed: Vec<String> = WHOLE
                .lines()
                .enumerate()
                .map(|(other, line)| if other == at { format!("{key}: {value}") } else { line.to_owned() })
                .collect();
            answer(changed.join("\n"));
        }
    }
}

#[test]
fn thousands_of_problems() {
    let rules: Vec<String> = (0..5000)
        .map(|index| format!("  - {{ forward: [{{ upstream: nowhere-{index} }}], matches: [{{ path: {{ exact: {index} }} }}] }}"))
        .collect();
    let upstreams: Vec<String> =
        (0..1000).map(|index| format!("  somewhere-{index}: {{ servers: [a] }}")).collect();
    let text = format!(
        "listeners: [{{ name: a, address: 127.0.0.1:0 }}]\nroutes:\n- name: r\n  rules:\n{}\nupstreams:\n{}",
        rules.join("\n"),
        upstreams.join("\n")
    );
    let source = SourceText { name: "many.yaml".to_owned(), text };
    let problems = load(&[source], Path::new("/base"), &Nothing).expect_err("nothing is right");
    assert_eq!(problems.len(), 11_000);
}
