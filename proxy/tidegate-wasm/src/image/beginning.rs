//! What an instance was when it began, kept beside the image: an instance that was used becomes so again at less than
//! half of what a new one costs.

use super::{parts::Parts, rewrite::global_name, snapshot::Snapshot};
use crate::{Module, engine::Pages, state::State};
use wasmtime::{Extern, Memory, ModuleExport, Store, Val};

/// Bytes that an instance may have written. One that has written more is given up, and its memory with it.
const WRITTEN: usize = 512 << 10;

/// Bytes of a beginning that is kept in memory once more.
const KEPT: usize = 32 << 20;

/// State of an instance without tables that change.
pub(crate) struct Beginning {
    /// Size of the memory.
    bytes: usize,
    /// What is not zeros, by address, in order.
    memory: Vec<(usize, Vec<u8>)>,
    globals: Vec<(ModuleExport, Val)>,
}

impl Beginning {
    /// None when an instance cannot, or should not, be made what it was.
    pub(super) fn of(parts: &Parts<'_>, taken: Snapshot, module: &Module) -> Option<Self> {
        let bytes: usize = taken.memory.iter().map(|(_, bytes)| bytes.len()).sum();
        if parts.moves_tables || bytes > KEPT {
            return None;
        }
        let code = module.ready().module();
        let place = |(at, _)| code.get_export_index(&global_name(at));
        let globals = parts.changing().map(place).zip(taken.globals);
        let globals: Option<Vec<_>> = globals.map(|(place, value)| Some((place?, value))).collect();
        let memory = taken.memory.into_iter().map(|(at, bytes)| Some((usize::try_from(at).ok()?, bytes)));
        Some(Self {
            bytes: usize::try_from(taken.pages).ok()?.checked_mul(super::snapshot::PAGE)?,
            memory: memory.collect::<Option<_>>()?,
            globals: globals?,
        })
    }

    /// Makes an instance what it was. `false`: it is not, and must not be used any more.
    pub(crate) fn restore(
        &self,
        store: &mut Store<State>,
        vm: wasmtime::Instance,
        memory: Memory,
        pages: &Pages,
    ) -> bool {
        let bytes = memory.data_mut(&mut *store);
        // A memory that has grown cannot shrink.
        if bytes.len() != self.bytes {
            return false;
        }
        let Some(written) = pages.written(bytes, WRITTEN) else { return false };
        for range in written {
            let Some(part) = bytes.get_mut(range.clone()) else { return false };
            self.fill(range.start, part);
        }
        self.globals.iter().all(|(place, value)| {
            let global = vm.get_module_export(&mut *store, place).and_then(Extern::into_global);
            global.is_some_and(|global| global.set(&mut *store, *value).is_ok())
        })
    }

    /// What was in the memory from this address on.
    fn fill(&self, from: usize, part: &mut [u8]) {
        part.fill(0);
        let end = from + part.len();
        let first = self.memory.partition_point(|(at, bytes)| at + bytes.len() <= from);
        for (at, bytes) in self.memory.iter().skip(first).take_while(|(at, _)| *at < end) {
            let (start, stop) = ((*at).max(from), (at + bytes.len()).min(end));
            if let (Some(part), Some(bytes)) =
                (part.get_mut(start - from..stop - from), bytes.get(start - at..stop - at))
            {
                part.copy_from_slice(bytes);
            }
        }
    }
}
