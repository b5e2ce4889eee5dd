//! Properties: what the gateway knows of a stream, by path. Names are those of Envoy's attributes; text is raw bytes,
//! a number, a point in time or a duration (nanoseconds) eight bytes, a truth value one, a map the encoding of maps.

use super::{Answer, fields::readable};
use crate::abi::memory::{Fault, give_filled, split};
use crate::abi::protobuf;
use crate::foreign::expression::Kind;
use crate::state::State;
use crate::stream::{
    CertificateDetails, Stream, TlsDetails, facts::PREFIX, facts::UpstreamFacts, fields::Fields,
};
use crate::time::nanoseconds;
use http::Version;
use std::net::SocketAddr;
use tidegate_abi::{MapKind, Status};
use wasmtime::Caller;

/// `proxy_get_property`.
pub(super) fn get(caller: &mut Caller<'_, State>, path: u32, paths: u32, pointer: u32, size: u32) -> Answer {
    give_filled(caller, pointer, size, |memory, state, out| {
        let path = trimmed(memory.read(path, paths)?);
        if needs_all_fields(path) {
            state.complete_head();
        }
        find(state, path, out).map(drop)
    })
}

/// `proxy_set_property`: filter state of the request, which its other plugins can read too. A path of several
/// segments is kept whole, so no path that is read, segment by segment, leads to it.
pub(super) fn set(caller: &mut Caller<'_, State>, path: u32, paths: u32, value: u32, values: u32) -> Answer {
    let (memory, state) = split(caller)?;
    let (path, value) = (trimmed(memory.read(path, paths)?), memory.read(value, values)?);
    state.budget.copies(value.len());
    if let Some(name) = of_span(path) {
        let stream = state.stream_mut().ok_or(Status::NotFound)?;
        return say_of_span(stream, name, value);
    }
    // Higress's way to say that what the guest writes is not to lead to another rule.
    if path == b"clear_route_cache"
        && let Some(stream) = state.stream_mut()
    {
        stream.stays = value == b"off";
    }
    let fixed =
        state.definitions.declared.iter().any(|declared| declared.readonly && *declared.name == *path);
    let facts = state.stream_mut().ok_or(Status::NotFound)?.facts();
    let key = [PREFIX, path].concat();
    if fixed && facts.state(&key).is_some() {
        return Err(Fault::Status(Status::BadArgument));
    }
    Ok(facts.set_state(&key, value)?)
}

/// `tidegate.span` and the name of an attribute, in one segment or two.
fn of_span(path: &[u8]) -> Option<&[u8]> {
    let name = path
        .strip_prefix(SPAN)?
        .strip_prefix(b"\0")
        .or_else(|| path.strip_prefix(SPAN)?.strip_prefix(b"."))?;
    (!name.is_empty()).then_some(name)
}

const SPAN: &[u8] = b"tidegate.span";

/// An attribute of the span that the plugin has for the request; what is said of one that is not traced goes nowhere.
fn say_of_span(stream: &mut Stream, name: &[u8], value: &[u8]) -> Answer {
    let Some(span) = &mut stream.span else { return Ok(()) };
    if name.len() > LONGEST_NAME || value.len() > LONGEST_VALUE {
        return Err(Fault::Status(Status::BadArgument));
    }
    let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value).into_owned());
    let full = span.len() >= MOST_ATTRIBUTES;
    match span.iter_mut().find(|(known, _)| *known == name) {
        Some((_, known)) => *known = value,
        None if full => return Err(Fault::Status(Status::BadArgument)),
        None => span.push((name.into_owned(), value)),
    }
    Ok(())
}

/// Attributes that one plugin may give the span of a request.
const MOST_ATTRIBUTES: usize = 32;
const LONGEST_NAME: usize = 128;
const LONGEST_VALUE: usize = 1024;

/// Some SDKs end a path with a zero byte.
fn trimmed(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"\0").unwrap_or(path)
}

/// Whether a property depends on fields that may not be in the request's head yet.
fn needs_all_fields(path: &[u8]) -> bool {
    let (first, rest) = cut(path);
    first == b"request" && matches!(cut(rest).0, b"headers" | b"id" | b"total_size")
}

/// Writes the value behind a path and says how to read it.
pub(super) fn find(state: &State, path: &[u8], out: &mut Vec<u8>) -> Result<Kind, Status> {
    let stream = state.stream();
    let (first, rest) = cut(path);
    let found = match (first, stream) {
        (b"plugin_name", _) => text(out, state.plugin.name()),
        (b"plugin_root_id", _) => text(out, &state.plugin.spec.root_id),
        (b"plugin_held_body", _) => number(out, state.plugin.spec.limits.held_bytes as u64),
        (b"plugin_vm_memory", _) => number(out, state.limiter.size as u64),
        (b"plugin_vm_id", _) => text(out, &state.plugin.spec.vm_id),
        (b"xds", _) if cut(rest).0 == b"node" => node(state, cut(rest).1, out),
        (_, None) => None,
        (b"request", Some(stream)) => request(state, stream, rest, out),
        (b"response", Some(stream)) => response(state, stream, rest, out),
        (b"source", Some(stream)) => address(Some(stream.info.source), rest, out),
        (b"tidegate.peer", Some(stream)) => address(Some(stream.info.peer), rest, out),
        (b"destination", Some(stream)) => address(Some(stream.info.destination), rest, out),
        (b"upstream", Some(stream)) => upstream(stream, rest, out),
        (b"connection", Some(stream)) => connection(stream, rest, out),
        (b"connection_id", Some(stream)) => number(out, stream.info.connection_id),
        (b"filter_state" | b"upstream_filter_state", Some(_)) if rest.is_empty() => {
            return Err(Status::SerializationFailure);
        }
        (b"filter_state", Some(stream)) => shared(stream, rest, out),
        // Nothing on the way writes metadata, so there is a map without entries.
        (b"metadata", Some(_)) => rest.is_empty().then_some(Kind::Map),
        (b"xds", Some(stream)) => name(stream, rest, out),
        (_, Some(stream)) => own(state, stream, path, out).or_else(|| name(stream, path, out)),
    };
    found.ok_or(Status::NotFound)
}

/// The gateway itself, as `envoy.config.core.v3.Node` has it.
fn node(state: &State, path: &[u8], out: &mut Vec<u8>) -> Option<Kind> {
    let id = state.plugin.engine.node();
    match path {
        b"" => {
            for (number, value) in [(1, id), (6, AGENT), (7, VERSION)] {
                protobuf::put_bytes(out, number, value.as_bytes());
            }
            Some(Kind::Bytes)
        }
        b"id" => text(out, id),
        b"user_agent_name" => text(out, AGENT),
        b"user_agent_version" => text(out, VERSION),
        b"metadata" => Some(Kind::Map),
        _ => None,
    }
}

const AGENT: &str = "tidegate";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a plugin of this request has set.
fn own(state: &State, stream: &Stream, path: &[u8], out: &mut Vec<u8>) -> Option<Kind> {
    if path.contains(&0) {
        return None;
    }
    shared(stream, &[PREFIX, path].concat(), out)?;
    let text = state.definitions.declared.iter().any(|declared| declared.text && *declared.name == *path);
    Some(if text { Kind::Text } else { Kind::Bytes })
}

fn shared(stream: &Stream, key: &[u8], out: &mut Vec<u8>) -> Option<Kind> {
    let value = stream.facts.as_ref()?.state(key)?;
    bytes(out, &value)
}

/// Names of what the request was matched with; older guests ask for them without `xds`.
fn name(stream: &Stream, path: &[u8], out: &mut Vec<u8>) -> Option<Kind> {
    let info = &stream.info;
    let name = match path {
        b"route_name" => info.rule.as_ref().or(info.route.as_ref()),
        b"virtual_host_name" => info.route.as_ref(),
        b"listener_name" | b"filter_chain_name" => info.listener.as_ref(),
        b"cluster_name" => return upstream_name(stream).and_then(|name| text(out, &name)),
        // No direction is stated, and nothing of the configuration carries metadata.
        b"listener_direction" => return number(out, 0),
        b"cluster_metadata"
        | b"route_metadata"
        | b"virtual_host_metadata"
        | b"listener_metadata"
        | b"upstream_host_metadata" => return Some(Kind::Map),
        _ => None,
    };
    text(out, name?)
}

/// The name of the upstream that the request goes to, as far as that is known.
pub(super) fn upstream_name(stream: &Stream) -> Option<std::rc::Rc<str>> {
    let known = stream.facts.as_ref().and_then(|facts| facts.upstream()?.name.clone());
    known.or_else(|| stream.info.upstream.clone())
}

fn request(state: &State, stream: &Stream, path: &[u8], out: &mut Vec<u8>) -> Option<Kind> {
    let fields = readable(state, MapKind::RequestHeaders)?;
    let (first, rest) = cut(path);
    let mut field = |name: &[u8]| fields.value(name).map(|value| put(out, value, Kind::Text));
    match first {
        b"path" => field(b":path"),
        b"host" => field(b":authority"),
        b"scheme" => field(b":scheme"),
        b"method" => field(b":method"),
        b"referer" => field(b"referer"),
        b"useragent" => field(b"user-agent"),
        b"id" => match &stream.info.request_id {
            Some(id) => Some(put(out, id.as_bytes(), Kind::Text)),
            None => field(b"x-request-id"),
        },
        b"url_path" => fields.value(b":path").map(|path| put(out, target(path).0, Kind::Text)),
        b"query" => fields.value(b":path").map(|path| put(out, target(path).1, Kind::Text)),
        b"protocol" => text(out, version(stream.info.protocol)),
        b"time" => number(out, nanoseconds(stream.opened.wall())),
        b"duration" if stream.closing => {
            number(out, nanoseconds(state.now().monotonic.saturating_sub(stream.opened.monotonic)))
        }
        b"size" => number(out, length(&fields).unwrap_or(stream.request.received)),
        b"total_size" => number(out, stream.request.received + head_size(&fields)),
        b"headers" => headers(&fields, rest, out),
        _ => None,
    }
}

fn response(state: &State, stream: &Stream, path: &[u8], out: &mut Vec<u8>) -> Option<Kind> {
    let (first, rest) = cut(path);
    let outcome = stream.facts.as_ref().map(|facts| facts.outcome());
    match first {
        b"trailers" => return headers(&readable(state, MapKind::ResponseTrailers)?, rest, out),
        b"code_details" => {
            let known = outcome.as_ref().and_then(|outcome| outcome.details.as_deref());
            return text(out, stream.details.as_deref().or(known)?);
        }
        b"flags" => return number(out, outcome.map_or(0, |outcome| outcome.flags)),
        b"backend_latency" => return number(out, nanoseconds(outcome?.latency?)),
        _ => {}
    }
    let fields = readable(state, MapKind::ResponseHeaders)?;
    match first {
        b"code" => number(out, decimal(fields.value(b":status"))?),
        b"grpc_status" => {
            let trailers = readable(state, MapKind::ResponseTrailers);
            let status = trailers.as_ref().and_then(|fields| fields.value(b"grpc-status"));
            number(out, decimal(status.or(fields.value(b"grpc-status")))?)
        }
        b"headers" => headers(&fields, rest, out),
        b"size" => number(out, length(&fields).unwrap_or(stream.response.received)),
        b"total_size" => {
            let trailers = readable(state, MapKind::ResponseTrailers).map_or(0, |fields| head_size(&fields));
            number(out, stream.response.received + head_size(&fields) + trailers)
        }
        _ => None,
    }
}

fn upstream(stream: &Stream, path: &[u8], out: &mut Vec<u8>) -> Option<Kind> {
    let info = &stream.info;
    let Some(facts) = &stream.facts else { return address(info.upstream_address, path, out) };
    let nowhere = UpstreamFacts::default();
    let told = facts.upstream();
    let known = told.as_deref().unwrap_or(&nowhere);
    match path {
        b"request_attempt_count" => number(out, u64::from(known.attempts)),
        b"transport_failure_reason" => text(out, known.failure.as_deref()?),
        b"num_endpoints" => number(out, known.name.as_ref().and(u64::try_from(known.servers).ok())?),
        b"cx_pool_ready_duration" => number(out, nanoseconds(known.waited?)),
        b"local_address" => address(known.connection.as_ref()?.local, b"address", out),
        b"address" | b"port" => address(known.address.or(info.upstream_address), path, out),
        // Servers have none, which is a message without fields.
        b"locality" => known.name.as_ref().map(|_| Kind::Bytes),
        _ => {
            let tls = known.connection.as_ref()?.tls.as_ref()?;
            match &known.identity {
                Some(identity) => own_certificate(identity, path, out),
                None => None,
            }
            .or_else(|| certificates(tls, path, out))
        }
    }
}

fn connection(stream: &Stream, path: &[u8], out: &mut Vec<u8>) -> Option<Kind> {
    let tls = stream.info.tls_details.as_deref();
    match path {
        b"id" => return number(out, stream.info.connection_id),
        b"mtls" => {
            let flag = u8::from(tls.is_some_and(|tls| tls.client_authenticated));
            return Some(put(out, &[flag], Kind::Flag));
        }
        b"requested_server_name" => return text(out, tls.map_or("", |tls| &tls.server_name)),
        b"termination_details" if stream.of_bytes => return text(out, stream.details.as_deref()?),
        b"termination_details" => return text(out, stream.facts.as_ref()?.outcome().ends?),
        // Connections of clients that fail to shake hands never have a stream.
        b"transport_failure_reason" => return text(out, ""),
        _ => {}
    }
    certificates(tls?, path, out)
}

/// A TLS session, of the client's connection or of that to the server. What a certificate lacks is not there.
fn certificates(tls: &TlsDetails, path: &[u8], out: &mut Vec<u8>) -> Option<Kind> {
    match path {
        b"tls_version" => text(out, &tls.version),
        b"subject_peer_certificate" => subject(&tls.peer, out),
        b"uri_san_peer_certificate" => text(out, tls.peer.uris.first()?),
        b"dns_san_peer_certificate" => text(out, tls.peer.names.first()?),
        b"uri_sans_peer_certificate" => lines(&tls.peer.uris, out),
        b"dns_sans_peer_certificate" => lines(&tls.peer.names, out),
        b"sha256_peer_certificate_digest" | b"sha256_peer_certificate" => digest(&tls.peer, out),
        _ => own_certificate(&tls.local, path, out),
    }
}

/// The gateway's own certificate.
fn own_certificate(local: &CertificateDetails, path: &[u8], out: &mut Vec<u8>) -> Option<Kind> {
    match path {
        b"subject_local_certificate" => subject(local, out),
        b"uri_san_local_certificate" => text(out, local.uris.first()?),
        b"dns_san_local_certificate" => text(out, local.names.first()?),
        _ => None,
    }
}

fn subject(certificate: &CertificateDetails, out: &mut Vec<u8>) -> Option<Kind> {
    let is_there = !(certificate.sha256.is_empty() && certificate.subject.is_empty());
    is_there.then(|| text(out, &certificate.subject)).flatten()
}

/// All of a list, one a line; entries that could be read as two are left out.
fn lines(all: &[String], out: &mut Vec<u8>) -> Option<Kind> {
    let plain = |entry: &&String| !entry.contains(char::is_control);
    let mut first = true;
    for entry in all.iter().filter(plain) {
        if !std::mem::take(&mut first) {
            out.push(b'\n');
        }
        out.extend_from_slice(entry.as_bytes());
    }
    (!first).then_some(Kind::Text)
}

fn digest(certificate: &CertificateDetails, out: &mut Vec<u8>) -> Option<Kind> {
    if certificate.sha256.is_empty() { None } else { text(out, &certificate.sha256) }
}

fn address(address: Option<SocketAddr>, path: &[u8], out: &mut Vec<u8>) -> Option<Kind> {
    let address = address?;
    match path {
        b"address" => {
            write_address(address, out)?;
            Some(Kind::Text)
        }
        b"port" => number(out, u64::from(address.port())),
        _ => None,
    }
}

/// As `Display` has it; for IPv4 without the detours of formatting, since limits and logs ask for it with each request.
fn write_address(address: SocketAddr, out: &mut Vec<u8>) -> Option<()> {
    let SocketAddr::V4(v4) = address else {
        use std::io::Write;
        return write!(out, "{address}").ok();
    };
    for (at, octet) in v4.ip().octets().into_iter().enumerate() {
        if at > 0 {
            out.push(b'.');
        }
        decimal_figures(u16::from(octet), out);
    }
    out.push(b':');
    decimal_figures(v4.port(), out);
    Some(())
}

/// The same without the port, as the SDK cuts it off.
pub(super) fn write_ip(address: SocketAddr, out: &mut Vec<u8>) -> Option<()> {
    write_address(address, out)?;
    out.truncate(out.iter().rposition(|byte| *byte == b':')?);
    if out.last() == Some(&b']') {
        out.pop();
        out.remove(0);
    }
    Some(())
}

fn decimal_figures(number: u16, out: &mut Vec<u8>) {
    let powers = [10_000_u16, 1000, 100, 10, 1].into_iter().skip_while(|power| *power > number.max(1));
    out.extend(powers.map(|power| b'0' + (number / power % 10) as u8));
}

/// One field with all its values, or the whole map.
fn headers(fields: &Fields<'_>, name: &[u8], out: &mut Vec<u8>) -> Option<Kind> {
    if name.is_empty() {
        fields.encode(out);
        return Some(Kind::Map);
    }
    fields.joined(name, out).then_some(Kind::Text)
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

fn put(out: &mut Vec<u8>, bytes: &[u8], kind: Kind) -> Kind {
    out.extend_from_slice(bytes);
    kind
}

fn text(out: &mut Vec<u8>, text: &str) -> Option<Kind> {
    Some(put(out, text.as_bytes(), Kind::Text))
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Option<Kind> {
    Some(put(out, bytes, Kind::Bytes))
}

fn number(out: &mut Vec<u8>, number: u64) -> Option<Kind> {
    Some(put(out, &number.to_le_bytes(), Kind::Number))
}
