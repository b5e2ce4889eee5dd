//! Writes modules of the same code: one that exports its state, and one that begins with a state.

use super::parts::Parts;
use super::snapshot::Snapshot;
use std::borrow::Cow;
use wasm_encoder::{
    ConstExpr, DataCountSection, DataSection, ElementSection, Elements, ExportKind, ExportSection,
    GlobalSection, GlobalType, HeapType, Ieee32, Ieee64, MemorySection, MemoryType, Module, RawSection,
    RefType, SectionId, TableSection, TableType, ValType,
};
use wasmparser::{Export, ExternalKind};
use wasmtime::Val;

pub(super) fn global_name(at: u32) -> String {
    format!("tidegate:global:{at}")
}

pub(super) fn table_name(at: usize) -> String {
    format!("tidegate:table:{at}")
}

pub(super) fn function_name(at: u32) -> String {
    format!("tidegate:function:{at}")
}

/// The module with its state exported.
pub(super) fn opened(parts: &Parts<'_>) -> Vec<u8> {
    let mut module = Module::new();
    for (id, range) in &parts.sections {
        if *id == SectionId::Export as u8 {
            module.section(&opened_exports(parts));
        } else {
            module.section(&RawSection { id: *id, data: parts.bytes(range) });
        }
    }
    module.finish()
}

/// The module as it is with this state: without a start function, since that has run.
pub(super) fn filled(parts: &Parts<'_>, state: &Snapshot) -> Result<Vec<u8>, String> {
    let is = |id: u8, section: SectionId| id == section as u8;
    let data = data(parts, state);
    let (mut elements_due, mut data_due) = (parts.moves_tables, true);
    let mut module = Module::new();
    for (id, range) in &parts.sections {
        let id = *id;
        if elements_due
            && (is(id, SectionId::Element) || is(id, SectionId::DataCount) || is(id, SectionId::Code))
        {
            module.section(&elements(parts, state));
            elements_due = false;
        }
        if is(id, SectionId::Table) && parts.moves_tables {
            module.section(&tables(parts, state));
        } else if is(id, SectionId::Memory) {
            module.section(&memory(parts, state));
        } else if is(id, SectionId::Export) {
            module.section(&lasting_exports(parts));
        } else if is(id, SectionId::Global) {
            module.section(&globals(parts, state)?);
        } else if is(id, SectionId::DataCount) {
            module.section(&DataCountSection { count: data.len() });
        } else if is(id, SectionId::Data) {
            module.section(&data);
            data_due = false;
        } else if !(is(id, SectionId::Start) || is(id, SectionId::Element) && parts.moves_tables) {
            module.section(&RawSection { id, data: parts.bytes(range) });
        }
    }
    if data_due {
        module.section(&data);
    }
    Ok(module.finish())
}

fn exports<'a: 'b, 'b>(list: impl Iterator<Item = &'b Export<'a>>) -> ExportSection {
    let mut section = ExportSection::new();
    for export in list {
        let kind = match export.kind {
            ExternalKind::Func | ExternalKind::FuncExact => ExportKind::Func,
            ExternalKind::Table => ExportKind::Table,
            ExternalKind::Memory => ExportKind::Memory,
            ExternalKind::Global => ExportKind::Global,
            ExternalKind::Tag => ExportKind::Tag,
        };
        section.export(export.name, kind, export.index);
    }
    section
}

fn opened_exports(parts: &Parts<'_>) -> ExportSection {
    let mut section = exports(parts.exports.iter());
    export_globals(parts, &mut section);
    if parts.moves_tables {
        for (at, number) in (0..parts.tables.len()).zip(0..) {
            section.export(&table_name(at), ExportKind::Table, number);
        }
        for &function in &parts.functions {
            section.export(&function_name(function), ExportKind::Func, function);
        }
    }
    section
}

/// What an instance from the image is asked for, and its globals, which are set back when it is used again.
fn lasting_exports(parts: &Parts<'_>) -> ExportSection {
    let mut section = exports(parts.lasting());
    if !parts.moves_tables {
        export_globals(parts, &mut section);
    }
    section
}

fn export_globals(parts: &Parts<'_>, section: &mut ExportSection) {
    for (at, _) in parts.changing() {
        section.export(&global_name(at), ExportKind::Global, at);
    }
}

fn memory(parts: &Parts<'_>, state: &Snapshot) -> MemorySection {
    let mut section = MemorySection::new();
    section.memory(MemoryType {
        minimum: state.pages,
        maximum: parts.memory.and_then(|memory| memory.maximum),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    section
}

fn globals(parts: &Parts<'_>, state: &Snapshot) -> Result<GlobalSection, String> {
    let mut section = GlobalSection::new();
    let mut values = state.globals.iter();
    for global in &parts.globals {
        if !global.ty.mutable {
            section.raw(parts.bytes(&global.range));
            continue;
        }
        let val_type = match global.ty.content_type {
            wasmparser::ValType::I32 => ValType::I32,
            wasmparser::ValType::I64 => ValType::I64,
            wasmparser::ValType::F32 => ValType::F32,
            wasmparser::ValType::F64 => ValType::F64,
            wasmparser::ValType::V128 => ValType::V128,
            wasmparser::ValType::Ref(_) => return Err("a global is a reference".into()),
        };
        let value = constant(values.next().ok_or("a global was not read")?)?;
        section.global(GlobalType { val_type, mutable: true, shared: global.ty.shared }, &value);
    }
    Ok(section)
}

fn constant(value: &Val) -> Result<ConstExpr, String> {
    Ok(match value {
        Val::I32(value) => ConstExpr::i32_const(*value),
        Val::I64(value) => ConstExpr::i64_const(*value),
        Val::F32(bits) => ConstExpr::f32_const(Ieee32::new(*bits)),
        Val::F64(bits) => ConstExpr::f64_const(Ieee64::new(*bits)),
        Val::V128(value) => ConstExpr::v128_const(value.as_u128().cast_signed()),
        other => return Err(format!("a global holds {other:?}, which cannot be written down")),
    })
}

fn tables(parts: &Parts<'_>, state: &Snapshot) -> TableSection {
    let mut section = TableSection::new();
    for (table, functions) in parts.tables.iter().zip(&state.tables) {
        section.table(TableType {
            element_type: RefType::FUNCREF,
            table64: false,
            minimum: functions.len() as u64,
            maximum: table.maximum,
            shared: table.shared,
        });
    }
    section
}

/// Active segments are gone once the module has started, as if they were dropped; others keep their numbers.
fn elements(parts: &Parts<'_>, state: &Snapshot) -> ElementSection {
    let mut section = ElementSection::new();
    for segment in &parts.elements {
        if segment.active {
            section.passive(Elements::Functions(Cow::Borrowed(&[])));
        } else {
            section.raw(parts.bytes(&segment.range));
        }
    }
    for (functions, table) in state.tables.iter().zip(0..) {
        let reference = |function: &Option<u32>| {
            function.map_or_else(|| ConstExpr::ref_null(HeapType::FUNC), ConstExpr::ref_func)
        };
        let items: Vec<_> = functions.iter().map(reference).collect();
        let items = Elements::Expressions(RefType::FUNCREF, Cow::Owned(items));
        section.active(Some(table), &ConstExpr::i32_const(0), items);
    }
    let functions: Vec<u32> = parts.functions.iter().copied().collect();
    section.declared(Elements::Functions(Cow::Owned(functions)));
    section
}

fn data(parts: &Parts<'_>, state: &Snapshot) -> DataSection {
    let mut section = DataSection::new();
    for segment in parts.data.iter().filter(|_| parts.counts_data) {
        if segment.active {
            section.passive([]);
        } else {
            section.raw(parts.bytes(&segment.range));
        }
    }
    for (address, bytes) in &state.memory {
        section.active(0, &ConstExpr::i32_const(address.cast_signed()), bytes.iter().copied());
    }
    section
}
