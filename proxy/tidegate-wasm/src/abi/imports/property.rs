//! Properties: what the gateway knows of a stream, by path.

use super::{Answer, fields::readable};
use crate::abi::memory::{give_filled, split};
use crate::limits::PROPERTY_BYTES;
use crate::state::State;
use crate::stream::{Stream, fields::Fields};
use crate::time::nanoseconds;
use http::Version;
use std::net::SocketAddr;
use tidegate_abi::{MapKind, Status};
use wasmtime::Caller;

/// `proxy_get_property`.
pub(super) fn get(caller: &mut Caller<'_, State>, path: u32, paths: u32, pointer: u32, size: u32) -> Answer {
    give_filled(caller, pointer, size, |memory, state, out| {
        let path = memory.read(path, paths)?;
        // Some SDKs end the path with a zero byte.
        let path = path.strip_suffix(b"\0").unwrap_or(path);
        if find(state, path, out) { Ok(()) } else { Err(Status::NotFound) }
    })
}

/// `proxy_set_property`: for later callbacks of the same stream.
pub(super) fn set(caller: &mut Caller<'_, State>, path: u32, paths: u32, value: u32, values: u32) -> Answer {
    let (memory, state) = split(caller)?;
    let (path, value) = (memory.read(path, paths)?, memory.read(value, values)?);
    let stream = state.stream_mut().ok_or(Status::NotFound)?;
    let old = stream.properties.iter().position(|(known, _)| **known == *path);
    if let Some((known, value)) = old.map(|at| stream.properties.swap_remove(at)) {
        stream.property_bytes -= known.len() + value.len();
    }
    let bytes = stream.property_bytes + path.len() + value.len();
    if bytes > PROPERTY_BYTES {
        return Err(Status::InternalFailure.into());
    }
    stream.property_bytes = bytes;
    stream.properties.push((path.into(), value.into()));
    Ok(())
}

/// Writes the value behind a path; false when there is none.
fn find(state: &State, path: &[u8], out: &mut Vec<u8>) -> bool {
    let stream = state.stream();
    if let Some(stream) = stream
        && let Some((_, value)) = stream.properties.iter().find(|(known, _)| **known == *path)
    {
        out.extend_from_slice(value);
        return true;
    }
    let (first, rest) = cut(path);
    match (first, stream) {
        (b"plugin_name", _) => text(out, state.plugin.name()),
        (b"plugin_root_id", _) => text(out, &state.plugin.spec.root_id),
        (b"plugin_vm_id", _) => true,
        (_, None) => false,
        (b"request", Some(stream)) => request(state, stream, rest, out),
        (b"response", Some(stream)) => response(state, stream, rest, out),
        (b"source", Some(stream)) => address(Some(stream.info.source), rest, out),
        (b"destination", Some(stream)) => address(Some(stream.info.destination), rest, out),
        (b"upstream", Some(stream)) => address(stream.info.upstream_address, rest, out),
        (b"connection", Some(stream)) => connection(stream, rest, out),
        (b"connection_id", Some(stream)) => number(out, stream.info.connection_id),
        (b"xds", Some(stream)) => name(stream, rest, out),
        (_, Some(stream)) => name(stream, path, out),
    }
}

/// Names of what the request was matched with; older guests ask for them without `xds`.
fn name(stream: &Stream, path: &[u8], out: &mut Vec<u8>) -> bool {
    let info = &stream.info;
    let name = match path {
        b"route_name" => info.rule.as_ref().or(info.route.as_ref()),
        b"virtual_host_name" => info.route.as_ref(),
        b"cluster_name" => info.upstream.as_ref(),
        b"listener_name" | b"filter_chain_name" => info.listener.as_ref(),
        _ => None,
    };
    name.is_some_and(|name| text(out, name))
}

fn request(state: &State, stream: &Stream, path: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(fields) = readable(state, MapKind::RequestHeaders) else { return false };
    let mut field = |name: &[u8]| fields.value(name).map(|value| out.extend_from_slice(value)).is_some();
    let (first, rest) = cut(path);
    match first {
        b"path" => field(b":path"),
        b"host" => field(b":authority"),
        b"scheme" => field(b":scheme"),
        b"method" => field(b":method"),
        b"referer" => field(b"referer"),
        b"useragent" => field(b"user-agent"),
        b"id" => match &stream.info.request_id {
            Some(id) => bytes(out, id.as_bytes()),
            None => field(b"x-request-id"),
        },
        b"url_path" => fields.value(b":path").is_some_and(|path| bytes(out, target(path).0)),
        b"query" => fields.value(b":path").is_some_and(|path| bytes(out, target(path).1)),
        b"protocol" => text(out, version(stream.info.protocol)),
        b"time" => number(out, nanoseconds(stream.opened.wall)),
        b"duration" if stream.closing => {
            number(out, nanoseconds(state.now().monotonic.saturating_sub(stream.opened.monotonic)))
        }
        b"size" => number(out, length(&fields).unwrap_or(stream.request.received)),
        b"total_size" => number(out, stream.request.received + head_size(&fields)),
        b"headers" => headers(&fields, rest, out),
        _ => false,
    }
}

fn response(state: &State, stream: &Stream, path: &[u8], out: &mut Vec<u8>) -> bool {
    let (first, rest) = cut(path);
    if first == b"trailers" {
        return readable(state, MapKind::ResponseTrailers).is_some_and(|fields| headers(&fields, rest, out));
    }
    if first == b"code_details" {
        return stream.details.as_ref().is_some_and(|details| text(out, details));
    }
    let Some(fields) = readable(state, MapKind::ResponseHeaders) else { return false };
    match first {
        b"code" => decimal(fields.value(b":status")).is_some_and(|code| number(out, code)),
        b"flags" => number(out, 0),
        b"grpc_status" => {
            let trailers = readable(state, MapKind::ResponseTrailers);
            let status = trailers.as_ref().and_then(|fields| fields.value(b"grpc-status"));
            decimal(status.or(fields.value(b"grpc-status"))).is_some_and(|status| number(out, status))
        }
        b"headers" => headers(&fields, rest, out),
        b"size" => number(out, length(&fields).unwrap_or(stream.response.received)),
        b"total_size" => number(out, stream.response.received + head_size(&fields)),
        _ => false,
    }
}

fn connection(stream: &Stream, path: &[u8], out: &mut Vec<u8>) -> bool {
    let tls = stream.info.tls_details.as_deref();
    match path {
        b"id" => number(out, stream.info.connection_id),
        b"mtls" => bytes(out, &[u8::from(tls.is_some_and(|tls| tls.client_authenticated))]),
        b"requested_server_name" => tls.is_some_and(|tls| text(out, &tls.server_name)),
        b"tls_version" => tls.is_some_and(|tls| text(out, &tls.version)),
        _ => false,
    }
}

fn address(address: Option<SocketAddr>, path: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(address) = address else { return false };
    match path {
        b"address" => {
            use std::io::Write;
            // Writing to a vector cannot fail.
            write!(out, "{address}").is_ok()
        }
        b"port" => number(out, u64::from(address.port())),
        _ => false,
    }
}

/// One field with all its values, or the whole map.
fn headers(fields: &Fields<'_>, name: &[u8], out: &mut Vec<u8>) -> bool {
    if name.is_empty() {
        fields.encode(out);
        return true;
    }
    fields.joined(name, out)
}

/// The first segment of a path, and the rest.
fn cut(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().position(|byte| *byte == 0) {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (path, b""),
    }
}

/// Path and query of a request target.
fn target(target: &[u8]) -> (&[u8], &[u8]) {
    match target.iter().position(|byte| *byte == b'?') {
        Some(at) => (target.get(..at).unwrap_or_default(), target.get(at + 1..).unwrap_or_default()),
        None => (target, b""),
    }
}

fn length(fields: &Fields<'_>) -> Option<u64> {
    decimal(fields.value(b"content-length"))
}

fn decimal(value: Option<&[u8]>) -> Option<u64> {
    std::str::from_utf8(value?).ok()?.parse().ok()
}

/// Bytes of a head: names and values.
fn head_size(fields: &Fields<'_>) -> u64 {
    let mut encoded = Vec::new();
    fields.encode(&mut encoded);
    encoded.len().saturating_sub(4 + fields.len() * 10) as u64
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

fn text(out: &mut Vec<u8>, text: &str) -> bool {
    bytes(out, text.as_bytes())
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    out.extend_from_slice(bytes);
    true
}

fn number(out: &mut Vec<u8>, number: u64) -> bool {
    bytes(out, &number.to_le_bytes())
}
