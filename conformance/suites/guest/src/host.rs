//! The host's functions as the ABI has them, each with its status and what it wrote.

macro_rules! imports {
    ($($name:ident($($param:ident: $ty:ty),*);)*) => {
        #[link(wasm_import_module = "env")]
        unsafe extern "C" {
            $(fn $name($($param: $ty),*) -> u32;)*
        }
    };
}

imports! {
    proxy_log(level: u32, data: *const u8, size: usize);
    proxy_set_effective_context(id: u32);
    proxy_set_tick_period_milliseconds(period: u32);
    proxy_get_buffer_bytes(kind: u32, start: u32, max: u32, at: *mut *mut u8, size: *mut usize);
    proxy_get_buffer_status(kind: u32, len: *mut u32, flags: *mut u32);
    proxy_set_buffer_bytes(kind: u32, start: u32, len: u32, data: *const u8, size: usize);
    proxy_get_header_map_size(map: u32, size: *mut u32);
    proxy_get_header_map_pairs(map: u32, at: *mut *mut u8, size: *mut usize);
    proxy_set_header_map_pairs(map: u32, data: *const u8, size: usize);
    proxy_get_header_map_value(map: u32, key: *const u8, keys: usize, at: *mut *mut u8, size: *mut usize);
    proxy_add_header_map_value(map: u32, key: *const u8, keys: usize, value: *const u8, size: usize);
    proxy_replace_header_map_value(map: u32, key: *const u8, keys: usize, value: *const u8, size: usize);
    proxy_remove_header_map_value(map: u32, key: *const u8, keys: usize);
    proxy_get_property(path: *const u8, paths: usize, at: *mut *mut u8, size: *mut usize);
    proxy_set_property(path: *const u8, paths: usize, value: *const u8, size: usize);
    proxy_continue_stream(stream: u32);
    proxy_close_stream(stream: u32);
    proxy_send_local_response(
        code: u32, details: *const u8, detail: usize, body: *const u8, bodies: usize, pairs: *const u8, pair: usize,
        grpc: i32
    );
    proxy_http_call(
        to: *const u8, tos: usize, pairs: *const u8, pair: usize, body: *const u8, bodies: usize, trailers: *const u8,
        trailer: usize, timeout: i32, token: *mut u32
    );
    proxy_get_shared_data(key: *const u8, keys: usize, at: *mut *mut u8, size: *mut usize, cas: *mut u32);
    proxy_set_shared_data(key: *const u8, keys: usize, value: *const u8, size: usize, cas: u32);
    proxy_call_foreign_function(
        name: *const u8, names: usize, args: *const u8, arg: usize, at: *mut *mut u8, size: *mut usize
    );
}

/// A call that takes no memory of the host.
macro_rules! plain {
    ($(fn $name:ident = $function:ident($($param:ident: $ty:ty),*);)*) => {$(
        pub(crate) fn $name($($param: $ty),*) -> u32 {
            // SAFETY: numbers only.
            unsafe { $function($($param),*) }
        }
    )*};
}

plain! {
    fn effective = proxy_set_effective_context(id: u32);
    fn tick_period = proxy_set_tick_period_milliseconds(period: u32);
    fn continue_stream = proxy_continue_stream(stream: u32);
    fn close_stream = proxy_close_stream(stream: u32);
}

pub(crate) fn log(line: &str) {
    // SAFETY: the slice is valid for the call. What a log function answers is of no use here.
    let _ = unsafe { proxy_log(2, line.as_ptr(), line.len()) };
}

/// A call that may hand over memory, which came from this module's allocation function.
fn taken(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> (u32, Vec<u8>) {
    let (mut at, mut size) = (std::ptr::null_mut(), 0);
    let status = call(&mut at, &mut size);
    let bytes = match at.is_null() {
        true => Vec::new(),
        // SAFETY: `memory_allocate` made it with this capacity and gave it away.
        false => unsafe { Vec::from_raw_parts(at, size, size) },
    };
    (status, bytes)
}

pub(crate) fn buffer(kind: u32, start: u32, max: u32) -> (u32, Vec<u8>) {
    // SAFETY: both places are valid for the call.
    taken(|at, size| unsafe { proxy_get_buffer_bytes(kind, start, max, at, size) })
}

pub(crate) fn buffer_status(kind: u32) -> (u32, u32) {
    let (mut len, mut flags) = (0, 0);
    // SAFETY: both places are valid for the call.
    let status = unsafe { proxy_get_buffer_status(kind, &mut len, &mut flags) };
    (status, len)
}

pub(crate) fn set_buffer(kind: u32, start: u32, len: u32, data: &[u8]) -> u32 {
    // SAFETY: the slice is valid for the call.
    unsafe { proxy_set_buffer_bytes(kind, start, len, data.as_ptr(), data.len()) }
}

pub(crate) fn map_size(map: u32) -> u32 {
    let mut size = 0;
    // SAFETY: the place is valid for the call.
    unsafe { proxy_get_header_map_size(map, &mut size) }
}

pub(crate) fn pairs(map: u32) -> (u32, Vec<u8>) {
    // SAFETY: both places are valid for the call.
    taken(|at, size| unsafe { proxy_get_header_map_pairs(map, at, size) })
}

pub(crate) fn set_pairs(map: u32, data: &[u8]) -> u32 {
    // SAFETY: the slice is valid for the call.
    unsafe { proxy_set_header_map_pairs(map, data.as_ptr(), data.len()) }
}

pub(crate) fn value(map: u32, key: &[u8]) -> (u32, Vec<u8>) {
    // SAFETY: slice and places are valid for the call.
    taken(|at, size| unsafe { proxy_get_header_map_value(map, key.as_ptr(), key.len(), at, size) })
}

pub(crate) fn add(map: u32, key: &[u8], value: &[u8]) -> u32 {
    // SAFETY: the slices are valid for the call.
    unsafe { proxy_add_header_map_value(map, key.as_ptr(), key.len(), value.as_ptr(), value.len()) }
}

pub(crate) fn replace(map: u32, key: &[u8], value: &[u8]) -> u32 {
    // SAFETY: the slices are valid for the call.
    unsafe { proxy_replace_header_map_value(map, key.as_ptr(), key.len(), value.as_ptr(), value.len()) }
}

pub(crate) fn remove(map: u32, key: &[u8]) -> u32 {
    // SAFETY: the slice is valid for the call.
    unsafe { proxy_remove_header_map_value(map, key.as_ptr(), key.len()) }
}

pub(crate) fn property(path: &[u8]) -> (u32, Vec<u8>) {
    // SAFETY: slice and places are valid for the call.
    taken(|at, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), at, size) })
}

pub(crate) fn set_property(path: &[u8], value: &[u8]) -> u32 {
    // SAFETY: the slices are valid for the call.
    unsafe { proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) }
}

pub(crate) fn reply(code: u32, details: &[u8], body: &[u8], pairs: &[u8], grpc: i32) -> u32 {
    let (d, b, p) = (details, body, pairs);
    // SAFETY: the slices are valid for the call.
    unsafe {
        proxy_send_local_response(code, d.as_ptr(), d.len(), b.as_ptr(), b.len(), p.as_ptr(), p.len(), grpc)
    }
}

pub(crate) fn http_call(to: &[u8], pairs: &[u8], body: &[u8], timeout: i32) -> (u32, u32) {
    let mut token = 0;
    let none: &[u8] = &[];
    // SAFETY: slices and place are valid for the call.
    let status = unsafe {
        proxy_http_call(
            to.as_ptr(),
            to.len(),
            pairs.as_ptr(),
            pairs.len(),
            body.as_ptr(),
            body.len(),
            none.as_ptr(),
            0,
            timeout,
            &mut token,
        )
    };
    (status, token)
}

pub(crate) fn shared(key: &[u8]) -> (u32, Vec<u8>) {
    let mut cas = 0;
    // SAFETY: slice and places are valid for the call.
    taken(|at, size| unsafe { proxy_get_shared_data(key.as_ptr(), key.len(), at, size, &mut cas) })
}

pub(crate) fn set_shared(key: &[u8], value: &[u8], cas: u32) -> u32 {
    // SAFETY: the slices are valid for the call.
    unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) }
}

pub(crate) fn foreign(name: &[u8], args: &[u8]) -> (u32, Vec<u8>) {
    // SAFETY: slices and places are valid for the call.
    taken(|at, size| unsafe {
        proxy_call_foreign_function(name.as_ptr(), name.len(), args.as_ptr(), args.len(), at, size)
    })
}
