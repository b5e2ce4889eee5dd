//! Reads what a configured instance holds.

use super::parts::Parts;
use super::rewrite::{function_name, global_name, table_name};
use crate::Instance;
use std::collections::HashMap;
use wasmtime::{AsContext, AsContextMut, Extern, Ref, Store, Val};

/// Bytes of a page of WebAssembly.
pub(super) const PAGE: usize = 64 << 10;

/// State of an instance.
pub(super) struct Snapshot {
    /// Size of the memory.
    pub(super) pages: u64,
    /// Pages that are not all zeros, without the zeros at their ends, by address.
    pub(super) memory: Vec<(u32, Vec<u8>)>,
    /// Values of the globals that can change, in order.
    pub(super) globals: Vec<Val>,
    /// Functions in each table; empty when the code leaves tables alone.
    pub(super) tables: Vec<Vec<Option<u32>>>,
}

/// Reads the state of an instance of the module that [`super::rewrite::opened`] made.
pub(super) fn take(parts: &Parts<'_>, instance: &mut Instance) -> Result<Snapshot, String> {
    let (store, vm) = instance.parts();
    let vm = vm.ok_or("the instance was not started")?;
    let memory = vm.get_memory(&mut *store, "memory").ok_or("its memory is not exported")?;
    let bytes = memory.data(store.as_context());
    let taken = filled_pages(bytes)?;
    let pages = (bytes.len() / PAGE) as u64;
    let mut globals = Vec::new();
    for (at, _) in parts.changing() {
        let global = vm.get_global(&mut *store, &global_name(at));
        let global = global.ok_or_else(|| format!("global {at} is not exported"))?;
        globals.push(global.get(store.as_context_mut()));
    }
    let tables = if parts.moves_tables { tables(parts, store, &vm)? } else { Vec::new() };
    Ok(Snapshot { pages, memory: taken, globals, tables })
}

fn filled_pages(memory: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, String> {
    let mut filled = Vec::new();
    for (number, page) in memory.chunks(PAGE).enumerate() {
        let Some(first) = page.iter().position(|byte| *byte != 0) else { continue };
        let end = page.iter().rposition(|byte| *byte != 0).map_or(page.len(), |last| last + 1);
        let address = u32::try_from(number * PAGE + first).map_err(|_| "its memory has more than 4 GiB")?;
        filled.push((address, page.get(first..end).unwrap_or_default().to_vec()));
    }
    Ok(filled)
}

/// A function in a table is known by its place in the host's memory, which is the same for each reference to it.
fn tables<T: 'static>(
    parts: &Parts<'_>,
    store: &mut Store<T>,
    vm: &wasmtime::Instance,
) -> Result<Vec<Vec<Option<u32>>>, String> {
    let mut known = HashMap::new();
    for &number in &parts.functions {
        if let Some(function) = vm.get_func(&mut *store, &function_name(number)) {
            known.insert(function.to_raw(&mut *store), number);
        }
    }
    let mut tables = Vec::new();
    for at in 0..parts.tables.len() {
        let table = vm.get_export(&mut *store, &table_name(at)).and_then(Extern::into_table);
        let table = table.ok_or_else(|| format!("table {at} is not exported"))?;
        let mut functions = Vec::new();
        for index in 0..table.size(store.as_context()) {
            functions.push(match table.get(&mut *store, index) {
                Some(Ref::Func(None)) => None,
                Some(Ref::Func(Some(function))) => {
                    let number = known.get(&function.to_raw(&mut *store)).copied();
                    Some(
                        number
                            .ok_or_else(|| format!("element {index} of table {at} is a foreign function"))?,
                    )
                }
                _ => return Err(format!("element {index} of table {at} is not a function")),
            });
        }
        tables.push(functions);
    }
    Ok(tables)
}
