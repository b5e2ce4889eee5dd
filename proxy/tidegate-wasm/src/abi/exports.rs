//! The functions of a guest that the host calls.

use crate::module::describe;
use crate::state::State;
use tidegate_abi::AbiVersion;
use wasmtime::{ExternType, Instance, Store, TypedFunc, ValType, WasmParams, WasmResults};

/// By which names a guest gives memory, the first one wins.
pub(crate) const MALLOC: [&str; 2] = ["malloc", "proxy_on_memory_allocate"];

/// A callback for heads: ABI 0.1.0 does not tell whether the head is all.
pub(crate) enum OnHeaders {
    Short(TypedFunc<(u32, u32), u32>),
    Full(TypedFunc<(u32, u32, u32), u32>),
}

impl OnHeaders {
    #[inline]
    pub(crate) fn call(
        &self,
        store: &mut Store<State>,
        id: u32,
        count: u32,
        end: bool,
    ) -> wasmtime::Result<u32> {
        match self {
            Self::Short(function) => function.call(store, (id, count)),
            Self::Full(function) => function.call(store, (id, count, u32::from(end))),
        }
    }
}

/// Context, token, headers, bytes of body, trailers.
type OnHttpCallResponse = TypedFunc<(u32, u32, u32, u32, u32), ()>;

/// Context, token, and a size, a number of fields or a status.
pub(crate) type OnGrpc = TypedFunc<(u32, u32, u32), ()>;

/// Callbacks of a guest, looked up once; each may be missing.
#[derive(Default)]
pub(crate) struct Exports {
    pub(crate) context_create: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) vm_start: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) configure: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) tick: Option<TypedFunc<u32, ()>>,
    pub(crate) queue_ready: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) request_headers: Option<OnHeaders>,
    pub(crate) request_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) request_trailers: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) response_headers: Option<OnHeaders>,
    pub(crate) response_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) response_trailers: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) new_connection: Option<TypedFunc<u32, u32>>,
    pub(crate) downstream_data: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) upstream_data: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) downstream_close: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) upstream_close: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) http_call_response: Option<OnHttpCallResponse>,
    pub(crate) grpc_initial_metadata: Option<OnGrpc>,
    pub(crate) grpc_receive: Option<OnGrpc>,
    pub(crate) grpc_trailing_metadata: Option<OnGrpc>,
    pub(crate) grpc_close: Option<OnGrpc>,
    pub(crate) log: Option<TypedFunc<u32, ()>>,
    pub(crate) done: Option<TypedFunc<u32, u32>>,
    pub(crate) delete: Option<TypedFunc<u32, ()>>,
}

impl Exports {
    /// Looks the callbacks up in an instance of a module that [`wrong_callbacks`] has passed.
    pub(crate) fn find(instance: &Instance, store: &mut Store<State>, abi: AbiVersion) -> Self {
        let headers = |store: &mut Store<State>, name| match abi {
            AbiVersion::V0_1_0 => function(instance, store, name).map(OnHeaders::Short),
            _ => function(instance, store, name).map(OnHeaders::Full),
        };
        Self {
            context_create: function(instance, store, "proxy_on_context_create"),
            vm_start: function(instance, store, "proxy_on_vm_start"),
            configure: function(instance, store, "proxy_on_configure"),
            tick: function(instance, store, "proxy_on_tick"),
            queue_ready: function(instance, store, "proxy_on_queue_ready"),
            request_headers: headers(store, "proxy_on_request_headers"),
            request_body: function(instance, store, "proxy_on_request_body"),
            request_trailers: function(instance, store, "proxy_on_request_trailers"),
            response_headers: headers(store, "proxy_on_response_headers"),
            response_body: function(instance, store, "proxy_on_response_body"),
            response_trailers: function(instance, store, "proxy_on_response_trailers"),
            new_connection: function(instance, store, "proxy_on_new_connection"),
            downstream_data: function(instance, store, "proxy_on_downstream_data"),
            upstream_data: function(instance, store, "proxy_on_upstream_data"),
            downstream_close: function(instance, store, "proxy_on_downstream_connection_close"),
            upstream_close: function(instance, store, "proxy_on_upstream_connection_close"),
            http_call_response: function(instance, store, "proxy_on_http_call_response"),
            grpc_initial_metadata: function(instance, store, "proxy_on_grpc_receive_initial_metadata"),
            grpc_receive: function(instance, store, "proxy_on_grpc_receive"),
            grpc_trailing_metadata: function(instance, store, "proxy_on_grpc_receive_trailing_metadata"),
            grpc_close: function(instance, store, "proxy_on_grpc_close"),
            log: function(instance, store, "proxy_on_log"),
            done: function(instance, store, "proxy_on_done"),
            delete: function(instance, store, "proxy_on_delete"),
        }
    }
}

/// A function by name and type.
pub(crate) fn function<P: WasmParams, R: WasmResults>(
    instance: &Instance,
    store: &mut Store<State>,
    name: &str,
) -> Option<TypedFunc<P, R>> {
    instance.get_typed_func(store, name).ok()
}

/// Callbacks whose types are not those of the ABI, each with both types.
pub(crate) fn wrong_callbacks(code: &wasmtime::Module, abi: AbiVersion) -> Vec<String> {
    let mut wrong = Vec::new();
    for export in code.exports() {
        let Some((params, results)) = expected(export.name(), abi) else { continue };
        let found = match export.ty() {
            ExternType::Func(ty) => {
                let i32s = |types: &mut dyn Iterator<Item = ValType>, count: usize| {
                    let mut seen = 0;
                    types.inspect(|_| seen += 1).all(|ty| matches!(ty, ValType::I32)) && seen == count
                };
                if i32s(&mut ty.params(), params) && i32s(&mut ty.results(), results) {
                    continue;
                }
                describe(&ty)
            }
            _ => "not a function".into(),
        };
        let list = |count| vec!["i32"; count].join(", ");
        wrong.push(format!(
            "{} is {found}, must be ({}) -> ({})",
            export.name(),
            list(params),
            list(results)
        ));
    }
    wrong
}

/// How many parameters and results a callback has, all of them i32.
fn expected(name: &str, abi: AbiVersion) -> Option<(usize, usize)> {
    let headers = if abi == AbiVersion::V0_1_0 { 2 } else { 3 };
    Some(match name {
        "malloc" | "proxy_on_memory_allocate" => (1, 1),
        "_initialize" | "_start" => (0, 0),
        "proxy_on_context_create" => (2, 0),
        "proxy_on_vm_start" | "proxy_on_configure" | "proxy_validate_configuration" => (2, 1),
        "proxy_on_tick" | "proxy_on_log" | "proxy_on_delete" => (1, 0),
        "proxy_on_done" | "proxy_on_new_connection" => (1, 1),
        "proxy_on_queue_ready" => (2, 0),
        "proxy_on_request_headers" | "proxy_on_response_headers" => (headers, 1),
        "proxy_on_request_body" | "proxy_on_response_body" => (3, 1),
        "proxy_on_downstream_data" | "proxy_on_upstream_data" => (3, 1),
        "proxy_on_downstream_connection_close" | "proxy_on_upstream_connection_close" => (2, 0),
        "proxy_on_request_trailers" | "proxy_on_response_trailers" => (2, 1),
        "proxy_on_request_metadata" | "proxy_on_response_metadata" => (2, 1),
        "proxy_on_http_call_response" => (5, 0),
        "proxy_on_grpc_receive_initial_metadata" | "proxy_on_grpc_receive_trailing_metadata" => (3, 0),
        "proxy_on_grpc_receive" | "proxy_on_grpc_close" => (3, 0),
        "proxy_on_foreign_function" if abi != AbiVersion::V0_1_0 => (3, 0),
        _ => return None,
    })
}
