//! `tidegate filter inspect`: what a module is, in lines for people.

use std::fmt::Write as _;

use wasmparser::{ExternalKind, FuncType, Parser, Payload, TypeRef, ValType};

use super::manifest::Manifest;
use super::signature;
use crate::assets::{digest, hex};

/// Everything that can be told of a module.
pub(crate) fn describe(module: &[u8]) -> Result<String, String> {
    let contents = Contents::read(module).map_err(|error| format!("invalid module: {error}"))?;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // A String takes everything.
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("sha256", &hex(&digest(module)));
    line("size", &format!("{} bytes", module.len()));
    line("abi", contents.abi.as_deref().unwrap_or("none: no export proxy_abi_version_…"));
    line("memory", contents.memory.as_deref().unwrap_or("none"));
    let signers = signature::signers(module)?;
    match signers.is_empty() {
        true => line("signed by", "nobody"),
        false => {
            let signers: Vec<String> = signers.iter().map(ToString::to_string).collect();
            line(
                "signed by",
                &format!("{} (not verified here: `tidegate filter verify`)", signers.join(", ")),
            );
        }
    }
    match Manifest::read(module)? {
        None => line("manifest", "none"),
        Some(manifest) => {
            let shown = serde_json::to_string(&manifest).map_err(|error| error.to_string())?;
            line("manifest", &shown);
            let named: Vec<&String> =
                manifest.needs.host_functions.iter().chain(&manifest.uses.host_functions).collect();
            if !named.is_empty() {
                let unnamed = contents.imports.iter().filter_map(|import| import.strip_prefix("env."));
                let unnamed = unnamed.map(|import| import.split('(').next().unwrap_or_default());
                let unnamed: Vec<&str> =
                    unnamed.filter(|import| !named.iter().any(|known| known == import)).collect();
                if !unnamed.is_empty() {
                    line("", &format!("it does not name {}", unnamed.join(", ")));
                }
            }
        }
    }
    for (name, list) in
        [("imports", contents.imports), ("exports", contents.exports), ("sections", contents.custom)]
    {
        line(name, &list.len().to_string());
        for entry in list {
            line("", &entry);
        }
    }
    Ok(text)
}

#[derive(Default)]
struct Contents {
    abi: Option<String>,
    memory: Option<String>,
    /// `module.name(types) -> types`
    imports: Vec<String>,
    exports: Vec<String>,
    /// Names of custom sections, with their sizes.
    custom: Vec<String>,
}

impl Contents {
    fn read(module: &[u8]) -> Result<Self, wasmparser::BinaryReaderError> {
        let mut contents = Self::default();
        let (mut types, mut functions) = (Vec::new(), Vec::new());
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        types.push(ty?);
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        let shown = match import.ty {
                            TypeRef::Func(index) => {
                                functions.push(index);
                                signature_of(&types, index)
                            }
                            _ => " (no function)".to_owned(),
                        };
                        contents.imports.push(format!("{}.{}{shown}", import.module, import.name));
                    }
                }
                Payload::FunctionSection(section) => {
                    for index in section {
                        functions.push(index?);
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        let memory = memory?;
                        let most = memory.maximum.map_or("no limit".to_owned(), |most| format!("{most}"));
                        let pages =
                            format!("{} pages of 64 KiB at the start, at most {most}", memory.initial);
                        contents.memory = Some(pages);
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export?;
                        if let Some(version) = export.name.strip_prefix("proxy_abi_version_") {
                            contents.abi.get_or_insert_with(|| version.replace('_', "."));
                        }
                        let index = usize::try_from(export.index).unwrap_or(usize::MAX);
                        let shown = match (export.kind, functions.get(index)) {
                            (ExternalKind::Func, Some(ty)) => signature_of(&types, *ty),
                            _ => String::new(),
                        };
                        contents.exports.push(format!("{}{shown}", export.name));
                    }
                }
                Payload::CustomSection(section) => {
                    let size = section.data().len();
                    contents.custom.push(format!("{} ({size} bytes)", section.name()));
                }
                _ => {}
            }
        }
        Ok(contents)
    }
}

fn signature_of(types: &[FuncType], index: u32) -> String {
    let Some(ty) = usize::try_from(index).ok().and_then(|index| types.get(index)) else {
        return String::new();
    };
    let list = |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("({}) -> ({})", list(ty.params()), list(ty.results()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_and_exports_are_told_with_their_types() {
        let module = wat::parse_str(
            r#"(module (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
                (memory (export "memory") 2) (func (export "proxy_abi_version_0_2_1")))"#,
        )
        .expect("a module");
        let told = describe(&module).expect("a module");
        for part in [
            "abi        0.2.1",
            "2 pages",
            "env.proxy_log(i32, i32, i32) -> (i32)",
            "proxy_abi_version_0_2_1() -> ()",
            "signed by  nobody",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(describe(b"GIF89a").is_err());
    }
}
