//! The engine of instances that live for a connection or a request: places for memories and tables are reserved once and
//! used again and again, and a memory begins as a mapping of its image. Only address space is reserved; what an instance
//! has written is given back when its place becomes free. wasmtime could reset a place that was written a little, but it
//! looks for pages that are present, and would leave what is in swap: one request's data for the next. Instances are used
//! again by [`crate::Instance::begin_anew`] instead, which looks at those as well.

use super::{link, settings, written::Pages};
use crate::abi::imports::Imports;
use wasmtime::{
    Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, PoolingAllocatorMetrics,
    WasmBacktraceDetails,
};

/// Instances of all plugins and workers at one time. Each reserves 4 GiB of address space, of which a process has 128 TiB.
pub(crate) const PLACES: u32 = 4096;

/// Elements of a table: Go guests have some thousands of functions.
const TABLE_ELEMENTS: usize = 32_768;

/// Free places that keep the mapping of their image.
const WARM_PLACES: u32 = 64;

/// An engine with places for isolated instances.
pub(super) struct Isolated {
    wasm: wasmtime::Engine,
    imports: [Imports; 3],
    pages: Option<Pages>,
    taken: Option<PoolingAllocatorMetrics>,
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
            .table_keep_resident(0)
            .linear_memory_keep_resident(0)
            .max_unused_warm_slots(WARM_PLACES)
            .pagemap_scan(Enabled::No);
        let mut settings = settings();
        // Reading lines takes milliseconds, and these instances have no back-off: whoever can break them off must not be
        // able to have that done for each request.
        settings.wasm_backtrace_details(WasmBacktraceDetails::Disable);
        settings.allocation_strategy(InstanceAllocationStrategy::Pooling(places));
        let wasm = wasmtime::Engine::new(&settings)
            .map_err(|error| format!("no place for isolated instances: {error:#}"))?;
        let imports = link(&wasm)?;
        let taken = wasm.pooling_allocator_metrics();
        Ok(Self { wasm, imports, pages: Pages::open(), taken })
    }

    pub(super) fn wasm(&self) -> &wasmtime::Engine {
        &self.wasm
    }

    pub(super) fn imports(&self) -> &[Imports; 3] {
        &self.imports
    }

    /// None where the kernel does not tell, and while so many places are taken that none should be kept for later.
    pub(super) fn pages(&self) -> Option<&Pages> {
        let roomy = self.taken.as_ref().is_some_and(|taken| taken.core_instances() < u64::from(PLACES / 2));
        self.pages.as_ref().filter(|_| roomy)
    }
}
