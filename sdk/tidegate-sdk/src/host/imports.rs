//! The host's functions on wasm32.
//!
//! Declared here and not taken from the `proxy-wasm` crate, whose wrappers panic on a status they do not expect and so
//! would let the host, or the bytes of a header, trap the filter.
#![allow(unsafe_code, reason = "imported functions, and buffers that the host fills, cannot be had without")]

use log::{Level, LevelFilter};

use tidegate_abi::{
    BufferKind, LogLevel, MapKind, MetricKind, PairsReader, Status, StreamKind, encode_pairs,
};

use super::{Pairs, Refusal};

type Answer<T> = Result<T, Refusal>;

macro_rules! imports {
    ($($name:ident($($param:ident: $ty:ty),* $(,)?);)*) => {
        // Safe to call: what the host writes to are references, and it checks what it reads against the module's memory.
        #[link(wasm_import_module = "env")]
        unsafe extern "C" {
            $(safe fn $name($($param: $ty),*) -> u32;)*
        }
    };
}

imports! {
    proxy_log(level: u32, message: *const u8, size: usize);
    proxy_get_log_level(level: &mut u32);
    proxy_get_current_time_nanoseconds(time: &mut u64);
    proxy_set_tick_period_milliseconds(period: u32);
    proxy_set_effective_context(id: u32);
    proxy_get_buffer_bytes(kind: u32, start: usize, max: usize, at: &mut *mut u8, size: &mut usize);
    proxy_set_buffer_bytes(kind: u32, start: usize, len: usize, data: *const u8, size: usize);
    proxy_get_header_map_pairs(map: u32, at: &mut *mut u8, size: &mut usize);
    proxy_set_header_map_pairs(map: u32, data: *const u8, size: usize);
    proxy_get_header_map_value(map: u32, name: *const u8, names: usize, at: &mut *mut u8, size: &mut usize);
    proxy_replace_header_map_value(map: u32, name: *const u8, names: usize, value: *const u8, size: usize);
    proxy_add_header_map_value(map: u32, name: *const u8, names: usize, value: *const u8, size: usize);
    proxy_remove_header_map_value(map: u32, name: *const u8, names: usize);
    proxy_get_property(path: *const u8, paths: usize, at: &mut *mut u8, size: &mut usize);
    proxy_set_property(path: *const u8, paths: usize, value: *const u8, size: usize);
    proxy_continue_stream(stream: u32);
    proxy_close_stream(stream: u32);
    proxy_send_local_response(
        status: u32, details: *const u8, detail: usize, body: *const u8, size: usize, pairs: *const u8, pair: usize,
        grpc: i32,
    );
    proxy_http_call(
        to: *const u8, tos: usize, pairs: *const u8, pair: usize, body: *const u8, size: usize, trailers: *const u8,
        trailer: usize, timeout: u32, token: &mut u32,
    );
    proxy_grpc_call(
        to: *const u8, tos: usize, service: *const u8, services: usize, method: *const u8, methods: usize,
        pairs: *const u8, pair: usize, message: *const u8, size: usize, timeout: u32, token: &mut u32,
    );
    proxy_grpc_stream(
        to: *const u8, tos: usize, service: *const u8, services: usize, method: *const u8, methods: usize,
        pairs: *const u8, pair: usize, token: &mut u32,
    );
    proxy_grpc_send(token: u32, message: *const u8, size: usize, end: u32);
    proxy_grpc_cancel(token: u32);
    proxy_grpc_close(token: u32);
    proxy_get_status(code: &mut u32, at: &mut *mut u8, size: &mut usize);
    proxy_get_shared_data(key: *const u8, keys: usize, at: &mut *mut u8, size: &mut usize, cas: &mut u32);
    proxy_set_shared_data(key: *const u8, keys: usize, value: *const u8, size: usize, cas: u32);
    proxy_register_shared_queue(name: *const u8, names: usize, id: &mut u32);
    proxy_resolve_shared_queue(vm: *const u8, vms: usize, name: *const u8, names: usize, id: &mut u32);
    proxy_enqueue_shared_queue(id: u32, value: *const u8, size: usize);
    proxy_dequeue_shared_queue(id: u32, at: &mut *mut u8, size: &mut usize);
    proxy_define_metric(kind: u32, name: *const u8, names: usize, id: &mut u32);
    proxy_increment_metric(id: u32, offset: i64);
    proxy_record_metric(id: u32, value: u64);
    proxy_get_metric(id: u32, value: &mut u64);
    proxy_call_foreign_function(
        name: *const u8, names: usize, args: *const u8, arg: usize, at: &mut *mut u8, size: &mut usize,
    );
}

// Beside `env`, because it is WASI's; every host of proxy-wasm offers it.
#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn random_get(at: *mut u8, size: usize) -> u32;
}

/// Gives the host memory, which it fills and hands back to whoever asked.
#[unsafe(export_name = "malloc")]
extern "C" fn allocate(size: usize) -> *mut u8 {
    Box::into_raw(Box::<[u8]>::new_uninit_slice(size)).cast()
}

pub(crate) fn log(level: Level, message: &str) {
    let level = match level {
        Level::Trace => LogLevel::Trace,
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    };
    // There is nowhere to tell that telling failed.
    let _ = proxy_log(level.number(), message.as_ptr(), message.len());
}

/// The lowest level that the gateway writes.
pub(crate) fn log_level() -> LevelFilter {
    let mut level = 0;
    let status = proxy_get_log_level(&mut level);
    match LogLevel::from_number(level).filter(|_| status == OK) {
        Some(LogLevel::Trace) => LevelFilter::Trace,
        Some(LogLevel::Debug) => LevelFilter::Debug,
        Some(LogLevel::Warn) => LevelFilter::Warn,
        Some(LogLevel::Error | LogLevel::Critical) => LevelFilter::Error,
        Some(LogLevel::Info) | None => LevelFilter::Info,
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> u64 {
    let mut time = 0;
    let _ = proxy_get_current_time_nanoseconds(&mut time);
    time
}

/// Fills bytes with random ones. Hosts give 64 KiB at once and no more.
pub(crate) fn random(bytes: &mut [u8]) -> Answer<()> {
    for part in bytes.chunks_mut(1 << 16) {
        // SAFETY: the host writes `part.len()` bytes at `part`, which is ours alone.
        if unsafe { random_get(part.as_mut_ptr(), part.len()) } != 0 {
            return Err(Status::InternalFailure.into());
        }
    }
    Ok(())
}

pub(crate) fn set_tick_period(milliseconds: u32) -> Answer<()> {
    checked(proxy_set_tick_period_milliseconds(milliseconds))
}

pub(crate) fn set_effective_context(id: u32) -> Answer<()> {
    checked(proxy_set_effective_context(id))
}

/// A part of a buffer.
pub(crate) fn buffer(kind: BufferKind, start: usize, max: usize) -> Answer<Vec<u8>> {
    taken(|at, size| proxy_get_buffer_bytes(kind.number(), start, max, at, size))
}

pub(crate) fn set_buffer(kind: BufferKind, start: usize, len: usize, bytes: &[u8]) -> Answer<()> {
    checked(proxy_set_buffer_bytes(kind.number(), start, len, bytes.as_ptr(), bytes.len()))
}

/// The first value of a header.
pub(crate) fn header(map: MapKind, name: &str) -> Answer<Option<Vec<u8>>> {
    super::found(taken(|at, size| {
        proxy_get_header_map_value(map.number(), name.as_ptr(), name.len(), at, size)
    }))
}

/// Every header of a map.
pub(crate) fn headers(map: MapKind) -> Answer<Pairs> {
    let bytes = taken(|at, size| proxy_get_header_map_pairs(map.number(), at, size))?;
    let pairs = PairsReader::check(&bytes).map_err(|_| Refusal::from(Status::ParseFailure))?;
    Ok(pairs.map(|(name, value)| (name.to_vec(), value.to_vec())).collect())
}

/// Shows every header of a map, in the host's own encoding.
pub(crate) fn each_header(map: MapKind, mut show: impl FnMut(&[u8], &[u8])) -> Answer<()> {
    let bytes = taken(|at, size| proxy_get_header_map_pairs(map.number(), at, size))?;
    let pairs = PairsReader::check(&bytes).map_err(|_| Refusal::from(Status::ParseFailure))?;
    pairs.for_each(|(name, value)| show(name, value));
    Ok(())
}

pub(crate) fn set_headers(map: MapKind, pairs: &[(Vec<u8>, Vec<u8>)]) -> Answer<()> {
    let pairs = encoded(pairs);
    checked(proxy_set_header_map_pairs(map.number(), pairs.as_ptr(), pairs.len()))
}

pub(crate) fn set_header(map: MapKind, name: &str, value: &[u8]) -> Answer<()> {
    let (name, size) = (name.as_ptr(), name.len());
    checked(proxy_replace_header_map_value(map.number(), name, size, value.as_ptr(), value.len()))
}

pub(crate) fn add_header(map: MapKind, name: &str, value: &[u8]) -> Answer<()> {
    let (name, size) = (name.as_ptr(), name.len());
    checked(proxy_add_header_map_value(map.number(), name, size, value.as_ptr(), value.len()))
}

pub(crate) fn remove_header(map: MapKind, name: &str) -> Answer<()> {
    checked(proxy_remove_header_map_value(map.number(), name.as_ptr(), name.len()))
}

/// A property; its path's segments are joined by zero bytes.
pub(crate) fn property(path: &[u8]) -> Answer<Option<Vec<u8>>> {
    super::found(taken(|at, size| proxy_get_property(path.as_ptr(), path.len(), at, size)))
}

pub(crate) fn set_property(path: &[u8], value: &[u8]) -> Answer<()> {
    checked(proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()))
}

pub(crate) fn continue_stream(stream: StreamKind) -> Answer<()> {
    checked(proxy_continue_stream(stream.number()))
}

pub(crate) fn close_stream(stream: StreamKind) -> Answer<()> {
    checked(proxy_close_stream(stream.number()))
}

/// Answers the client; -1 is no status of gRPC.
pub(crate) fn send_reply(
    status: u16,
    details: &str,
    body: &[u8],
    headers: &[(Vec<u8>, Vec<u8>)],
    grpc: i32,
) -> Answer<()> {
    let headers = encoded(headers);
    checked(proxy_send_local_response(
        u32::from(status),
        details.as_ptr(),
        details.len(),
        body.as_ptr(),
        body.len(),
        headers.as_ptr(),
        headers.len(),
        grpc,
    ))
}

/// Sends a request; returns the token that its answer will name.
pub(crate) fn http_call(
    upstream: &str,
    headers: &[(Vec<u8>, Vec<u8>)],
    body: &[u8],
    trailers: &[(Vec<u8>, Vec<u8>)],
    timeout: u32,
) -> Answer<u32> {
    let (headers, trailers, mut token) = (encoded(headers), encoded(trailers), 0);
    checked(proxy_http_call(
        upstream.as_ptr(),
        upstream.len(),
        headers.as_ptr(),
        headers.len(),
        body.as_ptr(),
        body.len(),
        trailers.as_ptr(),
        trailers.len(),
        timeout,
        &mut token,
    ))
    .map(|()| token)
}

/// Sends one message, for one in return.
pub(crate) fn grpc_call(
    [upstream, service, method]: [&str; 3],
    metadata: &[(Vec<u8>, Vec<u8>)],
    message: &[u8],
    timeout: u32,
) -> Answer<u32> {
    let (metadata, mut token) = (encoded(metadata), 0);
    checked(proxy_grpc_call(
        upstream.as_ptr(),
        upstream.len(),
        service.as_ptr(),
        service.len(),
        method.as_ptr(),
        method.len(),
        metadata.as_ptr(),
        metadata.len(),
        message.as_ptr(),
        message.len(),
        timeout,
        &mut token,
    ))
    .map(|()| token)
}

pub(crate) fn grpc_stream(
    [upstream, service, method]: [&str; 3],
    metadata: &[(Vec<u8>, Vec<u8>)],
) -> Answer<u32> {
    let (metadata, mut token) = (encoded(metadata), 0);
    checked(proxy_grpc_stream(
        upstream.as_ptr(),
        upstream.len(),
        service.as_ptr(),
        service.len(),
        method.as_ptr(),
        method.len(),
        metadata.as_ptr(),
        metadata.len(),
        &mut token,
    ))
    .map(|()| token)
}

pub(crate) fn grpc_send(token: u32, message: &[u8], end: bool) -> Answer<()> {
    checked(proxy_grpc_send(token, message.as_ptr(), message.len(), u32::from(end)))
}

pub(crate) fn grpc_cancel(token: u32) -> Answer<()> {
    checked(proxy_grpc_cancel(token))
}

pub(crate) fn grpc_close(token: u32) -> Answer<()> {
    checked(proxy_grpc_close(token))
}

/// How the last call ended: a number and a message.
pub(crate) fn status() -> Answer<(u32, Vec<u8>)> {
    let mut code = 0;
    taken(|at, size| proxy_get_status(&mut code, at, size)).map(|message| (code, message))
}

/// A shared value with its version.
pub(crate) fn shared(key: &str) -> Answer<Option<(Vec<u8>, u32)>> {
    let mut version = 0;
    let value = super::found(taken(|at, size| {
        proxy_get_shared_data(key.as_ptr(), key.len(), at, size, &mut version)
    }))?;
    Ok(value.map(|value| (value, version)))
}

pub(crate) fn set_shared(key: &str, value: &[u8], version: u32) -> Answer<()> {
    checked(proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version))
}

pub(crate) fn register_queue(name: &str) -> Answer<u32> {
    let mut id = 0;
    checked(proxy_register_shared_queue(name.as_ptr(), name.len(), &mut id)).map(|()| id)
}

pub(crate) fn resolve_queue(owner: &str, name: &str) -> Answer<u32> {
    let mut id = 0;
    checked(proxy_resolve_shared_queue(owner.as_ptr(), owner.len(), name.as_ptr(), name.len(), &mut id))
        .map(|()| id)
}

pub(crate) fn enqueue(id: u32, value: &[u8]) -> Answer<()> {
    checked(proxy_enqueue_shared_queue(id, value.as_ptr(), value.len()))
}

pub(crate) fn dequeue(id: u32) -> Answer<Vec<u8>> {
    taken(|at, size| proxy_dequeue_shared_queue(id, at, size))
}

pub(crate) fn define_metric(kind: MetricKind, name: &str) -> Answer<u32> {
    let mut id = 0;
    checked(proxy_define_metric(kind.number(), name.as_ptr(), name.len(), &mut id)).map(|()| id)
}

/// Adds to a counter or gauge.
pub(crate) fn increment_metric(id: u32, offset: i64) -> Answer<()> {
    checked(proxy_increment_metric(id, offset))
}

/// Sets a gauge or records a value of a histogram.
pub(crate) fn record_metric(id: u32, value: u64) -> Answer<()> {
    checked(proxy_record_metric(id, value))
}

pub(crate) fn metric(id: u32) -> Answer<u64> {
    let mut value = 0;
    checked(proxy_get_metric(id, &mut value)).map(|()| value)
}

pub(crate) fn foreign(name: &str, arguments: &[u8]) -> Answer<Vec<u8>> {
    taken(|at, size| {
        proxy_call_foreign_function(name.as_ptr(), name.len(), arguments.as_ptr(), arguments.len(), at, size)
    })
}

fn encoded(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_pairs(|| pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice())), &mut bytes);
    bytes
}

#[inline]
fn checked(status: u32) -> Answer<()> {
    if status == OK { Ok(()) } else { Err(Refusal(status)) }
}

/// Calls a function that returns bytes in a buffer it allocated in this module.
#[inline]
fn taken(call: impl FnOnce(&mut *mut u8, &mut usize) -> u32) -> Answer<Vec<u8>> {
    let (mut at, mut size) = (std::ptr::null_mut(), 0);
    match call(&mut at, &mut size) {
        OK if at.is_null() || size == 0 => Ok(Vec::new()),
        // SAFETY: on "ok" the host has got exactly `size` bytes at `at` from this module's `malloc`, which hands out
        // boxed slices, has filled them, and keeps no claim to them.
        OK => Ok(unsafe { Vec::from_raw_parts(at, size, size) }),
        status => Err(Refusal(status)),
    }
}

const OK: u32 = Status::Ok.number();
