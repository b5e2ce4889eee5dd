//! The host's functions on wasm32.
//!
//! Declared here and not taken from the `proxy-wasm` crate, whose wrappers panic on a status they do not expect and so
//! would let the host, or the bytes of a header, trap the filter.
#![allow(unsafe_code, reason = "imported functions, and buffers that the host fills, cannot be had without")]

use log::{Level, LevelFilter};

use tidegate_abi::{BufferKind, LogLevel, MapKind, MetricKind, PairsReader, Status, encode_pairs};

use super::{Change, Failure, Pairs};
use crate::Reply;

// Safe to call: what the host writes to are references, and it checks what it reads against the module's memory.
#[link(wasm_import_module = "env")]
unsafe extern "C" {
    safe fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
    safe fn proxy_get_log_level(level: &mut u32) -> u32;
    safe fn proxy_get_buffer_bytes(
        kind: u32,
        start: usize,
        max: usize,
        data: &mut *mut u8,
        size: &mut usize,
    ) -> u32;
    safe fn proxy_get_header_map_pairs(map: u32, data: &mut *mut u8, size: &mut usize) -> u32;
    safe fn proxy_get_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        data: &mut *mut u8,
        size: &mut usize,
    ) -> u32;
    safe fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    safe fn proxy_add_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    safe fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    safe fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        data: &mut *mut u8,
        size: &mut usize,
    ) -> u32;
    safe fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: &mut u32) -> u32;
    safe fn proxy_increment_metric(id: u32, offset: i64) -> u32;
    safe fn proxy_record_metric(id: u32, value: u64) -> u32;
    safe fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

/// Writes a line to the gateway's log.
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

/// The plugin's configuration; only during `on_configure`.
pub(crate) fn configuration() -> Vec<u8> {
    let bytes = bytes_from(|data, size| {
        proxy_get_buffer_bytes(BufferKind::PluginConfiguration.number(), 0, usize::MAX, data, size)
    });
    bytes.ok().flatten().unwrap_or_default()
}

/// The first value of a header.
pub(crate) fn header(map: MapKind, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    bytes_from(|data, size| proxy_get_header_map_value(map.number(), name.as_ptr(), name.len(), data, size))
}

/// Every header of a map.
pub(crate) fn headers(map: MapKind) -> Result<Pairs, Failure> {
    let bytes =
        bytes_from(|data, size| proxy_get_header_map_pairs(map.number(), data, size))?.unwrap_or_default();
    let pairs = PairsReader::check(&bytes).map_err(|_| Failure(Status::ParseFailure.number()))?;
    Ok(pairs.map(|(name, value)| (name.to_vec(), value.to_vec())).collect())
}

/// Changes one header.
pub(crate) fn change_header(map: MapKind, name: &str, change: Change<'_>) -> Result<(), Failure> {
    let (map, name, size) = (map.number(), name.as_ptr(), name.len());
    checked(match change {
        Change::Set(value) => proxy_replace_header_map_value(map, name, size, value.as_ptr(), value.len()),
        Change::Add(value) => proxy_add_header_map_value(map, name, size, value.as_ptr(), value.len()),
        Change::Remove => proxy_remove_header_map_value(map, name, size),
    })
}

/// A property of the exchange.
pub(crate) fn property(path: &[&str]) -> Option<Vec<u8>> {
    let path = path.join("\0");
    bytes_from(|data, size| proxy_get_property(path.as_ptr(), path.len(), data, size)).ok().flatten()
}

/// Registers a metric and returns the host's number for it.
pub(crate) fn define_metric(kind: MetricKind, name: &str) -> Result<u32, Failure> {
    let mut id = 0;
    checked(proxy_define_metric(kind.number(), name.as_ptr(), name.len(), &mut id)).map(|()| id)
}

/// Adds to a counter or gauge.
pub(crate) fn increment_metric(id: u32, offset: i64) -> Result<(), Failure> {
    checked(proxy_increment_metric(id, offset))
}

/// Sets a gauge or records a value of a histogram.
pub(crate) fn record_metric(id: u32, value: u64) -> Result<(), Failure> {
    checked(proxy_record_metric(id, value))
}

/// Answers the client.
pub(crate) fn send_reply(reply: &Reply) -> Result<(), Failure> {
    let pairs = || reply.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice()));
    let mut headers = Vec::new();
    encode_pairs(pairs, &mut headers);
    checked(proxy_send_local_response(
        u32::from(reply.status),
        reply.details.as_ptr(),
        reply.details.len(),
        reply.body.as_ptr(),
        reply.body.len(),
        headers.as_ptr(),
        headers.len(),
        NO_GRPC_STATUS,
    ))
}

fn checked(status: u32) -> Result<(), Failure> {
    if status == OK { Ok(()) } else { Err(Failure(status)) }
}

/// Calls a function that returns bytes in a buffer it allocated in this module. `Some` of no bytes for an empty value,
/// `None` for one that is not there.
fn bytes_from(call: impl FnOnce(&mut *mut u8, &mut usize) -> u32) -> Result<Option<Vec<u8>>, Failure> {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    match call(&mut data, &mut size) {
        OK if data.is_null() || size == 0 => Ok(Some(Vec::new())),
        // SAFETY: on "ok" the host has got exactly `size` bytes at `data` from this module's `malloc`, which hands out
        // boxed slices, has filled them, and keeps no claim to them.
        OK => Ok(Some(unsafe { Vec::from_raw_parts(data, size, size) })),
        NOT_FOUND => Ok(None),
        status => Err(Failure(status)),
    }
}

const OK: u32 = Status::Ok.number();
const NOT_FOUND: u32 = Status::NotFound.number();
const NO_GRPC_STATUS: i32 = -1;
