//! Header fields: `proxy_*_header_map_*`.

use super::Answer;
use crate::abi::memory::{give_filled, split};
use crate::limits::WRITTEN_BYTES;
use crate::state::{Answer as CallAnswer, State};
use crate::stream::fields::{
    Fields,
    write::{Op, Target},
};
use crate::stream::{Part, Stream, pending::is_host};
use crate::{Names, Side};
use http::HeaderMap;
use std::rc::Rc;
use tidegate_abi::{AbiVersion, MapKind, PairsReader, Status};
use wasmtime::Caller;

/// `proxy_get_header_map_size`: bytes of the encoded map.
pub(super) fn size(caller: &mut Caller<'_, State>, map: u32, at: u32) -> Answer {
    let (mut memory, state) = split(caller)?;
    state.complete_head();
    let mut encoded = std::mem::take(&mut state.scratch);
    encoded.clear();
    let fields = readable(state, kind(map)?).ok_or(Status::BadArgument)?;
    fields.encode(&mut encoded);
    let size = u32::try_from(encoded.len()).map_err(|_| Status::SerializationFailure)?;
    state.scratch = encoded;
    Ok(memory.write_u32(at, size)?)
}

/// `proxy_get_header_map_pairs`: an absent map is an empty one here.
pub(super) fn pairs(caller: &mut Caller<'_, State>, map: u32, pointer: u32, size: u32) -> Answer {
    give_filled(caller, pointer, size, |_, state, out| {
        state.complete_head();
        readable(state, kind(map)?).unwrap_or(Fields::Empty).encode(out);
        Ok(())
    })
}

/// `proxy_get_header_map_value`: the first value of a field.
pub(super) fn value(
    caller: &mut Caller<'_, State>,
    map: u32,
    key: u32,
    keys: u32,
    pointer: u32,
    size: u32,
) -> Answer {
    let mut refused = false;
    let answer = give_filled(caller, pointer, size, |memory, state, out| {
        let key = memory.read(key, keys)?;
        state.complete_head_for(key);
        let first = state.plugin.module().abi() == AbiVersion::V0_1_0;
        let found = match readable(state, kind(map)?) {
            Some(fields) if fields.hides(key) => {
                refused = true;
                None
            }
            Some(fields) => fields.value(key).map(|value| out.extend_from_slice(value)),
            // At the end of a stream maps are missing that the guest has good reason to ask for.
            None if state.stream().is_some_and(|stream| stream.closing) => None,
            None => return Err(Status::BadArgument),
        };
        if found.is_some() || first { Ok(()) } else { Err(Status::NotFound) }
    });
    if refused {
        caller.data_mut().refuse("proxy_get_header_map_value");
    }
    answer
}

/// `proxy_set_header_map_pairs`.
pub(super) fn set_pairs(caller: &mut Caller<'_, State>, map: u32, data: u32, size: u32) -> Answer {
    let (memory, state) = split(caller)?;
    let encoded = memory.read(data, size)?;
    state.budget.copies(encoded.len());
    let kind = kind(map)?;
    let pairs = PairsReader::check(encoded).map_err(|_| Status::BadArgument)?;
    state.complete_head();
    let may = changeable(state, kind).is_none_or(|names| spares(state, kind, names, pairs.clone()));
    if !may {
        state.refuse("proxy_set_header_map_pairs");
        return Err(Status::InternalFailure.into());
    }
    let call = state.call;
    let stream = state.stream_mut().ok_or(Status::BadArgument)?;
    stream.turned |= kind == MapKind::RequestHeaders;
    count_written(stream, encoded.len())?;
    Ok(writable(stream, kind, call)?.write_all(pairs)?)
}

/// `proxy_add_header_map_value`.
pub(super) fn add(
    caller: &mut Caller<'_, State>,
    map: u32,
    key: u32,
    keys: u32,
    value: u32,
    values: u32,
) -> Answer {
    write(caller, Op::Add, map, (key, keys), (value, values))
}

/// `proxy_replace_header_map_value`.
pub(super) fn replace(
    caller: &mut Caller<'_, State>,
    map: u32,
    key: u32,
    keys: u32,
    value: u32,
    values: u32,
) -> Answer {
    write(caller, Op::Replace, map, (key, keys), (value, values))
}

/// `proxy_remove_header_map_value`.
pub(super) fn remove(caller: &mut Caller<'_, State>, map: u32, key: u32, keys: u32) -> Answer {
    write(caller, Op::Remove, map, (key, keys), (0, 0))
}

fn write(caller: &mut Caller<'_, State>, op: Op, map: u32, key: (u32, u32), value: (u32, u32)) -> Answer {
    let (memory, state) = split(caller)?;
    let (key, value) = (memory.read(key.0, key.1)?, memory.read(value.0, value.1)?);
    state.budget.copies(key.len() + value.len());
    let kind = kind(map)?;
    let may = changeable(state, kind).is_none_or(|names| names.has(key));
    if !may {
        state.refuse(match op {
            Op::Add => "proxy_add_header_map_value",
            Op::Replace => "proxy_replace_header_map_value",
            Op::Remove => "proxy_remove_header_map_value",
        });
        return Err(Status::InternalFailure.into());
    }
    let call = state.call;
    let stream = state.stream_mut().ok_or(Status::BadArgument)?;
    if kind == MapKind::RequestHeaders {
        stream.complete_head_to_write(key);
        stream.turned |= key.starts_with(b":") || is_host(key);
    }
    count_written(stream, key.len() + value.len())?;
    Ok(writable(stream, kind, call)?.write(op, key, value)?)
}

fn kind(map: u32) -> Result<MapKind, Status> {
    MapKind::from_number(map).ok_or(Status::BadArgument)
}

fn count_written(stream: &mut Stream, bytes: usize) -> Result<(), Status> {
    stream.written = stream.written.saturating_add(bytes);
    if stream.written > WRITTEN_BYTES { Err(Status::BadArgument) } else { Ok(()) }
}

/// A map to be read, without what the plugin may not see.
pub(super) fn readable(state: &State, kind: MapKind) -> Option<Fields<'_>> {
    let fields = whole(state, kind)?;
    let side = side_of(kind);
    match side.and_then(|side| state.plugin.spec.capabilities.fields(side).read.as_ref()) {
        None => Some(fields),
        Some(names) => Some(Fields::Limited(Box::new(fields), names)),
    }
}

/// Whose fields a map has; a call's are the plugin's own.
fn side_of(kind: MapKind) -> Option<Side> {
    match kind {
        MapKind::RequestHeaders | MapKind::RequestTrailers => Some(Side::Request),
        MapKind::ResponseHeaders | MapKind::ResponseTrailers => Some(Side::Response),
        _ => None,
    }
}

/// The names that the plugin may change in a map; none: all.
fn changeable(state: &State, kind: MapKind) -> Option<&Names> {
    let side = side_of(kind)?;
    state.plugin.spec.capabilities.fields(side).write.as_ref()
}

/// Whether a whole new list leaves all fields alone that the plugin may not change.
fn spares(state: &State, kind: MapKind, names: &Names, pairs: PairsReader<'_>) -> bool {
    type Pair = (Vec<u8>, Vec<u8>);
    let guarded = |pairs: PairsReader<'_>| {
        let pairs = pairs.filter(|(name, _)| !names.has(name));
        let mut pairs: Vec<Pair> =
            pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec())).collect();
        pairs.sort();
        pairs
    };
    let mut before = Vec::new();
    if let Some(fields) = whole(state, kind) {
        fields.encode(&mut before);
    }
    PairsReader::check(&before).is_ok_and(|before| guarded(before) == guarded(pairs))
}

/// A map: at hand, or kept from before it went on.
fn whole(state: &State, kind: MapKind) -> Option<Fields<'_>> {
    match kind {
        MapKind::CallHeaders => return call(state, |response| Fields::Response(&response.head)),
        MapKind::CallTrailers => return call(state, |response| Fields::Plain(&response.trailers)),
        MapKind::GrpcInitialMetadata => {
            let CallAnswer::GrpcHead(head) = &state.answer else { return None };
            return Some(Fields::Response(head));
        }
        MapKind::GrpcTrailingMetadata => {
            let CallAnswer::GrpcTrailers(trailers) = &state.answer else { return None };
            return Some(Fields::Plain(trailers));
        }
        _ => {}
    }
    let stream = state.stream()?;
    let kept = |kept| Some(Fields::Kept(kept)).filter(|fields| fields.len() > 0);
    match kind {
        MapKind::RequestHeaders => {
            let head = stream.request_head.as_ref().or(stream.request_gone.as_ref())?;
            Some(Fields::Request(head, stream.scheme()))
        }
        MapKind::ResponseHeaders => match &stream.response_head {
            Some(head) => Some(Fields::Response(head)),
            None => kept(&stream.response_kept),
        },
        MapKind::RequestTrailers => stream.request.trailers.as_ref().map(Fields::Plain),
        _ => match &stream.response.trailers {
            Some(trailers) => Some(Fields::Plain(trailers)),
            None => kept(&stream.trailers_kept),
        },
    }
}

/// The answer to an HTTP call; of a failed one it is empty, not absent.
fn call<'a>(
    state: &'a State,
    fields: impl FnOnce(&'a crate::CallResponse) -> Fields<'a>,
) -> Option<Fields<'a>> {
    match &state.answer {
        CallAnswer::Failed => Some(Fields::Empty),
        CallAnswer::Response(response) => Some(fields(response)),
        _ => None,
    }
}

/// A map to be written, as long as it is held here. Trailers come into being when a guest writes
/// some at the end of a body.
fn writable(stream: &mut Stream, kind: MapKind, call: u64) -> Result<Target<'_>, Status> {
    if let Some(side) = side_of(kind) {
        stream.flow_mut(side).touched = true;
        match kind {
            MapKind::RequestHeaders | MapKind::ResponseHeaders => stream.keep_head(side, call),
            _ => stream.keep_trailers(side, call),
        }
    }
    let target = match kind {
        MapKind::RequestHeaders => {
            let scheme = &mut stream.scheme;
            stream.changed |= stream.request_head.is_some();
            stream.request_head.as_mut().map(|head| Target::Request(Rc::make_mut(head), scheme))
        }
        MapKind::ResponseHeaders => stream.response_head.as_mut().map(Target::Response),
        MapKind::RequestTrailers | MapKind::ResponseTrailers => {
            let flow = match kind {
                MapKind::RequestTrailers => &mut stream.request,
                _ => &mut stream.response,
            };
            if flow.trailers.is_none() && flow.part == (Part::Body { end: true }) && !stream.of_bytes {
                flow.trailers = Some(HeaderMap::new());
            }
            flow.trailers.as_mut().map(Target::Trailers)
        }
        _ => None,
    };
    target.ok_or(Status::BadArgument)
}
