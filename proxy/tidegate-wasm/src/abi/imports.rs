//! The functions that a guest may call, one each, by subject. This file links them for each
//! version of the ABI.

mod assemblyscript;
mod buffers;
mod calls;
mod fields;
mod foreign;
mod grpc;
mod higress;
mod metrics;
mod property;
mod redis;
mod reply;
mod shared;
mod stream;
mod system;
mod wasi;
mod watched;

use crate::Names;
use crate::abi::{chain, memory::Fault};
use crate::state::{Phase, State};
use std::collections::HashSet;
use tidegate_abi::{AbiVersion, Status};
use wasmtime::{Caller, Engine, Extern, ExternType, InstancePre, Linker, Module, Store, Val};

/// WASI's error for what a guest may not do.
const NOTCAPABLE: u32 = 76;

/// They do nothing that could be refused, and have no status to say so.
const NEVER_REFUSED: [&str; 4] = ["pthread_equal", "emscripten_notify_memory_growth", "abort", "proc_exit"];

/// What a host function comes to.
type Answer = Result<(), Fault>;

/// All host functions of one version of the ABI.
pub(crate) struct Imports {
    linker: Linker<State>,
    names: HashSet<(&'static str, &'static str)>,
}

/// Links functions of the module `env` that may be called in callbacks only. Their answer is a status.
macro_rules! host {
    ($imports:ident: $($name:literal = $function:path, ($($param:ident: $ty:ty),*);)*) => {$(
        $imports.linker.func_wrap(
            "env",
            $name,
            |mut caller: Caller<'_, State>, $($param: $ty),*| -> wasmtime::Result<u32> {
                match caller.data().phase {
                    Phase::Running => finish($function(&mut caller, $($param),*)),
                    Phase::Watched => watched::call(&mut caller, |caller| finish($function(caller, $($param),*))),
                    Phase::Chained => {
                        chain::catch_up(&mut caller);
                        finish($function(&mut caller, $($param),*))
                    }
                    Phase::Start | Phase::Allocating => Err(restricted($name)),
                }
            },
        )?;
        $imports.names.insert(("env", $name));
    )*};
}

impl Imports {
    /// Links what guests of this version may import.
    pub(crate) fn link(engine: &Engine, abi: AbiVersion) -> wasmtime::Result<Self> {
        let mut imports = Self { linker: Linker::new(engine), names: HashSet::new() };
        system::link(&mut imports)?;
        assemblyscript::link(&mut imports)?;
        imports.link_fields()?;
        imports.link_stream()?;
        imports.link_calls()?;
        imports.link_shared()?;
        match abi {
            AbiVersion::V0_1_0 => imports.link_first()?,
            _ => imports.link_second()?,
        }
        if abi == AbiVersion::V0_2_1 {
            imports.link_latest()?;
        }
        wasi::link(&mut imports)?;
        Ok(imports)
    }

    /// Whether there is such a function.
    pub(crate) fn has(&self, module: &str, name: &str) -> bool {
        self.names.iter().any(|known| *known == (module, name))
    }

    /// A function of the host in a store.
    pub(crate) fn function(&self, store: &mut Store<State>, module: &str, name: &str) -> Option<Extern> {
        self.linker.get(store, module, name).ok()
    }

    /// Imports of a module that nothing stands behind, as `module.name`.
    pub(crate) fn unknown(&self, code: &Module) -> Vec<String> {
        code.imports()
            .filter(|import| !self.names.contains(&(import.module(), import.name())))
            .map(|import| format!("{}.{}", import.module(), import.name()))
            .collect()
    }

    /// A module with its imports, ready to be started many times.
    pub(crate) fn ready(&self, code: &Module) -> wasmtime::Result<InstancePre<State>> {
        self.linker.instantiate_pre(code)
    }

    /// The same for a guest that may call these functions only: the others answer that they are refused.
    pub(crate) fn ready_for(&self, code: &Module, allowed: &Names) -> wasmtime::Result<InstancePre<State>> {
        let mut linker = self.linker.clone();
        linker.allow_shadowing(true);
        for import in code.imports() {
            let ExternType::Func(ty) = import.ty() else { continue };
            let name = import.name();
            if allowed.has(name.as_bytes()) || NEVER_REFUSED.contains(&name) {
                continue;
            }
            let refusal =
                if import.module() == "env" { Status::InternalFailure.number() } else { NOTCAPABLE };
            let function = name.to_owned();
            linker.func_new(import.module(), name, ty, move |mut caller, params, results| {
                let mut status = refusal;
                if foreign::is_own_call(&mut caller, &function, params) {
                    status = Status::NotFound.number();
                } else {
                    caller.data_mut().refuse(&function);
                }
                if let Some(result) = results.first_mut() {
                    *result = Val::I32(status.cast_signed());
                }
                Ok(())
            })?;
        }
        linker.instantiate_pre(code)
    }

    fn link_fields(&mut self) -> wasmtime::Result<()> {
        host! { self:
            "proxy_get_header_map_size" = fields::size, (map: u32, at: u32);
            "proxy_get_header_map_pairs" = fields::pairs, (map: u32, pointer: u32, size: u32);
            "proxy_set_header_map_pairs" = fields::set_pairs, (map: u32, data: u32, size: u32);
            "proxy_get_header_map_value" = fields::value, (map: u32, key: u32, keys: u32, pointer: u32, size: u32);
            "proxy_add_header_map_value" = fields::add, (map: u32, key: u32, keys: u32, value: u32, values: u32);
            "proxy_replace_header_map_value" = fields::replace,
                (map: u32, key: u32, keys: u32, value: u32, values: u32);
            "proxy_remove_header_map_value" = fields::remove, (map: u32, key: u32, keys: u32);
            "proxy_get_buffer_bytes" = buffers::bytes, (kind: u32, start: u32, max: u32, pointer: u32, size: u32);
            "proxy_get_buffer_status" = buffers::status, (kind: u32, len: u32, flags: u32);
            "proxy_set_buffer_bytes" = buffers::set, (kind: u32, start: u32, len: u32, data: u32, size: u32);
        }
        Ok(())
    }

    fn link_stream(&mut self) -> wasmtime::Result<()> {
        host! { self:
            "proxy_get_current_time_nanoseconds" = system::time, (at: u32);
            "proxy_set_tick_period_milliseconds" = system::tick_period, (period: u32);
            "proxy_set_effective_context" = system::effective, (id: u32);
            "proxy_done" = system::done, ();
            "proxy_get_status" = system::status, (code: u32, pointer: u32, size: u32);
            "proxy_call_foreign_function" = foreign::call,
                (name: u32, names: u32, args: u32, arg: u32, pointer: u32, size: u32);
            "proxy_get_property" = property::get, (path: u32, paths: u32, pointer: u32, size: u32);
            "proxy_set_property" = property::set, (path: u32, paths: u32, value: u32, values: u32);
            "proxy_send_local_response" = stream::local_response,
                (code: u32, details: u32, detail: u32, body: u32, bodies: u32, pairs: u32, pair: u32, grpc: u32);
        }
        Ok(())
    }

    fn link_calls(&mut self) -> wasmtime::Result<()> {
        host! { self:
            "proxy_http_call" = calls::http,
                (to: u32, tos: u32, pairs: u32, pair: u32, body: u32, bodies: u32, trailers: u32, trailer: u32,
                 timeout: u32, token: u32);
            "proxy_grpc_call" = grpc::call,
                (to: u32, tos: u32, service: u32, services: u32, method: u32, methods: u32, pairs: u32, pair: u32,
                 message: u32, messages: u32, timeout: u32, token: u32);
            "proxy_grpc_stream" = grpc::stream,
                (to: u32, tos: u32, service: u32, services: u32, method: u32, methods: u32, pairs: u32, pair: u32,
                 token: u32);
            "proxy_grpc_send" = grpc::send, (token: u32, data: u32, size: u32, end: u32);
            "proxy_grpc_cancel" = grpc::cancel, (token: u32);
            "proxy_grpc_close" = grpc::close, (token: u32);
        }
        Ok(())
    }

    fn link_shared(&mut self) -> wasmtime::Result<()> {
        host! { self:
            "proxy_get_shared_data" = shared::value, (key: u32, keys: u32, pointer: u32, size: u32, cas: u32);
            "proxy_set_shared_data" = shared::set_value, (key: u32, keys: u32, value: u32, values: u32, cas: u32);
            "proxy_register_shared_queue" = shared::register, (name: u32, names: u32, at: u32);
            "proxy_resolve_shared_queue" = shared::resolve, (vm: u32, vms: u32, name: u32, names: u32, at: u32);
            "proxy_enqueue_shared_queue" = shared::enqueue, (queue: u32, value: u32, values: u32);
            "proxy_dequeue_shared_queue" = shared::dequeue, (queue: u32, pointer: u32, size: u32);
            "proxy_define_metric" = metrics::define, (kind: u32, name: u32, names: u32, at: u32);
            "proxy_increment_metric" = metrics::increment, (metric: u32, by: i64);
            "proxy_record_metric" = metrics::record, (metric: u32, value: i64);
            "proxy_get_metric" = metrics::value, (metric: u32, at: u32);
        }
        Ok(())
    }

    /// What came with 0.2.1, and what Higress adds to it.
    fn link_latest(&mut self) -> wasmtime::Result<()> {
        host! { self:
            "proxy_get_log_level" = system::log_level, (at: u32);
            "proxy_redis_init" = redis::init,
                (to: u32, tos: u32, user: u32, users: u32, password: u32, passwords: u32, timeout: u32);
            "proxy_redis_call" = redis::call, (to: u32, tos: u32, query: u32, queries: u32, token: u32);
            "proxy_get_upstream_hosts" = higress::servers, (pointer: u32, size: u32);
            "proxy_set_upstream_override_host" = higress::choose_server, (address: u32, size: u32);
            "proxy_inject_encoded_data_to_filter_chain" = higress::inject, (data: u32, size: u32, end: u32);
        }
        Ok(())
    }

    /// What only 0.1.0 has.
    fn link_first(&mut self) -> wasmtime::Result<()> {
        host! { self:
            "proxy_get_configuration" = buffers::configuration, (pointer: u32, size: u32);
            "proxy_continue_request" = stream::continue_request, ();
            "proxy_continue_response" = stream::continue_response, ();
            "proxy_clear_route_cache" = stream::clear_route, ();
        }
        Ok(())
    }

    /// What came with 0.2.0.
    fn link_second(&mut self) -> wasmtime::Result<()> {
        host! { self:
            "proxy_continue_stream" = stream::continue_stream, (kind: u32);
            "proxy_close_stream" = stream::close_stream, (kind: u32);
        }
        Ok(())
    }
}

fn finish(answer: Answer) -> wasmtime::Result<u32> {
    match answer {
        Ok(()) => Ok(Status::Ok.number()),
        Err(Fault::Status(status)) => Ok(status.number()),
        Err(Fault::Trap(error)) => Err(error),
    }
}

#[cold]
fn restricted(name: &str) -> wasmtime::Error {
    wasmtime::format_err!(
        "{name} was called while the module starts or gives memory, where it is not allowed"
    )
}
