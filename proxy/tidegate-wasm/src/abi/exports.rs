//! The functions of a guest that the host calls.

use crate::module::describe;
use crate::state::State;
use std::cell::OnceCell;
use tidegate_abi::AbiVersion;
use wasmtime::{
    AsContext, AsContextMut, Extern, ExternType, Instance, Memory, ModuleExport, Store, TypedFunc, ValType,
    WasmParams, WasmResults,
};

/// By which names a guest gives memory, the first one wins.
pub(crate) const MALLOC: [&str; 2] = ["malloc", "proxy_on_memory_allocate"];

/// A function of a guest, looked up when it is first called: an instance for one request calls few of them.
pub(crate) struct Callback<P, R> {
    at: ModuleExport,
    function: OnceCell<TypedFunc<P, R>>,
}

impl<P: WasmParams, R: WasmResults> Callback<P, R> {
    fn at(at: ModuleExport) -> Self {
        Self { at, function: OnceCell::new() }
    }

    #[inline]
    pub(crate) fn call(&self, mut store: impl AsContextMut<Data = State>, params: P) -> wasmtime::Result<R> {
        match self.function.get() {
            Some(function) => function.call(store, params),
            None => self.find(&mut store)?.call(store, params),
        }
    }

    fn find(&self, store: &mut impl AsContextMut<Data = State>) -> wasmtime::Result<TypedFunc<P, R>> {
        let vm = store.as_context().data().vm;
        let export = vm.and_then(|vm| vm.get_module_export(&mut *store, &self.at));
        let function = export.and_then(Extern::into_func);
        let function = function.ok_or_else(|| wasmtime::format_err!("a callback is not in its instance"))?;
        let function = function.typed(&*store)?;
        Ok(self.function.get_or_init(|| function).clone())
    }
}

/// A callback for heads: ABI 0.1.0 does not tell whether the head is all, but to filters for MOSN.
pub(crate) enum OnHeaders {
    Short(Callback<(u32, u32), u32>),
    Full(Callback<(u32, u32, u32), u32>),
}

impl OnHeaders {
    fn at(at: ModuleExport, full: bool) -> Self {
        if full { Self::Full(Callback::at(at)) } else { Self::Short(Callback::at(at)) }
    }

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
type OnHttpCallResponse = Callback<(u32, u32, u32, u32, u32), ()>;

/// Context, token, and a size, a number of fields or a status.
pub(crate) type OnGrpc = Callback<(u32, u32, u32), ()>;

/// What the host looks for in a module, in the order of [`Exports`]' fields.
const CALLBACKS: [&str; 26] = [
    "proxy_on_context_create",
    "proxy_on_vm_start",
    "proxy_on_configure",
    "proxy_on_tick",
    "proxy_on_queue_ready",
    "proxy_on_request_headers",
    "proxy_on_request_body",
    "proxy_on_request_trailers",
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_response_trailers",
    "proxy_on_new_connection",
    "proxy_on_downstream_data",
    "proxy_on_upstream_data",
    "proxy_on_downstream_connection_close",
    "proxy_on_upstream_connection_close",
    "proxy_on_http_call_response",
    "proxy_on_grpc_receive_initial_metadata",
    "proxy_on_grpc_receive",
    "proxy_on_grpc_receive_trailing_metadata",
    "proxy_on_grpc_close",
    "proxy_on_foreign_function",
    "proxy_on_redis_call_response",
    "proxy_on_log",
    "proxy_on_done",
    "proxy_on_delete",
];

/// The callbacks for heads.
const ON_HEADERS: [&str; 2] = ["proxy_on_request_headers", "proxy_on_response_headers"];

/// Where a module has its callbacks, its memory and its allocator.
pub(crate) struct Places {
    callbacks: [Option<ModuleExport>; CALLBACKS.len()],
    /// Whether the callbacks for heads, of requests and of responses, take the end of the stream too.
    full: [bool; 2],
    memory: Option<ModuleExport>,
    malloc: Option<ModuleExport>,
}

impl Places {
    /// Of a module that [`wrong_callbacks`] has passed.
    pub(crate) fn of(code: &wasmtime::Module) -> Self {
        Self {
            callbacks: CALLBACKS.map(|name| code.get_export_index(name)),
            full: ON_HEADERS.map(|name| match code.get_export(name) {
                Some(ExternType::Func(ty)) => ty.params().len() == 3,
                _ => false,
            }),
            memory: code.get_export_index("memory"),
            malloc: MALLOC.iter().find_map(|name| code.get_export_index(name)),
        }
    }

    /// The memory of an instance of this module.
    pub(crate) fn memory(&self, vm: &Instance, store: &mut Store<State>) -> Option<Memory> {
        vm.get_module_export(store, self.memory.as_ref()?).and_then(Extern::into_memory)
    }

    /// How the guest gives memory.
    pub(crate) fn malloc(&self) -> Option<Callback<u32, u32>> {
        self.malloc.map(Callback::at)
    }
}

/// Callbacks of a guest; each may be missing.
#[derive(Default)]
pub(crate) struct Exports {
    pub(crate) context_create: Option<Callback<(u32, u32), ()>>,
    pub(crate) vm_start: Option<Callback<(u32, u32), u32>>,
    pub(crate) configure: Option<Callback<(u32, u32), u32>>,
    pub(crate) tick: Option<Callback<u32, ()>>,
    pub(crate) queue_ready: Option<Callback<(u32, u32), ()>>,
    pub(crate) request_headers: Option<OnHeaders>,
    pub(crate) request_body: Option<Callback<(u32, u32, u32), u32>>,
    pub(crate) request_trailers: Option<Callback<(u32, u32), u32>>,
    pub(crate) response_headers: Option<OnHeaders>,
    pub(crate) response_body: Option<Callback<(u32, u32, u32), u32>>,
    pub(crate) response_trailers: Option<Callback<(u32, u32), u32>>,
    pub(crate) new_connection: Option<Callback<u32, u32>>,
    pub(crate) downstream_data: Option<Callback<(u32, u32, u32), u32>>,
    pub(crate) upstream_data: Option<Callback<(u32, u32, u32), u32>>,
    pub(crate) downstream_close: Option<Callback<(u32, u32), ()>>,
    pub(crate) upstream_close: Option<Callback<(u32, u32), ()>>,
    pub(crate) http_call_response: Option<OnHttpCallResponse>,
    pub(crate) grpc_initial_metadata: Option<OnGrpc>,
    pub(crate) grpc_receive: Option<OnGrpc>,
    pub(crate) grpc_trailing_metadata: Option<OnGrpc>,
    pub(crate) grpc_close: Option<OnGrpc>,
    pub(crate) foreign_function: Option<Callback<(u32, u32, u32), ()>>,
    pub(crate) redis_response: Option<Callback<(u32, u32, u32, u32), ()>>,
    pub(crate) log: Option<Callback<u32, ()>>,
    pub(crate) done: Option<Callback<u32, u32>>,
    pub(crate) delete: Option<Callback<u32, ()>>,
}

impl Exports {
    /// The callbacks of a module, of which nothing is looked up in its instance yet.
    pub(crate) fn new(places: &Places, abi: AbiVersion) -> Self {
        let [
            context_create,
            vm_start,
            configure,
            tick,
            queue_ready,
            request_headers,
            request_body,
            request_trailers,
            response_headers,
            response_body,
            response_trailers,
            new_connection,
            downstream_data,
            upstream_data,
            downstream_close,
            upstream_close,
            http_call_response,
            grpc_initial_metadata,
            grpc_receive,
            grpc_trailing_metadata,
            grpc_close,
            foreign_function,
            redis_response,
            log,
            done,
            delete,
        ] = places.callbacks;
        let [full_request, full_response] = places.full;
        Self {
            context_create: context_create.map(Callback::at),
            vm_start: vm_start.map(Callback::at),
            configure: configure.map(Callback::at),
            tick: tick.map(Callback::at),
            queue_ready: queue_ready.map(Callback::at),
            request_headers: request_headers.map(|at| OnHeaders::at(at, full_request)),
            request_body: request_body.map(Callback::at),
            request_trailers: request_trailers.map(Callback::at),
            response_headers: response_headers.map(|at| OnHeaders::at(at, full_response)),
            response_body: response_body.map(Callback::at),
            response_trailers: response_trailers.map(Callback::at),
            new_connection: new_connection.map(Callback::at),
            downstream_data: downstream_data.map(Callback::at),
            upstream_data: upstream_data.map(Callback::at),
            downstream_close: downstream_close.map(Callback::at),
            upstream_close: upstream_close.map(Callback::at),
            http_call_response: http_call_response.map(Callback::at),
            grpc_initial_metadata: grpc_initial_metadata.map(Callback::at),
            grpc_receive: grpc_receive.map(Callback::at),
            grpc_trailing_metadata: grpc_trailing_metadata.map(Callback::at),
            grpc_close: grpc_close.map(Callback::at),
            foreign_function: foreign_function.filter(|_| abi != AbiVersion::V0_1_0).map(Callback::at),
            redis_response: redis_response.filter(|_| abi == AbiVersion::V0_2_1).map(Callback::at),
            log: log.map(Callback::at),
            done: done.map(Callback::at),
            delete: delete.map(Callback::at),
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
                let full = || ON_HEADERS.contains(&export.name()) && i32s(&mut ty.params(), 3);
                if (i32s(&mut ty.params(), params) || full()) && i32s(&mut ty.results(), results) {
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
        "proxy_on_redis_call_response" if abi == AbiVersion::V0_2_1 => (4, 0),
        "proxy_on_foreign_function" if abi != AbiVersion::V0_1_0 => (3, 0),
        _ => return None,
    })
}
