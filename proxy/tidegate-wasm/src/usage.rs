//! Counting what a guest does: instructions, host calls and the bytes that pass between both. Only engines made by
//! [`Engine::measuring`](crate::Engine::measuring) count; in others nothing of this is linked.

use crate::{abi::imports::Imports, state::State};
use wasmtime::{AsContextMut, Extern, ExternType, Func, Instance, Module, Store, Val};

/// What a guest has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// WebAssembly instructions, as the engine's fuel counts them; the same in each run.
    pub instructions: u64,
    /// Calls of host functions.
    pub calls: u64,
    /// Bytes that those calls copied into the guest and out of it.
    pub copied: u64,
}

impl std::ops::Sub for Usage {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            instructions: self.instructions.saturating_sub(before.instructions),
            calls: self.calls.saturating_sub(before.calls),
            copied: self.copied.saturating_sub(before.copied),
        }
    }
}

/// The most that a store can hold; a guest that uses it up would run for centuries.
pub(crate) const FUEL: u64 = u64::MAX;

/// Which parameters of a host function are sizes of what it reads, and which points to the size of what it gives.
struct Traffic {
    name: &'static str,
    read: &'static [usize],
    given: Option<usize>,
}

const fn traffic(name: &'static str, read: &'static [usize], given: Option<usize>) -> Traffic {
    Traffic { name, read, given }
}

const TRAFFIC: &[Traffic] = &[
    traffic("proxy_log", &[2], None),
    traffic("proxy_get_header_map_value", &[2], Some(4)),
    traffic("proxy_get_header_map_pairs", &[], Some(2)),
    traffic("proxy_set_header_map_pairs", &[2], None),
    traffic("proxy_add_header_map_value", &[2, 4], None),
    traffic("proxy_replace_header_map_value", &[2, 4], None),
    traffic("proxy_remove_header_map_value", &[2], None),
    traffic("proxy_get_buffer_bytes", &[], Some(4)),
    traffic("proxy_set_buffer_bytes", &[4], None),
    traffic("proxy_get_configuration", &[], Some(1)),
    traffic("proxy_get_property", &[1], Some(3)),
    traffic("proxy_set_property", &[1, 3], None),
    traffic("proxy_send_local_response", &[2, 4, 6], None),
    traffic("proxy_http_call", &[1, 3, 5, 7], None),
    traffic("proxy_grpc_call", &[1, 3, 5, 7, 9], None),
    traffic("proxy_grpc_stream", &[1, 3, 5, 7], None),
    traffic("proxy_grpc_send", &[2], None),
    traffic("proxy_get_shared_data", &[1], Some(3)),
    traffic("proxy_set_shared_data", &[1, 3], None),
    traffic("proxy_register_shared_queue", &[1], None),
    traffic("proxy_resolve_shared_queue", &[1, 3], None),
    traffic("proxy_enqueue_shared_queue", &[2], None),
    traffic("proxy_dequeue_shared_queue", &[], Some(2)),
    traffic("proxy_define_metric", &[2], None),
    traffic("proxy_call_foreign_function", &[1, 3], Some(5)),
    traffic("proxy_redis_init", &[1, 3, 5], None),
    traffic("proxy_redis_call", &[1, 3], None),
    traffic("proxy_get_upstream_hosts", &[], Some(1)),
    traffic("proxy_set_upstream_override_host", &[1], None),
    traffic("proxy_inject_encoded_data_to_filter_chain", &[1], None),
    traffic("proxy_get_status", &[], Some(2)),
];

/// Instantiates a module whose host calls are counted on their way.
pub(crate) fn instantiate(
    store: &mut Store<State>,
    code: &Module,
    imports: &Imports,
) -> wasmtime::Result<Instance> {
    let mut externs = Vec::new();
    for import in code.imports() {
        let (name, ExternType::Func(ty)) = (import.name(), import.ty()) else { continue };
        let Some(Extern::Func(host)) = imports.function(&mut *store, import.module(), name) else {
            wasmtime::bail!("{}.{name} is not offered", import.module());
        };
        let traffic = TRAFFIC.iter().find(|traffic| traffic.name == name);
        let counted = Func::new(&mut *store, ty, move |mut caller, params, results| {
            host.call(caller.as_context_mut(), params, results)?;
            let size = |at: &usize| {
                params.get(*at).and_then(Val::i32).map_or(0, |size| u64::from(size.cast_unsigned()))
            };
            let mut copied: u64 = traffic.map_or(0, |traffic| traffic.read.iter().map(size).sum());
            let succeeded = results.first().and_then(Val::i32) == Some(0);
            if let Some(at) = traffic.and_then(|traffic| traffic.given).filter(|_| succeeded) {
                let at = usize::try_from(size(&at)).unwrap_or(usize::MAX);
                let mut bytes = [0; 4];
                if let Some(memory) = caller.data().memory
                    && memory.read(&caller, at, &mut bytes).is_ok()
                {
                    copied += u64::from(u32::from_le_bytes(bytes));
                }
            }
            let usage = &mut caller.data_mut().usage;
            usage.calls += 1;
            usage.copied += copied;
            Ok(())
        });
        externs.push(Extern::Func(counted));
    }
    Instance::new(store, code, &externs)
}
