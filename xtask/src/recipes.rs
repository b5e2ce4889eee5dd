//! `cargo xtask recipes`: builds the filters of the cookbook as modules, `target/filters/recipe_NN.wasm`, a letter behind
//! the number of a recipe's further ones. Their sources are the code of docs/filters/cookbook.md up to its tests, which the
//! documentation tests of tidegate-sdk-test run natively.

use std::path::Path;

use tidegate_toolchain::TARGET;

use crate::Outcome;
use crate::filters::install;
use crate::shell::{self, say};

const COOKBOOK: &str = "docs/filters/cookbook.md";

/// A filter of the cookbook.
struct Recipe {
    /// `recipe_03`, `recipe_07b`.
    name: String,
    code: String,
}

/// Builds them all.
pub(crate) fn build() -> Outcome<bool> {
    let text = std::fs::read_to_string(shell::root().join(COOKBOOK))
        .map_err(|error| format!("cannot read {COOKBOOK}: {error}"))?;
    let recipes = read(&text)?;
    let folder = shell::root().join("target/recipes");
    let members: Vec<String> = recipes.iter().map(|recipe| format!("{:?}", recipe.name)).collect();
    write(&folder.join("Cargo.toml"), &workspace(&members.join(", ")))?;
    // The same versions of what they have in common with the filters.
    write(&folder.join("Cargo.lock"), &locked(&folder)?)?;
    for recipe in &recipes {
        let own = folder.join(&recipe.name);
        write(&own.join("Cargo.toml"), &manifest(&recipe.name))?;
        write(&own.join("src/lib.rs"), &recipe.code)?;
    }

    let toolchain = tidegate_toolchain::find(&say)?;
    say(&format!("recipes: building {} with {}", recipes.len(), toolchain.description()));
    let built = shell::root().join("target/wasm");
    let mut command = toolchain.cargo_build(shell::cargo());
    command.arg("--manifest-path").arg(folder.join("Cargo.toml")).env("CARGO_TARGET_DIR", &built);
    shell::run(&mut command)?;
    let to = shell::root().join("target/filters");
    std::fs::create_dir_all(&to).map_err(|error| format!("cannot create {}: {error}", to.display()))?;
    for recipe in &recipes {
        let file = format!("{}.wasm", recipe.name);
        install(&built.join(TARGET).join("release").join(&file), &to.join(&file))?;
    }
    Ok(true)
}

fn read(text: &str) -> Outcome<Vec<Recipe>> {
    let mut recipes: Vec<Recipe> = Vec::new();
    for section in text.split("\n## ").skip(1) {
        let number: u32 = section
            .split_once(". ")
            .and_then(|(number, _)| number.parse().ok())
            .ok_or_else(|| format!("{COOKBOOK}: a recipe has no number: {:?}", section.lines().next()))?;
        let blocks = section.split("```rust\n").skip(1).filter_map(|rest| rest.split("\n```").next());
        for (block, letter) in blocks.zip(["", "b", "c", "d"]) {
            recipes.push(Recipe { name: format!("recipe_{number:02}{letter}"), code: code(block) });
        }
    }
    Ok(recipes)
}

/// The filter of a block: what stands before the first statement of its test.
fn code(block: &str) -> String {
    let filter = block.lines().take_while(|line| !line.starts_with("let "));
    let filter = filter.filter(|line| !line.starts_with("use tidegate_sdk_test"));
    let own = "#![allow(unused_imports, reason = \"some are for the test\")]";
    [&[own], filter.collect::<Vec<_>>().as_slice()].concat().join("\n")
}

fn workspace(members: &str) -> String {
    // Quickly built: what matters here is what they do.
    format!(
        "[workspace]\nresolver = \"3\"\nmembers = [{members}]\n\n[profile.release]\nopt-level = 1\npanic = \"abort\"\nstrip = true\n"
    )
}

fn manifest(name: &str) -> String {
    let sdk = shell::root().join("sdk/tidegate-sdk");
    format!(
        "[package]\nname = {name:?}\nversion = \"0.1.0\"\nedition = \"2024\"\npublish = false\n\n[lib]\n\
         crate-type = [\"cdylib\"]\n\n[dependencies]\nbase64ct = {{ version = \"1.8\", features = [\"alloc\"] }}\n\
         hmac = \"0.12\"\nserde = {{ version = \"1\", features = [\"derive\"] }}\nsha2 = \"0.10\"\n\
         serde_json = \"1\"\ntidegate-sdk = {{ path = {:?} }}\n",
        sdk.display().to_string()
    )
}

/// The lock file: cargo's own where it has written one, else the filters'.
fn locked(folder: &Path) -> Outcome<String> {
    let own = std::fs::read_to_string(folder.join("Cargo.lock"));
    let filters = || std::fs::read_to_string(shell::root().join("filters/Cargo.lock"));
    own.or_else(|_| filters()).map_err(|error| format!("cannot read filters/Cargo.lock: {error}").into())
}

/// Writes a file where it differs, so that cargo does not build anew what is the same.
fn write(path: &Path, text: &str) -> Outcome<()> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .map_err(|error| format!("cannot create {}: {error}", folder.display()))?;
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_are_found_without_their_tests() {
        let text = "# C\n\nText.\n\n## 1. One\n\n```rust\nuse tidegate_sdk_test::Gateway;\nuse a::B;\nstruct C;\n\n\
            impl C {\n    fn a() {\n        let b = 1;\n    }\n}\n\nlet gateway = 1;\nassert!(true);\n```\n\nMore:\n\n\
            ```rust\nstruct D;\n```\n\n## 12. Two\n\n```rust\nstruct E;\n```\n";
        let recipes = read(text).expect("recipes");
        let names: Vec<&str> = recipes.iter().map(|recipe| recipe.name.as_str()).collect();
        assert_eq!(names, ["recipe_01", "recipe_01b", "recipe_12"]);
        let code = &recipes[0].code;
        assert!(code.contains("let b = 1") && code.contains("use a::B"), "{code}");
        assert!(!code.contains("gateway") && !code.contains("tidegate_sdk_test"), "{code}");
        assert!(read("\n## No number\n").is_err());
    }
}
