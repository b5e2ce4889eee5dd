//! `tidegate filter inspect`: what a module is, in lines for people or as JSON, and whether Tidegate takes it.

use std::fmt::Write as _;

use serde::Serialize;
use tidegate_wasm::{AbiVersion, Engine, EngineOptions};

use super::contents::{Contents, Export, Import, Memory, Section};
use super::manifest::Manifest;
use super::powers::{moments, powers};
use super::signature;
use crate::apply::EPOCH_TICK;
use crate::assets::{digest, hex};
use crate::words::many;

/// Everything that can be told of a module.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    pub(crate) sha256: String,
    /// Bytes of the file.
    pub(crate) size: usize,
    pub(crate) abi: Option<String>,
    pub(crate) memory: Option<Memory>,
    /// Keys that it says it is signed by; nothing is verified.
    pub(crate) signed_by: Vec<String>,
    pub(crate) manifest: Option<Manifest>,
    /// Host functions that the manifest does not name, where it names any.
    pub(crate) unnamed: Vec<String>,
    /// When it is called.
    pub(crate) runs_at: Vec<&'static str>,
    /// What its imports let it ask of the host.
    pub(crate) may: Vec<&'static str>,
    /// Imports that Tidegate does not offer, as `module.name`.
    pub(crate) not_offered: Vec<String>,
    /// Why Tidegate does not take it; none: it does.
    pub(crate) refused: Option<String>,
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Vec<Export>,
    pub(crate) sections: Vec<Section>,
}

impl Report {
    /// Reads a module, and compiles it to see whether it would be taken.
    pub(crate) fn of(module: &[u8]) -> Result<Self, String> {
        let manifest = Manifest::read(module)?;
        let contents = Contents::read(module).map_err(|error| format!("invalid module: {error}"))?;
        let engine = Engine::new(EngineOptions { cache_dir: None, epoch_tick: EPOCH_TICK });
        let engine = engine.map_err(|error| error.to_string())?;
        let refused = engine.compile(module).err().map(|error| error.to_string());
        let unnamed = manifest.as_ref().map(|manifest| unnamed(manifest, &contents)).unwrap_or_default();
        let Contents { abi, memory, imports, exports, sections } = contents;
        let version = abi.as_deref().and_then(version).unwrap_or(AbiVersion::V0_2_1);
        let offered = |import: &&Import| !engine.offers(version, &import.module, &import.name);
        let not_offered =
            imports.iter().filter(offered).map(|import| format!("{}.{}", import.module, import.name));
        Ok(Self {
            sha256: hex(&digest(module)),
            size: module.len(),
            signed_by: signature::signers(module)?.iter().map(ToString::to_string).collect(),
            manifest,
            unnamed,
            runs_at: moments(exports.iter().map(|export| export.name.as_str())),
            may: powers(imports.iter().map(|import| import.name.as_str())),
            not_offered: not_offered.collect(),
            refused,
            abi,
            memory,
            imports,
            exports,
            sections,
        })
    }

    /// In lines for people.
    pub(crate) fn text(&self) -> Result<String, String> {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            // A String takes everything.
            let _ = writeln!(text, "{name:<10} {value}");
        };
        line("sha256", &self.sha256);
        line("size", &size(self.size));
        line("abi", self.abi.as_deref().unwrap_or("none: no export proxy_abi_version_…"));
        line("memory", &self.memory.map_or("none".to_owned(), describe_memory));
        match self.signed_by.as_slice() {
            [] => line("signed by", "nobody"),
            signers => {
                let signers = signers.join(", ");
                line("signed by", &format!("{signers} (not verified here: `tidegate filter verify`)"));
            }
        }
        let manifest = self.manifest.as_ref().map(serde_json::to_string).transpose();
        let manifest = manifest.map_err(|error| error.to_string())?;
        line("manifest", manifest.as_deref().unwrap_or("none"));
        if !self.unnamed.is_empty() {
            line("", &format!("it does not name {}", self.unnamed.join(", ")));
        }
        for (name, words) in [("runs at", &self.runs_at), ("may", &self.may)] {
            for (index, row) in rows(words).iter().enumerate() {
                line(if index == 0 { name } else { "" }, row);
            }
        }
        line("loads", &self.refused.as_ref().map_or("yes".to_owned(), |why| format!("no: {why}")));
        line("imports", &self.imports.len().to_string());
        for Import { module, name, ty } in &self.imports {
            let ty = ty.as_deref().unwrap_or(" (no function)");
            let full = format!("{module}.{name}");
            let note = if self.not_offered.contains(&full) { "  <- Tidegate does not offer it" } else { "" };
            line("", &format!("{full}{ty}{note}"));
        }
        line("exports", &self.exports.len().to_string());
        for Export { name, ty } in &self.exports {
            line("", &format!("{name}{}", ty.as_deref().unwrap_or_default()));
        }
        line("sections", &self.sections.len().to_string());
        for Section { name, bytes } in &self.sections {
            line("", &format!("{name} ({bytes} bytes)"));
        }
        Ok(text)
    }
}

/// `83112 bytes (81.2 KiB)`.
pub(crate) fn size(bytes: usize) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(1024);
    format!("{bytes} bytes ({}.{} KiB)", tenths / 10, tenths % 10)
}

fn describe_memory(memory: Memory) -> String {
    let most = memory.most_pages.map_or("no limit of its own".to_owned(), |most| format!("at most {most}"));
    format!("{} of 64 KiB at the start, {most}", many(memory.pages, "page"))
}

/// Words with commas between them, in rows that fit on a screen.
fn rows(words: &[&str]) -> Vec<String> {
    let mut rows = vec![String::new()];
    for (index, word) in words.iter().enumerate() {
        let comma = if index + 1 == words.len() { "" } else { "," };
        match rows.last_mut() {
            Some(row) if row.is_empty() => row.push_str(&format!("{word}{comma}")),
            Some(row) if row.len() + word.len() < ROW => row.push_str(&format!(" {word}{comma}")),
            _ => rows.push(format!("{word}{comma}")),
        }
    }
    if words.is_empty() {
        rows = vec!["nothing".to_owned()];
    }
    rows
}

fn version(abi: &str) -> Option<AbiVersion> {
    AbiVersion::ALL.into_iter().find(|version| version.as_str() == abi)
}

fn unnamed(manifest: &Manifest, contents: &Contents) -> Vec<String> {
    let named: Vec<&String> =
        manifest.needs.host_functions.iter().chain(&manifest.uses.host_functions).collect();
    if named.is_empty() {
        return Vec::new();
    }
    let own = contents.imports.iter().filter(|import| import.module == "env").map(|import| &import.name);
    own.filter(|name| !named.contains(name)).cloned().collect()
}

/// Letters of a row.
const ROW: usize = 88;

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &str = r#"(module (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
        (import "env" "proxy_fly" (func))
        (memory (export "memory") 2) (func (export "proxy_abi_version_0_2_1"))
        (func (export "proxy_on_tick") (param i32)))"#;

    #[test]
    fn imports_and_exports_are_told_with_their_types() {
        let report = Report::of(&wat::parse_str(MODULE).expect("a module")).expect("a module");
        let told = report.text().expect("text");
        for part in [
            "abi        0.2.1",
            "2 pages",
            "env.proxy_log(i32, i32, i32) -> (i32)\n",
            "env.proxy_fly() -> ()  <- Tidegate does not offer it",
            "proxy_abi_version_0_2_1() -> ()",
            "signed by  nobody",
            "runs at    ticks",
            "may        log",
            "loads      no: ",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(Report::of(b"GIF89a").is_err());
    }

    #[test]
    fn the_same_is_told_as_json() {
        let report = Report::of(&wat::parse_str(MODULE).expect("a module")).expect("a module");
        let json = serde_json::to_value(&report).expect("JSON");
        assert_eq!(json["notOffered"], serde_json::json!(["env.proxy_fly"]));
        assert_eq!(json["memory"]["pages"], 2);
        assert_eq!(json["imports"][0]["type"], "(i32, i32, i32) -> (i32)");
        assert!(json["refused"].as_str().is_some_and(|why| why.contains("env.proxy_fly")));
    }
}
