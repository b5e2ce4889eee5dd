//! A module's sections, as far as they hold state; and whether all of its state can be read and written from outside.

use std::{
    collections::{BTreeSet, HashSet},
    ops::Range,
};
use wasmparser::{
    ConstExpr, Data, DataKind, Element, ElementItems, ElementKind, Export, ExternalKind, FunctionBody,
    Import, MemoryType, Operator, Parser, Payload, SectionLimited, TableType, TypeRef, ValType,
};

/// A module, taken apart.
#[derive(Default)]
pub(super) struct Parts<'a> {
    pub(super) wasm: &'a [u8],
    /// Number and contents of each section, in order.
    pub(super) sections: Vec<(u8, Range<usize>)>,
    pub(super) globals: Vec<Global>,
    pub(super) tables: Vec<TableType>,
    pub(super) memory: Option<MemoryType>,
    pub(super) exports: Vec<Export<'a>>,
    /// Names of the functions that it imports.
    imports: HashSet<&'a str>,
    pub(super) elements: Vec<Segment>,
    pub(super) data: Vec<Segment>,
    /// The code names data segments by number, so that their numbers must stay.
    pub(super) counts_data: bool,
    /// Functions that may stand in a table.
    pub(super) functions: BTreeSet<u32>,
    /// The code changes tables, so that they are state.
    pub(super) moves_tables: bool,
    drops: Option<&'static str>,
}

/// A global of the module.
pub(super) struct Global {
    pub(super) ty: wasmparser::GlobalType,
    pub(super) range: Range<usize>,
}

/// An element or data segment.
pub(super) struct Segment {
    pub(super) active: bool,
    pub(super) range: Range<usize>,
}

impl<'a> Parts<'a> {
    /// Takes a module apart. An error says why no image can be taken of it.
    pub(super) fn read(wasm: &'a [u8]) -> Result<Self, String> {
        let mut parts = Self { wasm, ..Self::default() };
        for payload in Parser::new(0).parse_all(wasm) {
            let payload = payload.map_err(|error| error.to_string())?;
            if let Some(section) = payload.as_section() {
                parts.sections.push(section);
            }
            parts.payload(payload)?;
        }
        parts.check()?;
        Ok(parts)
    }

    fn payload(&mut self, payload: Payload<'a>) -> Result<(), String> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(|error| error.to_string())?;
                    imported(&import)?;
                    self.imports.insert(import.name);
                }
            }
            Payload::TableSection(section) => {
                for table in list(section)? {
                    self.tables.push(table.ty);
                }
            }
            Payload::MemorySection(section) => {
                for memory in list(section)? {
                    if self.memory.replace(memory).is_some() {
                        return Err("it has more than one memory".into());
                    }
                }
            }
            Payload::GlobalSection(section) => {
                let end = section.range().end;
                for (at, global) in with_offsets(section)? {
                    if let Some(before) = self.globals.last_mut() {
                        before.range.end = at;
                    }
                    self.reference(&global.init_expr)?;
                    self.globals.push(Global { ty: global.ty, range: at..end });
                }
            }
            Payload::ExportSection(section) => {
                for export in list(section)? {
                    if export.kind == ExternalKind::Func {
                        self.functions.insert(export.index);
                    }
                    self.exports.push(export);
                }
            }
            Payload::ElementSection(section) => {
                for element in list(section)? {
                    self.element(element)?;
                }
            }
            Payload::DataCountSection { .. } => self.counts_data = true,
            Payload::DataSection(section) => {
                for Data { kind, range, .. } in list(section)? {
                    self.data.push(Segment { active: matches!(kind, DataKind::Active { .. }), range });
                }
            }
            Payload::CodeSectionEntry(body) => self.code(&body).map_err(|error| error.to_string())?,
            _ => {}
        }
        Ok(())
    }

    fn element(&mut self, element: Element<'a>) -> Result<(), String> {
        let active = matches!(element.kind, ElementKind::Active { .. });
        self.elements.push(Segment { active, range: element.range });
        match element.items {
            ElementItems::Functions(functions) => self.functions.extend(list(functions)?),
            ElementItems::Expressions(_, expressions) => {
                for expression in list(expressions)? {
                    self.reference(&expression)?;
                }
            }
        }
        Ok(())
    }

    /// Notes the function that an expression refers to.
    fn reference(&mut self, expression: &ConstExpr<'a>) -> Result<(), String> {
        let mut operators = expression.get_operators_reader();
        while !operators.eof() {
            if let Operator::RefFunc { function_index } =
                operators.read().map_err(|error| error.to_string())?
            {
                self.functions.insert(function_index);
            }
        }
        Ok(())
    }

    /// Looks for instructions that change what is not memory and globals.
    fn code(&mut self, body: &FunctionBody<'a>) -> wasmparser::Result<()> {
        let mut operators = body.get_operators_reader()?;
        while !operators.eof() {
            match operators.read()? {
                Operator::TableSet { .. }
                | Operator::TableGrow { .. }
                | Operator::TableFill { .. }
                | Operator::TableCopy { .. }
                | Operator::TableInit { .. } => self.moves_tables = true,
                Operator::ElemDrop { .. } => self.drops = Some("elem.drop"),
                Operator::DataDrop { .. } => self.drops = Some("data.drop"),
                _ => {}
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let memory = self.memory.ok_or("it has no memory of its own")?;
        if memory.memory64 || memory.shared || memory.page_size_log2.is_some_and(|log2| log2 != 16) {
            return Err("its memory is not a plain one of 32 bits".into());
        }
        if let Some(instruction) = self.drops
            && self.data.iter().chain(&self.elements).any(|segment| !segment.active)
        {
            return Err(format!(
                "it uses {instruction}: whether a segment is still there cannot be seen from outside"
            ));
        }
        let numeric =
            |ty| matches!(ty, ValType::I32 | ValType::I64 | ValType::F32 | ValType::F64 | ValType::V128);
        if let Some(at) =
            self.globals.iter().position(|global| global.ty.mutable && !numeric(global.ty.content_type))
        {
            return Err(format!("global {at} is a reference that can change"));
        }
        let plain = |table: &TableType| table.element_type == wasmparser::RefType::FUNCREF && !table.table64;
        if self.moves_tables && !self.tables.iter().all(plain) {
            return Err("it changes a table that does not hold functions".into());
        }
        Ok(())
    }

    /// Globals that may have changed, with their numbers.
    pub(super) fn changing(&self) -> impl Iterator<Item = (u32, ValType)> {
        let globals = (0_u32..).zip(&self.globals);
        globals.filter(|(_, global)| global.ty.mutable).map(|(at, global)| (at, global.ty.content_type))
    }

    /// Exports that an instance from the image is ever asked for. Each callback that is found costs it something at
    /// its start, and none comes whose cause the module cannot even import.
    pub(super) fn lasting(&self) -> impl Iterator<Item = &Export<'a>> {
        let causes = |name| match name {
            "proxy_on_vm_start" | "proxy_on_configure" | "proxy_validate_configuration" => Some(&[][..]),
            "proxy_on_tick" => Some(&["proxy_set_tick_period_milliseconds"][..]),
            "proxy_on_queue_ready" => Some(&["proxy_register_shared_queue"][..]),
            "proxy_on_http_call_response" => Some(&["proxy_http_call"][..]),
            "proxy_on_grpc_receive_initial_metadata"
            | "proxy_on_grpc_receive"
            | "proxy_on_grpc_receive_trailing_metadata"
            | "proxy_on_grpc_close" => Some(&["proxy_grpc_call", "proxy_grpc_stream"][..]),
            _ => None,
        };
        self.exports.iter().filter(move |export| {
            causes(export.name).is_none_or(|causes| causes.iter().any(|cause| self.imports.contains(cause)))
        })
    }

    /// The bytes of a part.
    pub(super) fn bytes(&self, range: &Range<usize>) -> &'a [u8] {
        self.wasm.get(range.clone()).unwrap_or_default()
    }
}

fn imported(import: &Import<'_>) -> Result<(), String> {
    match import.ty {
        TypeRef::Func(_) | TypeRef::FuncExact(_) => Ok(()),
        _ => Err(format!("{}.{} is imported and not a function", import.module, import.name)),
    }
}

fn list<'a, T: wasmparser::FromReader<'a>>(section: SectionLimited<'a, T>) -> Result<Vec<T>, String> {
    section.into_iter().collect::<wasmparser::Result<_>>().map_err(|error| error.to_string())
}

fn with_offsets<'a, T: wasmparser::FromReader<'a>>(
    section: SectionLimited<'a, T>,
) -> Result<Vec<(usize, T)>, String> {
    section.into_iter_with_offsets().collect::<wasmparser::Result<_>>().map_err(|error| error.to_string())
}
