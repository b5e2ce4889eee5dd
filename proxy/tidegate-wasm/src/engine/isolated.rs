//! The engine of instances that live for a connection or a request: places for memories and tables are reserved once and
//! used again and again, and a memory begins as a mapping of its image. Only address space is reserved; what an instance
//! has written is given back, or reset if it is little, when its place becomes free.

use super::{link, settings};
use crate::abi::imports::Imports;
use wasmtime::{Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

/// Instances of all plugins and workers at one time. Each reserves 4 GiB of address space, of which a process has 128 TiB.
pub(crate) const PLACES: u32 = 4096;

/// Elements of a table: Go guests have some thousands of functions.
const TABLE_ELEMENTS: usize = 32_768;

/// Bytes of memory that a free place keeps and that are reset by copying, which costs less than giving them back and
/// faulting them in again. Needs a kernel that tells which pages were written.
const KEPT_BYTES: usize = 512 << 10;

/// Bytes of a table that are reset by writing.
const KEPT_TABLE_BYTES: usize = 64 << 10;

/// Free places that keep memory, so that a burst is not held for ever.
const WARM_PLACES: u32 = 64;

/// An engine with places for isolated instances.
pub(super) struct Isolated {
    wasm: wasmtime::Engine,
    imports: [Imports; 3],
}

impl Isolated {
    /// Reserves the places.
    pub(super) fn open() -> Result<Self, String> {
        let mut places = PoolingAllocationConfig::new();
        places
            .total_core_instances(PLACES)
            .total_memories(PLACES)
            .total_tables(PLACES)
            .max_memories_per_module(1)
            .max_tables_per_module(4)
            .table_elements(TABLE_ELEMENTS)
            .table_keep_resident(KEPT_TABLE_BYTES)
            .max_unused_warm_slots(WARM_PLACES)
            .pagemap_scan(Enabled::Auto);
        if PoolingAllocationConfig::is_pagemap_scan_available() {
            places.linear_memory_keep_resident(KEPT_BYTES);
        }
        let mut settings = settings();
        // Reading lines takes milliseconds, and these instances have no back-off: whoever can break them off must not be
        // able to have that done for each request.
        settings.wasm_backtrace_details(WasmBacktraceDetails::Disable);
        settings.allocation_strategy(InstanceAllocationStrategy::Pooling(places));
        let wasm = wasmtime::Engine::new(&settings)
            .map_err(|error| format!("no place for isolated instances: {error:#}"))?;
        let imports = link(&wasm)?;
        Ok(Self { wasm, imports })
    }

    pub(super) fn wasm(&self) -> &wasmtime::Engine {
        &self.wasm
    }

    pub(super) fn imports(&self) -> &[Imports; 3] {
        &self.imports
    }
}
