//! The README's own words: what it says to type works as it stands.

use std::path::Path;
use std::process::Output;

use crate::process::{Folder, Gateway, lines, tidegate};

/// The blocks of commands.
fn blocks() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let text = std::fs::read_to_string(path).expect("there is a README");
    let blocks = text.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect()
}

fn block_with(part: &str) -> String {
    let mut found = blocks().into_iter().filter(|block| block.contains(part));
    let block = found.next().unwrap_or_else(|| panic!("no block with {part}"));
    assert!(found.next().is_none(), "one block with {part}");
    block
}

/// Pastes lines into a shell, with the binary in the place of the one that cargo would build.
fn paste(folder: &Folder, script: &str) -> Output {
    let binary = env!("CARGO_BIN_EXE_tidegate");
    let script = script
        .replace("cargo run --release -p tidegate --", &format!("'{binary}'"))
        .replace("/tmp/tidegate.yaml", "tidegate.yaml");
    let mut shell = std::process::Command::new("sh");
    let folder = folder.path(".");
    shell.args(["-e", "-c", &script]).current_dir(&folder).env("TIDEGATE_CACHE", folder.join(".cache"));
    shell.output().expect("there is a shell")
}

#[test]
fn its_own_configuration_is_checked_explained_and_run() {
    let block = block_with("cat > /tmp/tidegate.yaml");
    let (rest, run) = block.trim_end().rsplit_once('\n').expect("several lines");
    assert_eq!(run, "cargo run --release -p tidegate -- run /tmp/tidegate.yaml");
    let folder = Folder::new("readme");
    let output = paste(&folder, rest);
    let text = lines(&output).join("\n");
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("tidegate.yaml: ok") && text.contains("greeting"), "{text}");

    let written = std::fs::read_to_string(folder.path("tidegate.yaml")).expect("the block writes it");
    folder.write("tidegate.yaml", written.replace(":8080", ":0").replace(":9900", ":0"));
    let gateway = Gateway::start(&folder, "tidegate.yaml");
    assert_eq!(gateway.get("/hello"), (200, "hello\n".to_owned()));
}

/// What it says to call is there, and takes the flags that it is given.
#[test]
fn its_commands_are_there() {
    let folder = Folder::new("readme-commands");
    let text = blocks().join("\n");
    let calls = text.lines().filter_map(|line| {
        let call = line
            .strip_prefix("cargo run --release -p tidegate -- ")
            .or_else(|| line.strip_prefix("tidegate "))?;
        let words = call.split_whitespace().take_while(|word| *word != "&&");
        Some(words.map(str::to_owned).collect::<Vec<_>>())
    });
    let mut count = 0;
    for call in calls {
        let groups = if call.first().is_some_and(|word| word == "filter") { 2 } else { 1 };
        let help = tidegate(
            &folder,
            &[call.iter().take(groups).map(String::as_str).collect(), vec!["--help"]].concat(),
        );
        let help = (help.status.success(), lines(&help).join("\n"));
        assert!(help.0, "{call:?}");
        for flag in call.iter().filter(|word| word.starts_with("--")) {
            assert!(help.1.contains(flag.as_str()), "{call:?}: {}", help.1);
        }
        count += 1;
    }
    assert!(count >= 8, "{count} calls");
}

/// The lines to try are those that the demo prints, which `demo --check` tries.
#[test]
fn its_lines_to_try_are_those_of_the_demo() {
    let demo = include_str!("../../src/demo.rs")
        .replace("{gateway}", "127.0.0.1:8080")
        .replace("{KEY}", "demo-key")
        .replace("{SAMPLE_KEY}", "dGhlIHNhbXBsZSBub25jZQ==");
    let demo = demo.replace("\\\"", "\"").replace("\\\\", "\\");
    let block = block_with("# allowed:");
    let tries: Vec<&str> = block.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(tries.len() >= 5, "{tries:?}");
    for line in tries {
        assert!(demo.contains(line.trim()), "{line}");
    }
}
