//! The parts of a module by name: imports, exports, memory, custom sections. Nothing of it is run or compiled.

use serde::Serialize;
use wasmparser::{BinaryReaderError, ExternalKind, FuncType, Parser, Payload, TypeRef, ValType};

/// What a module consists of.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// The version that its exports name, as in `0.2.1`.
    pub(crate) abi: Option<String>,
    pub(crate) memory: Option<Memory>,
    pub(crate) imports: Vec<Import>,
    pub(crate) exports: Vec<Export>,
    pub(crate) sections: Vec<Section>,
}

/// Its own limits of its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Memory {
    /// Pages of 64 KiB at the start.
    pub(crate) pages: u64,
    /// As many at most.
    pub(crate) most_pages: Option<u64>,
}

/// Something that the host must have.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Import {
    pub(crate) module: String,
    pub(crate) name: String,
    /// `(i32) -> (i32)`; none: it is no function.
    #[serde(rename = "type")]
    pub(crate) ty: Option<String>,
}

/// Something that the host finds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Export {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) ty: Option<String>,
}

/// A custom section.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) bytes: usize,
}

impl Contents {
    /// Reads a module.
    pub(crate) fn read(module: &[u8]) -> Result<Self, BinaryReaderError> {
        let mut contents = Self::default();
        let mut functions = Functions::default();
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::TypeSection(section) => {
                    for ty in section.into_iter_err_on_gc_types() {
                        functions.types.push(ty?);
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import?;
                        let ty = match import.ty {
                            TypeRef::Func(index) => {
                                functions.all.push(index);
                                functions.describe(index)
                            }
                            _ => None,
                        };
                        let (module, name) = (import.module.to_owned(), import.name.to_owned());
                        contents.imports.push(Import { module, name, ty });
                    }
                }
                Payload::FunctionSection(section) => {
                    for index in section {
                        functions.all.push(index?);
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        let memory = memory?;
                        contents.memory = Some(Memory { pages: memory.initial, most_pages: memory.maximum });
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        contents.add_export(&export?, &functions);
                    }
                }
                Payload::CustomSection(section) => {
                    let (name, bytes) = (section.name().to_owned(), section.data().len());
                    contents.sections.push(Section { name, bytes });
                }
                _ => {}
            }
        }
        Ok(contents)
    }

    fn add_export(&mut self, export: &wasmparser::Export<'_>, functions: &Functions) {
        if let Some(version) = export.name.strip_prefix("proxy_abi_version_") {
            self.abi.get_or_insert_with(|| version.replace('_', "."));
        }
        let index = usize::try_from(export.index).unwrap_or(usize::MAX);
        let ty = match (export.kind, functions.all.get(index)) {
            (ExternalKind::Func, Some(ty)) => functions.describe(*ty),
            _ => None,
        };
        self.exports.push(Export { name: export.name.to_owned(), ty });
    }
}

/// Types of functions, as far as they were read.
#[derive(Default)]
struct Functions {
    types: Vec<FuncType>,
    /// By function, the index of its type.
    all: Vec<u32>,
}

impl Functions {
    fn describe(&self, index: u32) -> Option<String> {
        let ty = self.types.get(usize::try_from(index).ok()?)?;
        let list = |types: &[ValType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Some(format!("({}) -> ({})", list(ty.params()), list(ty.results())))
    }
}
