//! A shipped filter in the gateway, with the configuration of its example.

use std::path::{Path, PathBuf};

use tidegate_testkit::{ScriptedUpstream, TestGateway};

/// A gateway that runs `examples/NAME/tidegate.yaml` with the filter NAME as it was built, in front of an upstream of the
/// test's. `change` may change the text.
///
/// # Panics
/// If the example or the module is not there, or the configuration is not accepted.
pub fn shipped(name: &str, upstream: &ScriptedUpstream, change: impl Fn(String) -> String) -> TestGateway {
    shipped_example(name, name, upstream, change)
}

/// The same for an example of another name than its filter's.
///
/// # Panics
/// As [`shipped`].
pub fn shipped_example(
    example: &str,
    name: &str,
    upstream: &ScriptedUpstream,
    change: impl Fn(String) -> String,
) -> TestGateway {
    shipped_together(example, &[name], upstream, change)
}

/// The same for an example in which several filters stand.
///
/// # Panics
/// As [`shipped`].
pub fn shipped_together(
    example: &str,
    names: &[&str],
    upstream: &ScriptedUpstream,
    change: impl Fn(String) -> String,
) -> TestGateway {
    let example = read(&format!("examples/{example}/tidegate.yaml"));
    let text = String::from_utf8(example).expect("an example is text");
    let address = |line: &str| match line.split_once("address: 127.0.0.1:") {
        Some((before, _)) => format!("{before}address: 127.0.0.1:0"),
        None => line.replace("127.0.0.1:3001", &upstream.address().to_string()),
    };
    let text: Vec<String> = text.lines().map(address).collect();
    let (mut text, mut files) = (text.join("\n"), Vec::new());
    for name in names {
        let file = format!("{}.wasm", name.replace('-', "_"));
        text = text.replace(&format!("builtin:{name}"), &file);
        let module = read(&format!("target/filters/{file}"));
        files.push((file, module));
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
    TestGateway::start_with(&change(text), &files)
}

fn read(path: &str) -> Vec<u8> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run `cargo xtask filters`", path.display()))
}
